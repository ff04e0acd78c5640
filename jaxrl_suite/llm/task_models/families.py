"""Families of token problems that small models learn: task, difficulty, the shape of a model, rows to learn from.

A row is a problem with a worked answer, made on the device from a key, so that training needs no data set and never
sees a row twice. Held-out problems come from keys that no training uses.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.tasks import Countdown, ListFunctions, ModChain, RowRules, example
from jaxrl_suite.envs.tasks.countdown import ADD
from jaxrl_suite.envs.tasks.tokens import Example
from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.task_models.list_edits import ListEdits, edit_row
from jaxrl_suite.llm.task_models.prefixes import Prefixes, prepend
from jaxrl_suite.llm.transformer.config import LMConfig, preset
from jaxrl_suite.llm.transformer.next_token import Batch

ROOM = 4  # tokens of context beyond the longest row: an answer may be too long, a prefix longer than any in training


@dataclasses.dataclass(frozen=True)
class TaskFamily:
    """A family of problems and how a model of it is trained.

    Args:
      name: of the family.
      task: its problems, a `TokenTask`.
      steps: the least and the greatest difficulty; all in between are equally likely.
      row: `(key, progress float32[]) -> Example`: a row of training; progress runs from 0 to 1 over the training.
      prefixes: what may stand in front of a prompt; None if nothing may.
      context: longest sequence, in tokens.
    """

    name: str
    task: Any
    steps: tuple[int, int]
    row: Callable[[jax.Array, jax.Array], Example]
    prefixes: Prefixes | None
    context: int

    @property
    def vocab_size(self) -> int:
        return self.task.vocab_size if self.prefixes is None else self.prefixes.vocab_size

    def shape(self, size: str = "0.1M") -> LMConfig:
        """The shape of a model.

        Small models learn faster with keys and values for each head, and with short rotary wavelengths: all positions
        are below 128, where a base of 10,000 would hardly turn most coordinates.
        """
        shape = preset(size, vocab_size=self.vocab_size, context=self.context)
        return dataclasses.replace(shape, num_kv_heads=shape.num_heads, rope_theta=100.0)

    def batch(self, key: jax.Array, step: jax.Array, *, size: int, steps: int) -> Batch:
        """B rows of training step `step` int32[] of `steps`, drawn from `key`."""
        rows = jax.vmap(self.row, (0, None))(jax.random.split(key, size), step / steps)
        return Batch(rows.tokens, rows.mask)

    def held_out(self, count: int, stream: int = 0) -> Any:
        """Problems that no training run sees, a pytree with `count` on the leading axis; others for each `stream`."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 2**31), stream)
        steps_key, problem_key = jax.random.split(key)
        steps = jax.random.randint(steps_key, (count,), self.steps[0], self.steps[1] + 1)
        return jax.jit(jax.vmap(self.task.problem))(jax.random.split(problem_key, count), steps)


def family(name: str) -> TaskFamily:
    """The family called `name`.

    Raises:
      UserError: if there is none of that name.
    """
    if name not in FAMILIES:
        raise UserError(f"unknown task family {name!r}{suggest(name, FAMILIES)}")
    return FAMILIES[name]()


def _plain(name: str, task: Any, steps: tuple[int, int]) -> TaskFamily:
    def row(key: jax.Array, progress: jax.Array) -> Example:
        del progress
        steps_key, problem_key = jax.random.split(key)
        return example(task, task.problem(problem_key, jax.random.randint(steps_key, (), steps[0], steps[1] + 1)))

    return TaskFamily(name, task, steps, row, None, task.max_prompt + task.max_answer + ROOM)


def _modchain() -> TaskFamily:
    """Chains of 6 to 8 steps; training begins with shorter and easier ones."""
    task, steps = ModChain(max_steps=8), (6, 8)

    def row(key: jax.Array, progress: jax.Array) -> Example:
        steps_key, problem_key = jax.random.split(key)
        count = jax.random.randint(steps_key, (), 1, steps[1] + 1)
        return example(task, task.problem(problem_key, count, 0.5 * jnp.clip(1 - 2 * progress, 0.0, 1.0)))

    return TaskFamily("modchain", task, steps, row, None, task.max_prompt + task.max_answer + ROOM)


COUNTDOWN_STYLES = (
    "add",
    "subtract",
    "multiply",
    "add the largest",
    "subtract from the largest",
    "multiply the largest",
)


def _countdown() -> TaskFamily:
    """Four numbers of 1 to 20; rows with prefixes.

    A style names the first operation and whether it takes the largest number; a hint is the first two numbers and the
    operation between them.
    """
    task, steps = Countdown(max_numbers=4, largest=20), (3, 3)
    prefixes = Prefixes(task.vocab_size, COUNTDOWN_STYLES, 3)

    def row(key: jax.Array, progress: jax.Array) -> Example:
        del progress
        problem_key, prefix_key = jax.random.split(key)
        problem = task.problem(problem_key, steps[0])
        first = problem.lines[0, :3]
        largest = jnp.max(problem.numbers)
        style = first[1] - ADD + 3 * ((first[0] == largest) | (first[2] == largest))
        return prepend(prefixes, prefix_key, example(task, problem), style, first, task.pad)

    context = task.max_prompt + task.max_answer + prefixes.longest + ROOM
    return TaskFamily("countdown", task, steps, row, prefixes, context)


def _list_edits() -> TaskFamily:
    """List functions of up to 3 operations, and edits of corrupted programs; held-out ones have 2 or 3."""
    task = ListEdits()
    row = functools.partial(edit_row, task)
    return TaskFamily("list-edits", task, (2, 3), row, None, task.longest_row + 2 * ROOM)


FAMILIES: Mapping[str, Callable[[], TaskFamily]] = {
    "countdown": _countdown,
    "list-edits": _list_edits,
    "listfun": lambda: _plain("listfun", ListFunctions(), (1, 2)),
    "modchain": _modchain,
    "rowrules": lambda: _plain("rowrules", RowRules(), (1, 2)),
}
