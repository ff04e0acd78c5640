"""BasinGraph: basins, directions that lead on, and exact laws of what foresting, scattering and scouting are good for.

A first solution lies in basin b with probability pi_b. Only one basin has a way out: there, one of m directions leads a
step on, and the same one does so at each of L steps; a model proposes direction d with probability w_d everywhere.

    foresting    the right basin is among s first solutions with 1 - (1 - pi)^s, or more, without repetition
    scattering   the right direction is among j with 1 - (1 - w)^j, or more, without repetition
    scouting     a direction that has worked is tried first: its expected 1 + sum_k w_k / (w_k + w) trials are paid
                 once, not at every step; with equal w they are (m + 1) / 2
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding, Request
from jaxrl_suite.llm.questions import Sample
from jaxrl_suite.llm.tabular import TabularSampler
from jaxrl_suite.scaling.forest.choices import ChoiceSampler, draw_choices
from jaxrl_suite.scaling.forest.thinker import SOLVE, Asking, Direction, DraftSolution, Feedback, Path, Subject
from jaxrl_suite.scaling.forest.tokens import TokenHabits, TokenThinker
from jaxrl_suite.scaling.records import GradedAnswer

START = 0
CERTAIN = TokenHabits("draw", gain=200.0, idle=0.0)  # what has worked once is tried first from then on
MAX_OUTCOMES = 16  # of a law without replacement, which looks at every subset


@dataclasses.dataclass(frozen=True)
class BasinGraph:
    """A family of problems that differ in nothing but their random streams.

    Args:
      basins: pi, probability of each basin.
      directions: w, probability of each direction.
      right_basin: the one with a way out.
      right_direction: the one that leads on.
      steps: L, at least 1.

    Raises:
      UserError: if probabilities do not add up to 1, or a number is out of range.
    """

    basins: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    directions: tuple[float, ...] = (0.5, 0.2, 0.15, 0.1, 0.05)
    right_basin: int = 3
    right_direction: int = 3
    steps: int = 1

    def __post_init__(self):
        for law in (self.basins, self.directions):
            if not 1 <= len(law) <= MAX_OUTCOMES or not all(p > 0 for p in law) or abs(sum(law) - 1) > 1e-9:
                raise UserError(f"give 1 to {MAX_OUTCOMES} probabilities above 0 that add up to 1, got {law}")
        if not (0 <= self.right_basin < len(self.basins) and 0 <= self.right_direction < len(self.directions)):
            raise UserError("right_basin and right_direction must be places of a basin and a direction")
        if self.steps < 1:
            raise UserError(f"steps must be at least 1, got {self.steps}")

    @property
    def first_direction(self) -> int:
        """The token of the first direction; basin b is the token 1 + b."""
        return 1 + len(self.basins)

    @property
    def end(self) -> int:
        """The token of an edit that was carried out."""
        return self.first_direction + len(self.directions)

    def samplers(self, seed: int = 0) -> dict[str, TabularSampler | ChoiceSampler]:
        """The model as an exact automaton, and its distributions of basins and of directions."""
        size = self.end + 1
        logits = np.full((3, size), -np.inf, np.float32)
        logits[0, 1 : self.first_direction] = np.log(self.basins)
        logits[1, self.first_direction : self.end] = np.log(self.directions)
        logits[2, self.end] = 0.0
        after = np.zeros(size, np.int32)
        after[1 : self.first_direction] = 1
        after[self.first_direction :] = 2
        main = TabularSampler(logits, np.tile(after, (3, 1)), eos=self.end, start=0, seed=seed)
        basins = ChoiceSampler(main, range(1, self.first_direction))
        return {
            "main": main,
            "basins": basins,
            "directions": ChoiceSampler(main, range(self.first_direction, self.end)),
        }

    def grade(self, solution: Sequence[int]) -> float:
        """The score of (basin's token, steps done): 0 outside of the right basin, 1 where all steps are done."""
        return (1 + solution[1]) / (1 + self.steps) if solution[0] == 1 + self.right_basin else 0.0

    def verifier(self, items: Sequence[GradedAnswer]) -> list[Feedback]:
        """Feedback on many solutions, for `run_lockstep`."""
        return [Feedback(self.grade(item.tokens)) for item in items]

    def basin_law(self, seeds: int, *, repeat: bool) -> float:
        """Probability that the right basin is among first solutions, with repetition or without."""
        law = rank_law(self.basins, self.right_basin, repeat=repeat, most=seeds)
        return float(law[:seeds].sum())

    def trial_law(self, trials: int, *, repeat: bool, scouting: bool = False) -> float:
        """Probability that all steps are done within a number of trials in the right basin.

        Args:
          trials: edits.
          repeat: whether directions are independent draws; else no solution is edited twice along the same.
          scouting: whether a direction that has worked is tried first from then on.
        """
        one = rank_law(self.directions, self.right_direction, repeat=repeat, most=trials)
        if scouting:
            return float(one[: max(0, trials - self.steps + 1)].sum())
        total = np.ones(1)  # probability that the first steps took so many trials more than one each
        for _ in range(self.steps):
            total = np.convolve(total, one)[:trials] if trials else np.zeros(1)
        return float(total[: max(0, trials - self.steps + 1)].sum())

    def solve_law(self, seeds: int, trials: int, *, scattering: bool, scouting: bool) -> float:
        """Probability that SFS solves it where it never explores (c = 0): right basin, and enough trials there."""
        found = self.basin_law(seeds, repeat=not scattering)
        return found * self.trial_law(trials, repeat=not scattering, scouting=scouting)

    def expected_trials(self, *, repeat: bool, scouting: bool) -> float:
        """Mean number of trials until all steps are done."""
        right = self.directions[self.right_direction]
        others = [w for i, w in enumerate(self.directions) if i != self.right_direction]
        one = 1 / right if repeat else 1 + sum(w / (w + right) for w in others)
        return one + self.steps - 1 if scouting else one * self.steps

    def thinker(self, number: int, seed: int = 0, habits: TokenHabits = CERTAIN) -> BasinThinker:
        """The thinker of a problem."""
        names = {self.first_direction + i: f"direction {i}" for i in range(len(self.directions))}
        return BasinThinker(number, seed, names, habits, {"idea": "directions"}, graph=self)


def rank_law(weights: Sequence[float], target: int, *, repeat: bool, most: int) -> np.ndarray:
    """float64[most]: probability that the first `target` of successive draws is draw 1, 2, ...

    Without repetition it is that of successive sampling, by dynamic programming over the sets drawn before.
    """
    w = np.asarray(weights, np.float64)
    if repeat:
        return w[target] * (1 - w[target]) ** np.arange(most)
    law = np.zeros(max(most, len(w)))
    chance = {0: 1.0}  # of each set, as bits, to be what was drawn first
    for rank in range(len(w)):
        longer: dict[int, float] = {}
        for drawn, p in chance.items():
            free = [k for k in range(len(w)) if not drawn >> k & 1]
            left = w[free].sum()
            law[rank] += p * w[target] / left
            for k in free:
                if k != target:
                    longer[drawn | 1 << k] = longer.get(drawn | 1 << k, 0.0) + p * w[k] / left
        chance = longer
    return law[:most]


@dataclasses.dataclass(frozen=True)
class BasinThinker(TokenThinker):
    """The thinker of a BasinGraph. A solution is (basin's token, steps done); its themes forbid to repeat a basin."""

    graph: BasinGraph = BasinGraph()

    @property
    def num_themes(self) -> int:
        return len(self.graph.basins)

    def idea_prefix(self, subject: Subject) -> tuple[int, ...]:
        return START, subject.solution[0]

    def seed(self, draw: int, theme: int | None) -> Asking[DraftSolution]:
        path = (*self.key, SOLVE)
        if theme is None:
            request = Request((START,), decoding=Decoding(max_tokens=1), path=path, first_draw=draw)
            reply = yield Sample(request, self.model("solve"))
            return DraftSolution((int(reply.completions[0].tokens[0]), 0))
        request = Request((START,), decoding=Decoding(max_tokens=1), path=(*path, 1))
        reply = yield Sample(request, "basins")
        (answer,) = reply.completions
        logits = np.full(len(self.graph.basins), -np.inf)
        logits[answer.tokens - 1] = answer.logprobs
        order = draw_choices(logits, theme + 1, self.chooser((SOLVE,)), repeat=False)  # one order for all themes
        return DraftSolution((1 + order[theme], 0))

    def edit(self, subject: Subject, direction: Direction | None, path: Path) -> Asking[DraftSolution]:
        basin, done = subject.solution
        if direction is None or direction.token < 0:
            return DraftSolution((basin, done))
        prefix = (START, basin, direction.token)
        yield from self.write(prefix, Decoding(max_tokens=1), path, 0, "edit")
        right = basin == 1 + self.graph.right_basin and direction.token == (
            self.graph.first_direction + self.graph.right_direction
        )
        return DraftSolution((basin, min(done + right, self.graph.steps)))

    def show(self, solution: tuple[int, ...]) -> str:
        return f"basin {solution[0] - 1}, {solution[1]} of {self.graph.steps} steps"
