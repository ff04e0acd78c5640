"""A thinker whose directions are tokens: its model's own distribution over them, and what was learnt as log-odds.

This is the analogue of ideas in words for a model that has none. Scattering takes the likeliest directions that were
not tried at a solution, or samples them without replacement (`TokenHabits.scatter`); its absence is independent draws.
Scouting is a table of log-odds, one a direction, which moves with what a
trial brought and is added to the model's logits wherever directions are drawn in this problem.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.protocol import Decoding, Request
from jaxrl_suite.llm.questions import Sample, Verify
from jaxrl_suite.scaling.forest.choices import Chooser, draw_choices
from jaxrl_suite.scaling.forest.thinker import Asking, Direction, DraftSolution, Feedback, Path, Subject
from jaxrl_suite.scaling.records import GradedAnswer

Insights = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TokenHabits:
    """Constants of a thinker of tokens.

    Args:
      scatter: how directions without repetition are picked: "top", the likeliest, or "draw", successive sampling.
      temperature: logits of directions are divided by it.
      gain: log-odds that a direction gains a whole score of improvement.
      idle: log-odds that it loses beside, where it brought no improvement.

    Raises:
      UserError: if a value is out of range.
    """

    scatter: Literal["top", "draw"] = "top"
    temperature: float = 1.0
    gain: float = 2.0
    idle: float = 0.0

    def __post_init__(self):
        if self.scatter not in ("top", "draw"):
            raise UserError(f"scatter must be top or draw, got {self.scatter!r}")
        if not self.temperature > 0 or not self.gain >= 0 or not self.idle >= 0:
            raise UserError(
                "temperature must be above 0, gain and idle at least 0, got "
                f"{self.temperature}, {self.gain}, {self.idle}"
            )


@dataclasses.dataclass(frozen=True)
class TokenThinker:
    """A thinker of one problem on tokens; subclasses say what its prompts are.

    Args:
      number: of the problem, to the random streams and the verifier.
      seed_number: of the search.
      names: the directions' tokens and what each is called.
      habits: its constants.
      models: role to sampler; the role "idea" needs a `ChoiceSampler` over the directions.
      verifier: gives `Feedback` on a `GradedAnswer`.
    """

    number: int
    seed_number: int
    names: Mapping[int, str]
    habits: TokenHabits = TokenHabits()
    models: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"idea": "directions"})
    verifier: str = "tests"

    @property
    def key(self) -> tuple[int, int]:
        return self.seed_number, self.number

    @property
    def no_insights(self) -> Insights:
        return (0.0,) * len(self.names)

    def chooser(self, path: Path) -> Chooser:
        """Draws an index; the draws of one path are the same in every run."""
        rng = np.random.default_rng((*self.key, *path))
        return lambda chances: int(np.searchsorted(np.cumsum(chances)[:-1], rng.random(), side="right"))

    def idea_prefix(self, subject: Subject) -> tuple[int, ...]:
        """The prefix after which the model names a direction."""
        raise NotImplementedError

    def several(self, count: int, draw: int) -> Asking[tuple[DraftSolution, ...]]:
        raise UserError("verbalized sampling needs a model of text, this one has tokens: choose another method")
        yield

    def directions(
        self, subject: Subject, insights: Insights, tried: Sequence[Direction], count: int, path: Path, *, scatter: bool
    ) -> Asking[tuple[Direction, ...]]:
        tokens = list(self.names)
        barred = [tokens.index(one.token) for one in tried if one.token in self.names] if scatter else []
        if len(set(barred)) == len(tokens):
            return ()  # nothing is left to ask for
        request = Request(
            self.idea_prefix(subject), decoding=Decoding(max_tokens=1), path=(*self.key, *path), role="idea"
        )
        reply = yield Sample(request, self.model("idea"))
        (answer,) = reply.completions
        assert answer.tokens is not None
        assert answer.logprobs is not None
        logprobs = np.full(len(tokens), -np.inf)
        logprobs[[tokens.index(token) for token in answer.tokens.tolist()]] = answer.logprobs
        logits = logprobs / self.habits.temperature + np.asarray(insights)
        logits[barred] = -np.inf
        if scatter and self.habits.scatter == "top":
            order = np.argsort(-logits, kind="stable")[:count]
            chosen = [int(i) for i in order if np.isfinite(logits[i])]
        else:
            chosen = draw_choices(logits, count, self.chooser(path), repeat=not scatter)
        return tuple(Direction(self.names[tokens[i]], float(logprobs[i]), tokens[i]) for i in chosen)

    def learn(
        self, insights: Insights, before: Subject, direction: Direction | None, after: Subject, path: Path
    ) -> Asking[Insights]:
        """Moves the log-odds of a direction by the change of the score. It asks nothing, and costs nothing."""
        if direction is None or direction.token not in self.names:
            return insights
        change = after.feedback.score - before.feedback.score
        step = self.habits.gain * change - (self.habits.idle if change <= 0 else 0.0)
        place = list(self.names).index(direction.token)
        return (*insights[:place], insights[place] + step, *insights[place + 1 :])
        yield

    def grade(self, solution: tuple[int, ...]) -> Asking[Feedback]:
        verdicts = yield Verify(self.verifier, (GradedAnswer(self.number, solution),), role="test")
        if not verdicts.values:
            raise BudgetExhaustedError(verdicts.error)
        return verdicts.values[0]

    def model(self, role: str) -> str:
        """The sampler of a role."""
        return self.models.get(role, "main")

    def write(self, prefix: tuple[int, ...], decoding: Decoding, path: Path, draw: int, role: str) -> Asking:
        """A solution that the model of a role writes after a prefix."""
        request = Request(prefix, decoding=decoding, path=(*self.key, *path), first_draw=draw, role=role)
        reply = yield Sample(request, self.model(role))
        (answer,) = reply.completions
        assert answer.tokens is not None
        logprob = 0.0 if answer.logprobs is None else float(answer.logprobs.sum(dtype=np.float64))
        return DraftSolution(tuple(answer.tokens.tolist()), logprob)
