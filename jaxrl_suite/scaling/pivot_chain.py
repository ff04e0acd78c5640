"""PivotChain: a chain of tokens of which a few decide, with a graded reward and exact success probabilities.

An answer has `length` tokens and an end. Pivots lie at fixed places, spread evenly; each is right with probability p,
whatever was drawn before, and an answer is solved if all are. The reward says how the pivots add up:

    run        right pivots before the first wrong one, as a share: an early error caps the reward
    fraction   right pivots, as a share: errors are independent
    tests      tests passed, as a share; test i needs pivots i and i + 1 (the last needs the first again)
    binary     1 if solved, else 0

The sampler is an exact automaton, so that what a search achieves can be told from what it should to many digits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding
from jaxrl_suite.llm.tabular import TabularSampler
from jaxrl_suite.scaling.records import GradedAnswer, VisibleProblem

Reward = Literal["run", "fraction", "tests", "binary"]
FILLER, RIGHT, WRONG, EOS, START = range(5)


@dataclasses.dataclass(frozen=True)
class PivotChain:
    """A family of problems that differ in nothing but their random streams.

    Args:
      pivots: K, at least 1.
      right: p, probability that a pivot is right, above 0 and at most 1.
      reward: how the pivots add up.
      length: tokens of an answer without its end, at least K.

    Raises:
      UserError: if a value is out of range.
    """

    pivots: int = 5
    right: float = 0.35
    reward: Reward = "run"
    length: int = 40

    def __post_init__(self):
        if not 1 <= self.pivots <= self.length:
            raise UserError(f"pivots must be 1 to the length {self.length}, got {self.pivots}")
        if not 0 < self.right <= 1:
            raise UserError(f"right must be a probability above 0, got {self.right}")
        if self.reward not in ("run", "fraction", "tests", "binary"):
            raise UserError(f"reward must be run, fraction, tests or binary, got {self.reward!r}")

    @property
    def places(self) -> tuple[int, ...]:
        """Places of the pivots in an answer."""
        return tuple((2 * i + 1) * self.length // (2 * self.pivots) for i in range(self.pivots))

    def sampler(self, seed: int = 0) -> TabularSampler:
        """The language model: a state for each place of an answer."""
        logits = np.full((self.length + 2, 5), -np.inf, np.float32)
        logits[:, FILLER] = 0.0
        for place in self.places:
            logits[place] = -np.inf
            logits[place, RIGHT] = np.log(self.right)
            if self.right < 1:
                logits[place, WRONG] = np.log1p(-self.right)
        logits[self.length] = -np.inf
        logits[self.length, EOS] = 0.0
        following = np.minimum(np.arange(self.length + 2) + 1, self.length + 1)
        table = np.repeat(following[:, None], 5, axis=1)
        table[:, START] = 0  # the prompt
        return TabularSampler(logits, table, eos=EOS, start=self.length + 1, seed=seed)

    def problem(self, number: int, seed: int = 0) -> VisibleProblem:
        return VisibleProblem(number, (START,), Decoding(max_tokens=self.length + 1), seed=seed)

    def grade(self, tokens: Sequence[int]) -> float:
        """The reward of an answer; what it lacks is wrong."""
        right = [place < len(tokens) and tokens[place] == RIGHT for place in self.places]
        if self.reward == "run":
            return next((i for i, good in enumerate(right) if not good), self.pivots) / self.pivots
        if self.reward == "fraction":
            return sum(right) / self.pivots
        if self.reward == "tests":
            return sum(a and b for a, b in zip(right, [*right[1:], right[0]], strict=True)) / self.pivots
        return float(all(right))

    def verifier(self, attempts: Sequence[GradedAnswer]) -> list[float]:
        """Rewards of many answers, for `run_lockstep`."""
        return [self.grade(attempt.tokens) for attempt in attempts]

    def best_of_n(self, num_samples: int) -> float:
        """Probability that at least one of N independent answers is solved: 1 - (1 - p^K)^N."""
        return -float(np.expm1(num_samples * np.log1p(-(self.right**self.pivots)))) if self.right < 1 else 1.0

    def reward_law(self, prefix: Sequence[int] = ()) -> dict[float, float]:
        """Probability of each reward of an answer that begins with `prefix`, over all 2^k ways of its other pivots."""
        known = [prefix[place] == RIGHT for place in self.places if place < len(prefix)]
        law: dict[float, float] = {}
        free = self.pivots - len(known)
        for ways in range(1 << free):
            right = [*known, *(bool(ways >> i & 1) for i in range(free))]
            chance = float(np.prod([self.right if good else 1 - self.right for good in right[len(known) :]]))
            answer = np.full(self.length, FILLER)
            answer[list(self.places)] = [RIGHT if good else WRONG for good in right]
            reward = self.grade(answer.tolist())
            law[reward] = law.get(reward, 0.0) + chance
        return law
