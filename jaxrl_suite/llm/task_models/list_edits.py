"""List programs and their edits as rows of tokens: what the editing model learns, and what it is asked.

    [3 -2 5]>[6 -2 4];...? plain reverse inc .                        a program from examples
    [3 -2 5]>[6 -2 4];...? theme reverse inc .                        the same, with the class of its first operation
    [3 -2 5]>[6 -2 4];...? edit sort inc + + - - reverse reverse inc .

An edit shows a program, which of the examples it gets right, a direction, and the better program. The direction is an
operation to use, `drop` or `reorder`: while it learns, the true class of the change from a corrupted program, so that
the model comes to name directions itself. `any` says nothing, for a plain repair.

Shapes: `N` most operations, `E` examples, `T` tokens.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.envs.tasks.listfun import EOS, FIRST, NAMES, PAD, VOCAB_SIZE, ListFunctions, ListProblem
from jaxrl_suite.envs.tasks.tokens import Example, Text, end_text, known_tokens

EDIT, PASS, FAIL, DROP, REORDER, ANY, PLAIN, THEME = range(VOCAB_SIZE, VOCAB_SIZE + 8)
CLASSES: tuple[tuple[str, ...], ...] = (  # of operations, as themes of a program
    ("reverse", "sort", "rotate"),
    ("tail", "init", "unique", "evens", "odds", "positives"),
    ("negate", "double", "inc", "dec", "abs"),
    ("cumsum", "differences"),
)
EDIT_VOCAB = THEME + len(CLASSES)
DIRECTIONS: dict[int, str] = {FIRST + i: f"use {name}" for i, name in enumerate(NAMES)}
DIRECTIONS |= {DROP: "leave an operation out", REORDER: "put the operations in another order"}
EDITS = 0.6  # share of rows that are edits
HINTED = 0.85  # share of edits with a direction
THEMED = 0.5  # share of other rows with a theme
REWRITTEN = 0.25  # share of corrupted programs that have nothing of the true one
_WORDS = {EDIT: " edit", PASS: " +", FAIL: " -", DROP: " drop", REORDER: " reorder", ANY: " any", PLAIN: " plain"}


@dataclasses.dataclass(frozen=True)
class ListEdits(ListFunctions):
    """List functions for a model that also edits: a prompt ends with the token that asks for a program.

    Args:
      max_operations: as in `ListFunctions`, 3 by default.
    """

    vocab_size = EDIT_VOCAB
    max_operations: int = 3

    @property
    def max_prompt(self) -> int:
        return super().max_prompt + 1

    @property
    def longest_row(self) -> int:
        """T, of an edit."""
        return super().max_prompt + 3 + self.examples + 2 * self.max_operations

    def prompt(self, problem: ListProblem) -> Text:
        """The examples, `?`, and `plain`."""
        text = super().prompt(problem)
        return end_text(jnp.append(text.tokens, PAD), text.length, PLAIN, PAD)

    def render(self, tokens: ArrayLike) -> str:
        """Any tokens as text, on the host."""
        pieces, plain = [], []
        for token in known_tokens(self, tokens):
            if token < VOCAB_SIZE:
                plain.append(token)
                continue
            pieces.append(super().render(plain) + _WORDS.get(token, f" theme {token - THEME}") + " ")
            plain = []
        return "".join([*pieces, super().render(plain)])


class ListProgram(NamedTuple):
    """A list program in an array of fixed size."""

    operations: jax.Array  # int32[N]; -1 from `length` on
    length: jax.Array  # int32[]


def corrupt(program: ListProgram, key: jax.Array) -> ListProgram:
    """A program one or two edits away from `program`, or any other: as a model's mistakes are.

    An edit replaces, inserts, or removes an operation, or swaps two neighbours; one that is impossible replaces.
    """
    size = program.operations.shape[0]
    how, length_key, op_key, first, second = jax.random.split(key, 5)
    twice, anew = jax.random.bernoulli(how, jnp.asarray([0.5, REWRITTEN]), (2,))
    one = _edited(program, first)
    two = _edited(one, second)
    near = jax.tree.map(lambda a, b: jnp.where(twice, b, a), one, two)
    length = jax.random.randint(length_key, (), 1, size + 1)
    random = jax.random.randint(op_key, (size,), 0, len(NAMES))
    far = ListProgram(jnp.where(jnp.arange(size) < length, random, -1), length)
    return jax.tree.map(lambda a, b: jnp.where(anew, b, a), near, far)


def _edited(program: ListProgram, key: jax.Array) -> ListProgram:
    operations, length = program
    size = operations.shape[0]
    places = jnp.arange(size)
    kind_key, op_key, place_key, gap_key = jax.random.split(key, 4)
    kind = jax.random.randint(kind_key, (), 0, 4)
    new = jax.random.randint(op_key, (), 0, len(NAMES))
    place = jax.random.randint(place_key, (), 0, length)
    gap = jax.random.randint(gap_key, (), 0, length + 1)
    before = operations[jnp.maximum(places - 1, 0)]
    after = jnp.where(places + 1 < size, operations[jnp.minimum(places + 1, size - 1)], -1)
    replaced = jnp.where(places == place, new, operations)
    inserted = jnp.where(places < gap, operations, jnp.where(places == gap, new, before))
    removed = jnp.where(places < place, operations, after)
    left = jnp.minimum(place, jnp.maximum(length - 2, 0))
    swapped = jnp.where(places == left, operations[jnp.minimum(left + 1, size - 1)], operations)
    swapped = jnp.where(places == left + 1, operations[left], swapped)
    can = jnp.stack([length > 0, length < size, length > 1, length > 1])[kind]
    kind = jnp.where(can, kind, 0)
    result = jnp.stack([replaced, inserted, removed, swapped])[kind]
    length = length + jnp.asarray([0, 1, -1, 0])[kind]
    return ListProgram(jnp.where(places < length, result, -1).astype(jnp.int32), length.astype(jnp.int32))


def edit_class(wrong: ListProgram, right: ListProgram, key: jax.Array) -> jax.Array:
    """int32[], the direction of the change: an operation that is missing, drawn evenly, else `drop`, else `reorder`."""
    kinds = jnp.arange(len(NAMES))
    wanted = jnp.sum(right.operations[:, None] == kinds[None, :], axis=0)
    there = jnp.sum(wrong.operations[:, None] == kinds[None, :], axis=0)
    missing = jnp.maximum(wanted - there, 0)
    pick = jax.random.categorical(key, jnp.where(missing > 0, jnp.log(jnp.maximum(missing, 1)), -jnp.inf))
    rest = jnp.where(wrong.length > right.length, DROP, REORDER)
    return jnp.where(jnp.any(missing > 0), FIRST + pick, rest).astype(jnp.int32)


def theme_of(operation: jax.Array) -> jax.Array:
    """int32[], the theme's token of a program that begins with an operation."""
    table = np.asarray([next(i for i, names in enumerate(CLASSES) if name in names) for name in NAMES], np.int32)
    return THEME + jnp.asarray(table)[operation]


