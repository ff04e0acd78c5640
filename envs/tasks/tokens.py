"""The protocol of a token-level task: problems, prompts, worked answers, and a verifier, as pure functions on arrays.

All are for one problem; batching is `jax.vmap`. A problem is a NamedTuple of arrays whose shapes depend on the task
alone, so that problems of different difficulty share a batch.

Shapes: `T` tokens, `Q` the longest prompt, `A` the longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError

Problem: TypeAlias = Any  # a NamedTuple of arrays, the task's own


class Text(NamedTuple):
    """Tokens of a length that depends on the problem, in an array that does not."""

    tokens: jax.Array  # int32[Q] or int32[A], padded at the end
    length: jax.Array  # int32[]


class Example(NamedTuple):
    """A prompt with its worked answer, to learn from."""

    tokens: jax.Array  # int32[Q + A], padded at the end
    mask: jax.Array  # bool[Q + A], the answer's tokens, its end included


class Verdict(NamedTuple):
    """A verifier's grades of an answer. The first two are graded rewards, the last is hidden success."""

    leading: jax.Array  # int32[], steps that are right before the first that is not
    fraction: jax.Array  # float32[], share of all steps that are right
    solved: jax.Array  # bool[], every step is right and the answer ends where it should


@runtime_checkable
class TokenTask(Protocol):
    """A family of problems over one vocabulary."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def eos(self) -> int: ...  # ends an answer
    @property
    def pad(self) -> int: ...  # fills an array up; never in a prompt or an answer
    @property
    def max_prompt(self) -> int: ...  # Q
    @property
    def max_answer(self) -> int: ...  # A, the end included

    def problem(self, key: jax.Array, steps: jax.Array | int) -> Problem:
        """A random problem of `steps` int32[] steps."""
        ...

    def prompt(self, problem: Problem) -> Text:
        """The prompt that a model is given."""
        ...

    def answer(self, problem: Problem) -> Text:
        """A worked answer, the end of sequence included; the verifier says that it is right."""
        ...

    def verify(self, problem: Problem, tokens: jax.Array) -> Verdict:
        """Judges what a model wrote, int32[T] of any T; whatever follows the end of sequence is ignored."""
        ...

    def render(self, tokens: ArrayLike) -> str:
        """Any tokens as text, on the host; `parse` is its inverse."""
        ...

    def parse(self, text: str) -> np.ndarray:
        """Tokens int32[T] of a text, on the host.

        Raises:
          UserError: if it holds something that the vocabulary has no token for.
        """
        ...


def example(task: TokenTask, problem: Problem) -> Example:
    """The prompt and right after it the worked answer, in one row."""
    prompt, answer = task.prompt(problem), task.answer(problem)
    places = jnp.arange(task.max_prompt + task.max_answer)
    after = places - prompt.length
    tokens = jnp.where(
        after < 0,
        prompt.tokens[jnp.minimum(places, task.max_prompt - 1)],
        answer.tokens[jnp.clip(after, 0, task.max_answer - 1)],
    )
    mask = (after >= 0) & (after < answer.length)
    return Example(jnp.where(mask | (after < 0), tokens, task.pad).astype(jnp.int32), mask)


def end_text(tokens: jax.Array, length: jax.Array, last: int, pad: int) -> Text:
    """The first `length` int32[] tokens with `last` behind them, and padding behind that."""
    places = jnp.arange(tokens.shape[0])
    ended = jnp.where(places < length, tokens, jnp.where(places == length, last, pad))
    return Text(ended.astype(jnp.int32), length + 1)


def check_limits(task: Any, **limits: tuple[int, int]) -> None:
    """Refuses a task with a field outside its limits, both of which are allowed.

    Raises:
      UserError: with the field and its limits.
    """
    for name, (low, high) in limits.items():
        if not low <= getattr(task, name) <= high:
            raise UserError(f"{name} must be {low} to {high}, got {getattr(task, name)}")


def known_tokens(task: TokenTask, tokens: ArrayLike) -> list[int]:
    """Tokens as a list, on the host.

    Raises:
      UserError: if one is not in the vocabulary of the task.
    """
    found = np.asarray(tokens).tolist()
    odd = next((token for token in found if not 0 <= token < task.vocab_size), None)
    if odd is not None:
        raise UserError(f"token {odd} is not in the vocabulary: give 0 to {task.vocab_size - 1}")
    return found


def sequences(choices: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """All sequences of 1 to `longest` of `choices` numbers, short first: int32[M, longest], and lengths int32[M]."""
    rows, lengths = [], []
    for count in range(1, longest + 1):
        grid = np.indices((choices,) * count).reshape(count, -1).T
        rows.append(np.pad(grid, ((0, 0), (0, longest - count))))
        lengths.append(np.full(len(grid), count))
    return np.concatenate(rows).astype(np.int32), np.concatenate(lengths).astype(np.int32)


def pad_rows(rows: Sequence[np.ndarray], length: int, pad: int) -> np.ndarray:
    """Token rows of different lengths as one array int32[B, length], on the host; longer ones are refused.

    Raises:
      UserError: if a row is longer than `length`.
    """
    longest = max((len(row) for row in rows), default=0)
    if longest > length:
        raise UserError(f"a row has {longest} tokens and there is room for {length}: give a greater length")
    table = np.full((len(rows), length), pad, np.int32)
    for place, row in zip(table, rows, strict=True):
        place[: len(row)] = row
    return table
