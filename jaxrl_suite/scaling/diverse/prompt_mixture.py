"""Prompt mixtures: what diversity of prompts gains, exactly, where each prompt answers by a known distribution.

K answers are drawn in one of two ways: all from one prompt that was drawn at random (one), or each from a prompt of its
own (diverse). If f is the failure rate of a prompt, at least one answer is right with probability

    one        1 - E[f^K]
    diverse    1 - (E f)^K

Jensen's inequality puts the second above the first, and that is all that the theorem in the paper says of it: its
baseline is a perturbed prompt too. Beside the original prompt, of failure rate f0, diversity hurts at every K if
f0 < E f. Under a majority vote it may hurt at any rate: the diverse vote converges to the likeliest answer of the
mixture, the vote of one prompt to that of the prompt.

Shapes: `R` prompts, `M` answers.

Reference: Wang et al., "On the effect of sampling diversity in scaling LLM inference", arXiv 2502.11027, section 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from jaxrl_suite.errors import UserError

MOST_VOTES = 200_000  # ways to share votes out that are enumerated


@dataclasses.dataclass(frozen=True)
class PromptMixture:
    """Prompts and how each answers.

    Args:
      answers: [R][M], probabilities of the answers of each prompt; answer 0 is right.
      weights: [R], how often each prompt is drawn.

    Raises:
      UserError: if a row or the weights are no probabilities.
    """

    answers: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        rows = [*self.answers, self.weights]
        if len(self.weights) != len(self.answers) or len({len(row) for row in self.answers}) != 1:
            raise UserError("give a row of as many answers for each prompt, and a weight for each")
        for row in rows:
            values = np.asarray(row, np.float64)
            if not (np.isfinite(values).all() and (values >= 0).all() and abs(values.sum() - 1) < 1e-9):
                raise UserError(f"probabilities must be at least 0 and add up to 1, got {row}")

    @property
    def failure(self) -> np.ndarray:
        """Failure rates float64[R] of the prompts."""
        return 1.0 - np.asarray(self.answers, np.float64)[:, 0]

    @property
    def mixed(self) -> np.ndarray:
        """Probabilities float64[M] of the answers of a prompt drawn at random."""
        return np.asarray(self.weights) @ np.asarray(self.answers, np.float64)

    def any_right(self, count: int, *, diverse: bool) -> float:
        """Probability that at least one of `count` answers is right."""
        weights, failure = np.asarray(self.weights), self.failure
        return 1.0 - float((weights @ failure) ** count if diverse else weights @ failure**count)

    def majority_right(self, count: int, *, diverse: bool) -> float:
        """Probability that most of `count` answers are right, a tie broken by a fair draw; by enumeration."""
        if diverse:
            return vote(self.mixed, count)
        return float(np.dot(self.weights, [vote(np.asarray(row), count) for row in self.answers]))

    def majority_limit(self, *, diverse: bool) -> float:
        """Limit of `majority_right` for many answers."""
        rows = self.mixed[None] if diverse else np.asarray(self.answers, np.float64)
        best = rows.max(axis=1, keepdims=True)
        ties = np.isclose(rows, best, rtol=0, atol=1e-12)
        wins = ties[:, 0] / ties.sum(axis=1)
        return float(wins[0] if diverse else np.dot(self.weights, wins))


def vote(answers: np.ndarray, count: int) -> float:
    """Probability that answer 0 of float64[M] has most of `count` independent votes, a tie broken by a fair draw.

    Raises:
      UserError: if there are too many ways to share the votes out.
    """
    size = len(answers)
    ways = math.comb(count + size - 1, size - 1)
    if count < 1 or ways > MOST_VOTES:
        raise UserError(f"{count} votes on {size} answers have {ways:,} outcomes: give fewer, at most {MOST_VOTES:,}")
    total = 0.0
    for shares in _shares(count, size):
        most = max(shares)
        if shares[0] == most:
            total += _multinomial(shares, answers) / shares.count(most)
    return total


def beta_any_right(a: float, b: float, count: int, *, diverse: bool) -> float:
    """`PromptMixture.any_right` where failure rates follow Beta(a, b).

    E[f^K] is the product of (a + i) / (a + b + i) for i below K, and E f is a / (a + b).

    Raises:
      UserError: if a parameter is not above 0, or `count` below 1.
    """
    if not (0 < a < math.inf and 0 < b < math.inf) or count < 1:
        raise UserError(f"a and b must be above 0 and count at least 1, got {a}, {b}, {count}")
    if diverse:
        return 1.0 - (a / (a + b)) ** count
    return 1.0 - math.prod((a + i) / (a + b + i) for i in range(count))


def _shares(count: int, size: int) -> Iterator[tuple[int, ...]]:
    """All ways to share `count` votes out among `size` answers."""
    if size == 1:
        yield (count,)
        return
    for first in range(count + 1):
        for rest in _shares(count - first, size - 1):
            yield (first, *rest)


def _multinomial(shares: tuple[int, ...], answers: np.ndarray) -> float:
    ways = math.factorial(sum(shares))
    for share in shares:
        ways //= math.factorial(share)
    return ways * math.prod(float(p) ** share for p, share in zip(answers, shares, strict=True))