def edit_row(task: ListEdits, key: jax.Array, progress: jax.Array | float = 0.0) -> Example:
    """A row to learn from, int32[T], bool[T]; a pure function of the key. An edit of a right program is left out."""
    del progress
    keys = jax.random.split(key, 6)
    steps = jax.random.randint(keys[0], (), 1, task.max_operations + 1)
    problem = task.problem(keys[1], steps)
    inside = jnp.arange(task.max_operations) < steps
    right = ListProgram(jnp.where(inside, problem.program, -1), steps)
    wrong = corrupt(right, keys[2])
    passed = task.right(problem, program_answer(wrong))[: task.examples]
    is_edit, hinted, themed = jax.random.bernoulli(keys[3], jnp.asarray([EDITS, HINTED, THEMED]), (3,))
    direction = jnp.where(hinted, edit_class(wrong, right, keys[4]), ANY)
    opening = jnp.where(is_edit, EDIT, jnp.where(themed, theme_of(problem.program[0]), PLAIN))
    parts = (
        (ListFunctions.prompt(task, problem).tokens, False),
        (opening[None], False),
        (jnp.where(is_edit, _tokens_of(wrong), PAD), False),
        (jnp.where(is_edit, jnp.where(passed, PASS, FAIL), PAD), False),
        (jnp.where(is_edit, direction, PAD)[None], hinted),
        (_tokens_of(right), True),
        (jnp.asarray([EOS], jnp.int32), True),
    )
    tokens = jnp.concatenate([part for part, _ in parts])
    learn = jnp.concatenate([jnp.broadcast_to(jnp.asarray(learn), part.shape) for part, learn in parts])
    learn &= (tokens != PAD) & ~(is_edit & jnp.all(passed))
    order = jnp.argsort(tokens == PAD, stable=True)
    return Example(tokens[order].astype(jnp.int32), learn[order])


def _tokens_of(program: ListProgram) -> jax.Array:
    return jnp.where(program.operations >= 0, program.operations + FIRST, PAD)


def program_answer(program: ListProgram) -> jax.Array:
    """int32[N + 1], a program as an answer, with its end."""
    tokens = jnp.append(_tokens_of(program), PAD)
    return jnp.where(jnp.arange(len(tokens)) == program.length, EOS, tokens).astype(jnp.int32)


def edit_prompt(
    prompt: tuple[int, ...], solution: tuple[int, ...], passed: tuple[bool, ...], most: int
) -> tuple[int, ...]:
    """Tokens after which the model names a direction; what is no operation of the solution is left out.

    Args:
      prompt: the examples, with the `?` at their end.
      solution: tokens that a model wrote.
      passed: one for each example.
      most: N, operations that are shown.
    """
    operations = [token for token in solution if FIRST <= token < FIRST + len(NAMES)][:most]
    return (*prompt, EDIT, *operations, *(PASS if good else FAIL for good in passed))
