"""Token problems for a search: their prompts, the visible reward of an answer, and whether it is right.

The visible reward is what can be told from the prompt: of countdown and chains it is graded and whole only for a right
answer; of list functions it is the share of the examples in the prompt that hold, and the hidden inputs decide what is
right. Row rules have none: what is right is the completion that no prompt holds.

Shapes: `M` problems, `B` answers, `T` tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.tasks import ListFunctions, RowRules, pad_rows
from jaxrl_suite.envs.tasks.tokens import Verdict
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding
from jaxrl_suite.scaling.records import SOLVED, GradedAnswer, VisibleProblem

Grading = Literal["fraction", "leading", "solved"]
UNSOLVED = 0.99  # the greatest visible reward of an answer that is known to be wrong


class TokenProblems:
    """Problems of one task.

    Args:
      task: a `TokenTask`.
      problems: a pytree with M on the leading axis.
      grading: the visible reward: the task's `fraction`, its `leading` steps as a share of all, or nothing
        but the whole reward ("solved").
    """

    def __init__(self, task: Any, problems: Any, grading: Grading = "fraction"):
        self.task, self.problems, self.grading = task, problems, grading
        prompts = jax.device_get(_prompts_of(task)(problems))
        self.prompts = [tuple(row[:size].tolist()) for row, size in zip(prompts.tokens, prompts.length, strict=True)]

    def __len__(self) -> int:
        return len(self.prompts)

    def problem(self, number: int, temperature: float = 1.0, seed: int = 0) -> VisibleProblem:
        """Problem `number` as a search sees it."""
        return VisibleProblem(number, self.prompts[number], self.decoding(temperature), seed=seed)

    def decoding(self, temperature: float) -> Decoding:
        return Decoding(max_tokens=self.task.max_answer + 1, temperature=temperature)  # too long is seen as such

    def verdicts(self, answers: Sequence[GradedAnswer]) -> Verdict:
        """The task's grades, arrays [B] on the host; batches are padded to powers of two."""
        room = self.task.max_answer + 1
        size = 1 << max(len(answers) - 1, 0).bit_length()
        rows = np.full((size, room), self.task.pad, np.int32)
        rows[: len(answers)] = pad_rows(
            [np.asarray(answer.tokens, np.int32) for answer in answers], room, self.task.pad
        )
        numbers = np.zeros(size, np.int32)
        numbers[: len(answers)] = [answer.number for answer in answers]
        grades = jax.device_get(_judge_of(self.task)(self.problems, jnp.asarray(numbers), jnp.asarray(rows)))
        return jax.tree.map(lambda leaf: leaf[: len(answers)], grades)

    def rewards(self, answers: Sequence[GradedAnswer]) -> list[float]:
        """Visible rewards of answers; the verifier of `run_lockstep`.

        Raises:
          UserError: of row rules, whose verifier knows the answer.
        """
        if isinstance(self.task, RowRules):
            raise UserError(
                "row rules have no visible reward, their verifier knows the answer: use votes, or countdown"
            )
        return self.rewards_of(self.verdicts(answers), answers)

    def rewards_of(self, grades: Verdict, answers: Sequence[GradedAnswer]) -> list[float]:
        """`rewards` of answers whose verdicts are known."""
        share = grades.fraction.astype(np.float64)
        if self.grading == "leading":
            share = grades.leading / self._most[[answer.number for answer in answers]]
        if not isinstance(self.task, ListFunctions):  # there, what is right is decided by inputs that are hidden
            share = np.where(grades.solved, 1.0, np.minimum(share, UNSOLVED))
        return np.where(share >= SOLVED, 1.0, 0.0 if self.grading == "solved" else share).tolist()

    def solved(self, answers: Sequence[GradedAnswer]) -> np.ndarray:
        """bool[B]: which answers are right. Not for a search: this looks at what is hidden."""
        return np.asarray(self.verdicts(answers).solved)

    @functools.cached_property
    def _most(self) -> np.ndarray:
        """The greatest `leading` of each problem, that of its worked answer."""
        worked = jax.jit(jax.vmap(lambda problem: self.task.verify(problem, self.task.answer(problem).tokens)))
        return np.maximum(np.asarray(worked(self.problems).leading), 1)


@functools.cache
def _prompts_of(task: Any) -> Any:
    """Compiled once for a task, whatever its problems are."""
    return jax.jit(jax.vmap(task.prompt))


@functools.cache
def _judge_of(task: Any) -> Any:
    """`(problems, numbers int32[B], tokens int32[B, T]) -> Verdict` of arrays [B], compiled once for a task."""

    def judge(problems: Any, number: jax.Array, tokens: jax.Array) -> Verdict:
        return task.verify(jax.tree.map(lambda leaf: leaf[number], problems), tokens)

    return jax.jit(jax.vmap(judge, (None, 0, 0)))
