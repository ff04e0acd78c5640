"""Row rules: complete a row of coloured cells as the rows before it were, in the manner of one-dimensional ARC.

    00110200>01102000;30000033>00000333;00022000>00220000;10000404?      the prompt: three pairs, then a row
    00004041.                                                            the answer: that row, completed

A problem draws one to three rules, which are applied one after the other to every row; the answer is graded cell by
cell. Three pairs need not tell the rules apart, so even an exact solver is not always right: see `rules`.

A token is a colour 0 to 4 (0 is the background), `>`, `;`, `?`, the end `.` or padding `_`.

Shapes: `N` most rules, `E` pairs shown, `L` cells of a row, `T` tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.envs.tasks.tokens import Text, Verdict, check_limits, end_text, known_tokens, sequences
from jaxrl_suite.errors import UserError

COLOURS = 5
MAX_RULES = 3
ARROW, NEXT, ASK, EOS, PAD = range(COLOURS, COLOURS + 5)  # a colour is its own token
VOCAB_SIZE = COLOURS + 5
_TEXT = "01234>;?._"


def _before(row: jax.Array) -> jax.Array:
    """The left neighbour of every cell; background beyond the edge."""
    return jnp.concatenate([jnp.zeros(1, row.dtype), row[:-1]])


def _after(row: jax.Array) -> jax.Array:
    return jnp.concatenate([row[1:], jnp.zeros(1, row.dtype)])


def _last_colour(row: jax.Array) -> jax.Array:
    """For every cell the nearest colour at it or to its left; background if there is none."""
    place = jax.lax.cummax(jnp.where(row > 0, jnp.arange(len(row)), -1))
    return jnp.where(place >= 0, row[jnp.maximum(place, 0)], 0)


def _fill(row: jax.Array) -> jax.Array:
    left, right = _last_colour(row), _last_colour(row[::-1])[::-1]
    return jnp.where((row == 0) & (left == right), left, row)


def _grow(row: jax.Array) -> jax.Array:
    return jnp.where(row > 0, row, jnp.where(_before(row) > 0, _before(row), _after(row)))


RULES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "turn left": lambda row: jnp.roll(row, -1),
    "turn right": lambda row: jnp.roll(row, 1),
    "turn right twice": lambda row: jnp.roll(row, 2),
    "mirror": lambda row: row[::-1],
    "pack left": lambda row: row[jnp.argsort(row == 0, stable=True)],
    "pack right": lambda row: row[jnp.argsort(row > 0, stable=True)],
    "hollow": lambda row: jnp.where((row == _before(row)) & (row == _after(row)), 0, row),
    "fill": _fill,
    "denoise": lambda row: jnp.where((row == _before(row)) | (row == _after(row)), row, 0),
    "grow": _grow,
}
NAMES = tuple(RULES)


class RowProblem(NamedTuple):
    """Rules and rows; the last row is the one asked for."""

    rules: jax.Array  # int32[N], 0 to 9; those from `steps` on are not used
    steps: jax.Array  # int32[], 1 to N
    rows: jax.Array  # int32[E + 1, L], 0 to 4


@dataclasses.dataclass(frozen=True)
class RowRules:
    """The task, see `TokenTask`.

    Args:
      max_rules: N, 1 to 3.
      pairs: E, 1 to 6.
      length: L, 4 to 16.

    Raises:
      UserError: if one is out of range.
    """

    vocab_size = VOCAB_SIZE
    eos = EOS
    pad = PAD

    max_rules: int = 2
    pairs: int = 3
    length: int = 8

    def __post_init__(self):
        check_limits(self, max_rules=(1, MAX_RULES), pairs=(1, 6), length=(4, 16))

    @property
    def max_prompt(self) -> int:
        return self.pairs * 2 * (self.length + 1) + self.length + 1

    @property
    def max_answer(self) -> int:
        return self.length + 1

    def problem(self, key: jax.Array, steps: jax.Array | int) -> RowProblem:
        """Random rules, and rows of blocks: a cell repeats the one before with probability .6, or is background or any
        colour, equally likely.

        Args:
          key: consumed.
          steps: int32[], rules, 1 to N; not checked under jit.
        """
        rules_key, *keys = jax.random.split(key, 4)
        rules = jax.random.randint(rules_key, (self.max_rules,), 0, len(RULES))
        shape = (self.pairs + 1, self.length)
        fresh = jnp.where(jax.random.bernoulli(keys[0], 0.5, shape), jax.random.randint(keys[1], shape, 1, COLOURS), 0)
        starts = (~jax.random.bernoulli(keys[2], 0.6, shape)).at[:, 0].set(True)
        place = jax.lax.cummax(jnp.where(starts, jnp.arange(self.length)[None], 0), axis=1)
        rows = jnp.take_along_axis(fresh, place, axis=1)
        return RowProblem(rules, jnp.asarray(steps, jnp.int32), rows)

    def complete(self, rules: jax.Array, steps: jax.Array, rows: jax.Array) -> jax.Array:
        """int32[R, L]: rows after the first `steps` of the rules int32[N]."""

        def step(row: jax.Array, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            rule, place = item
            choice = jnp.where(place < steps, rule + 1, 0)
            return jax.lax.switch(choice, [lambda row: row, *RULES.values()], row), None

        return jax.vmap(lambda row: jax.lax.scan(step, row, (rules, jnp.arange(self.max_rules)))[0])(rows)

    def prompt(self, problem: RowProblem) -> Text:
        """The pairs, the row asked for, `?`."""
        shown, asked = problem.rows[:-1], problem.rows[-1]
        column = jnp.zeros((self.pairs, 1), jnp.int32)
        done = self.complete(problem.rules, problem.steps, shown)
        pairs = jnp.concatenate([shown, column + ARROW, done, column + NEXT], axis=1).reshape(-1)
        tokens = jnp.concatenate([pairs, asked, jnp.full(1, ASK)])
        return end_text(tokens, jnp.int32(self.max_prompt - 1), ASK, PAD)

    def answer(self, problem: RowProblem) -> Text:
        """The completed row, then the end."""
        row = self.complete(problem.rules, problem.steps, problem.rows[-1:])[0]
        return end_text(jnp.concatenate([row, row[:1]]), jnp.int32(self.length), EOS, PAD)

    def verify(self, problem: RowProblem, tokens: jax.Array) -> Verdict:
        """Judges an answer int32[T] cell by cell; `leading` counts those before the first wrong one."""
        tokens = jnp.concatenate([tokens, jnp.full(self.max_answer, PAD, tokens.dtype)])[: self.max_answer]
        wanted = self.complete(problem.rules, problem.steps, problem.rows[-1:])[0]
        ended = jnp.cumsum(tokens == EOS) > 0
        right = (tokens[:-1] == wanted) & ~ended[:-1]
        leading = jnp.sum(jnp.cumprod(right))
        solved = jnp.all(right) & (tokens[-1] == EOS)
        return Verdict(leading.astype(jnp.int32), jnp.mean(right.astype(jnp.float32)), solved)

    def rules(self) -> tuple[np.ndarray, np.ndarray]:
        """All sequences of rules int32[M, N] and their lengths int32[M], short ones first, for an exact solver.

        The best guess is the completion that most of those which fit the pairs agree on.
        """
        return sequences(len(RULES), self.max_rules)

    def render(self, tokens: ArrayLike) -> str:
        """Any tokens as text, on the host; `parse` is its inverse."""
        return "".join(_TEXT[token] for token in known_tokens(self, tokens))

    def parse(self, text: str) -> np.ndarray:
        """Tokens of a text, on the host.

        Raises:
          UserError: if it holds something that the vocabulary has no token for.
        """
        odd = next((symbol for symbol in text if symbol not in _TEXT), None)
        if odd is not None:
            raise UserError(f"no token for {odd!r}: write rows of colours 0 to 4, such as 00110200>01102000")
        return np.asarray([_TEXT.index(symbol) for symbol in text], np.int32)
