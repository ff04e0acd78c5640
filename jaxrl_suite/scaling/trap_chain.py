"""TrapChain: a high reward early in an answer that leads to a dead end, with exact success probabilities.

The first token of an answer is a trap with a known probability. Behind a trap every answer has the same reward, the
bait, and none is solved. On the open way pivots decide as in PivotChain: the reward is the share of right pivots before
the first wrong one, below the bait until all are right. A search that commits itself to the prefix of its best answer
is lost with its first step, wherever that answer begins with the trap; one that keeps other prefixes open is not.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding
from jaxrl_suite.llm.tabular import TabularSampler
from jaxrl_suite.scaling.pivot_chain import EOS, FILLER, RIGHT, START, WRONG
from jaxrl_suite.scaling.records import GradedAnswer, VisibleProblem

TRAP, WAY = 5, 6
_VOCABULARY = 7


@dataclasses.dataclass(frozen=True)
class TrapChain:
    """A family of problems that differ in nothing but their random streams.

    Args:
      trap: probability of the trap, at least 0 and below 1.
      bait: reward behind it, above `open_reward` and below 1.
      open_reward: highest reward on the open way that is not solved, at least 0; the first k of K pivots right give
        open_reward k / (K - 1).
      pivots: K, at least 1.
      right: p, probability that a pivot is right, above 0 and at most 1.
      length: tokens of an answer without its end, above K.

    Raises:
      UserError: if a value is out of range.
    """

    trap: float = 0.7
    bait: float = 0.5
    open_reward: float = 0.4
    pivots: int = 4
    right: float = 0.35
    length: int = 40

    def __post_init__(self):
        if not 1 <= self.pivots < self.length:
            raise UserError(f"pivots must be at least 1 and below the length {self.length}, got {self.pivots}")
        if not (0 <= self.trap < 1 and 0 < self.right <= 1):
            raise UserError(f"trap must be 0 to below 1 and right above 0 to 1, got {self.trap} and {self.right}")
        if not 0 <= self.open_reward < self.bait < 1:
            raise UserError(
                f"bait must lie between the open reward and 1, got {self.bait} and an open reward of {self.open_reward}"
            )

    @property
    def places(self) -> tuple[int, ...]:
        """Places of the pivots in an answer, behind the first token."""
        return tuple(1 + (2 * i + 1) * (self.length - 1) // (2 * self.pivots) for i in range(self.pivots))

    def sampler(self, seed: int = 0) -> TabularSampler:
        """The language model: a state for each place of an answer, on the open way and behind the trap."""
        size = self.length + 2  # places, the end, and the state before the prompt
        logits = np.full((2 * size, _VOCABULARY), -np.inf, np.float32)
        logits[:, FILLER] = 0.0
        for place, chances in (
            (0, {TRAP: self.trap, WAY: 1 - self.trap}),
            *((place, {RIGHT: self.right, WRONG: 1 - self.right}) for place in self.places),
        ):
            logits[place] = -np.inf
            for token, chance in chances.items():
                if chance > 0:
                    logits[place, token] = np.log(chance)
        for end in (self.length, size + self.length):
            logits[end] = -np.inf
            logits[end, EOS] = 0.0
        following = np.minimum(np.arange(size) + 1, self.length + 1)
        table = np.repeat(np.concatenate([following, size + following])[:, None], _VOCABULARY, axis=1)
        table[0, TRAP] = size + 1
        table[:, START] = 0  # the prompt
        return TabularSampler(logits, table, eos=EOS, start=self.length + 1, seed=seed)

    def problem(self, number: int, seed: int = 0) -> VisibleProblem:
        return VisibleProblem(number, (START,), Decoding(max_tokens=self.length + 1), seed=seed)

    def grade(self, tokens: Sequence[int]) -> float:
        """The reward of an answer; what it lacks is wrong."""
        if tokens and tokens[0] == TRAP:
            return self.bait
        right = [place < len(tokens) and tokens[place] == RIGHT for place in self.places]
        run = next((i for i, good in enumerate(right) if not good), self.pivots)
        return 1.0 if run == self.pivots else self.open_reward * run / max(self.pivots - 1, 1)

    def verifier(self, attempts: Sequence[GradedAnswer]) -> list[float]:
        """Rewards of many answers, for `run_lockstep`."""
        return [self.grade(attempt.tokens) for attempt in attempts]

    @property
    def solved_at_once(self) -> float:
        """Probability that an answer from the prompt is solved."""
        return (1 - self.trap) * self.right**self.pivots

    def best_of_n(self, num_samples: int) -> float:
        """Probability that at least one of N independent answers is solved."""
        return -math.expm1(num_samples * math.log1p(-self.solved_at_once)) if self.solved_at_once < 1 else 1.0

    def reward_law(self) -> list[tuple[float, float]]:
        """(reward, probability) of an answer from the prompt: behind the trap, and for each run of right pivots."""
        way, p, most = 1 - self.trap, self.right, self.pivots
        law = [(self.open_reward * run / max(most - 1, 1), way * p**run * (1 - p)) for run in range(most)]
        return [(self.bait, self.trap), *law, (1.0, way * p**most)]

    def solved_before_commitment(self, num_samples: int, sigma: float = 1.0) -> float:
        """Probability that greedy DISC's draws from the prompt solve the problem, by a dynamic program over their sum.

        They end when the rewards add up to `sigma`, or after N. Where the best of them lies behind the trap, and the
        search does not begin again, nothing that follows solves it.
        """
        law = self.reward_law()

        @functools.cache
        def chance(left: int, total: float) -> float:
            if left == 0 or total >= sigma - 1e-9:
                return 0.0
            return math.fsum(p * (1.0 if r == 1.0 else chance(left - 1, round(total + r, 12))) for r, p in law)

        return chance(num_samples, 0.0)
