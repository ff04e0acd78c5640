"""Tests that a model wrote itself: some wrong programs pass them, some right ones fail.

Published confusion of six self-written tests on HumanEval with GPT-3.5: 55 % right and passed, 27.5 % right and failed,
6.25 % wrong and passed, 11.25 % wrong and failed; so a wrong program passes with .357 and a right one fails with .333.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.scaling.forest.thinker import Feedback
from jaxrl_suite.scaling.records import SOLVED

PUBLISHED = (0.0625 / 0.175, 0.275 / 0.825)  # a wrong program passes, a right one fails


@dataclasses.dataclass(frozen=True)
class NoisyTests:
    """A verifier whose verdict is wrong at given rates. An answer to a problem always gets the same one.

    The verdict is whether all tests pass; the score is brought in line with it: of a passing answer all tests pass, and
    of a failing one at least one fails. Answers that fail and should keep the score that they earned.

    Args:
      visible: feedback of true tests.
      solved: whether an answer is right.
      false_positive: probability that a wrong answer passes.
      false_negative: probability that a right one fails.
      seed: of the noise.

    Raises:
      UserError: if a rate is no probability.
    """

    visible: Callable[[Sequence[Any]], Sequence[Feedback]]
    solved: Callable[[Sequence[Any]], Sequence[bool]]
    false_positive: float = PUBLISHED[0]
    false_negative: float = PUBLISHED[1]
    seed: int = 0

    def __post_init__(self):
        if not (0 <= self.false_positive <= 1 and 0 <= self.false_negative <= 1):
            raise UserError(f"rates must lie between 0 and 1, got {self.false_positive} and {self.false_negative}")

    def __call__(self, items: Sequence[Any]) -> list[Feedback]:
        found = zip(items, self.visible(items), self.solved(items), strict=True)
        return [self._verdict(item, feedback, right) for item, feedback, right in found]

    def _verdict(self, item: Any, feedback: Feedback, right: bool) -> Feedback:
        digest = hashlib.blake2b(repr((self.seed, tuple(item))).encode(), digest_size=16).digest()
        draw, place = int.from_bytes(digest[:8]) / 2**64, int.from_bytes(digest[8:])
        passes = draw >= self.false_negative if right else draw < self.false_positive
        tests = feedback.passed or (feedback.score >= SOLVED,)
        if passes:
            return Feedback(1.0, (True,) * len(tests), feedback.outputs)
        if feedback.score < SOLVED:
            return feedback
        bits = tuple(i != place % len(tests) for i in range(len(tests)))
        return Feedback(sum(bits) / len(bits), bits, feedback.outputs)
