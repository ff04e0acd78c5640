"""List functions: find a program from examples of what it does.

    [3 -2 5]>[6 -2 4];[1]>[2];[]>[];[0 7]>[8 1]?      the prompt: inputs and outputs of the examples
    reverse inc.                                      an answer: operations, applied from left to right

A list has 0 to L integers from -20 to 20; results beyond are cut to that range, so every program has a value on every
input (it is total). An answer is graded on the examples that the prompt shows, and solved only if it also agrees on
inputs that no one is shown. Any program that does counts, not just the one behind the problem.

A token is an integer, an operation, `[`, `]`, `>`, `;`, `?`, the end `.` or padding `_`.

Shapes: `N` most operations, `E` examples shown, `H` hidden inputs, `L` longest list, `T` tokens.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.envs.tasks.tokens import Text, Verdict, check_limits, end_text, known_tokens, sequences
from jaxrl_suite.errors import UserError

BOUND = 20
NUM_VALUES = 2 * BOUND + 1
ZERO = BOUND  # the integer v is the token ZERO + v
MAX_OPERATIONS = 5
EMPTY = BOUND + 1  # fills a list up


class Lists(NamedTuple):
    """A list in an array of fixed size."""

    values: jax.Array  # int32[L]; EMPTY from `length` on
    length: jax.Array  # int32[]


def _keep(lists: Lists, keep: jax.Array) -> Lists:
    """The entries of `keep` bool[L] that lie in the list, in their order."""
    keep &= jnp.arange(len(keep)) < lists.length
    order = jnp.argsort(~keep, stable=True)
    return Lists(jnp.where(keep, lists.values, EMPTY)[order], jnp.sum(keep))


def _each(function: Callable[[jax.Array], jax.Array]) -> Callable[[Lists], Lists]:
    """Applies a function to every entry; results are cut to the range."""

    def apply(lists: Lists) -> Lists:
        inside = jnp.arange(len(lists.values)) < lists.length
        return lists._replace(values=jnp.where(inside, jnp.clip(function(lists.values), -BOUND, BOUND), EMPTY))

    return apply


def _place(lists: Lists) -> jax.Array:
    return jnp.arange(len(lists.values))


def _reorder(lists: Lists, place: jax.Array) -> Lists:
    """Entry i of the result is entry `place[i]`."""
    inside = _place(lists) < lists.length
    values = lists.values[jnp.clip(place, 0, len(lists.values) - 1)]
    return lists._replace(values=jnp.where(inside, values, EMPTY))


def _rotate(lists: Lists) -> Lists:
    return _reorder(lists, (_place(lists) + 1) % jnp.maximum(lists.length, 1))


def _differences(lists: Lists) -> Lists:
    after = jnp.roll(lists.values, -1)
    return _keep(_each(lambda values: after - values)(lists), _place(lists) < lists.length - 1)


def _unique(lists: Lists) -> Lists:
    same = lists.values[:, None] == lists.values[None, :]
    return _keep(lists, ~jnp.any(jnp.tril(same, -1), axis=1))


OPERATIONS: dict[str, Callable[[Lists], Lists]] = {
    "reverse": lambda x: _reorder(x, x.length - 1 - _place(x)),
    "sort": lambda x: x._replace(values=jnp.sort(x.values)),  # EMPTY is beyond all values
    "tail": lambda x: _keep(x, _place(x) >= 1),
    "init": lambda x: _keep(x, _place(x) < x.length - 1),
    "rotate": _rotate,
    "unique": _unique,
    "evens": lambda x: _keep(x, x.values % 2 == 0),
    "odds": lambda x: _keep(x, x.values % 2 == 1),
    "positives": lambda x: _keep(x, x.values > 0),
    "negate": _each(jnp.negative),
    "double": _each(lambda values: 2 * values),
    "inc": _each(lambda values: values + 1),
    "dec": _each(lambda values: values - 1),
    "abs": _each(jnp.abs),
    "cumsum": lambda x: _each(lambda values: jnp.cumsum(jnp.where(_place(x) < x.length, values, 0)))(x),
    "differences": _differences,
}
NAMES = tuple(OPERATIONS)
FIRST = NUM_VALUES  # operation i is the token FIRST + i
OPEN, CLOSE, ARROW, NEXT, ASK, EOS, PAD = range(FIRST + len(NAMES), FIRST + len(NAMES) + 7)
VOCAB_SIZE = PAD + 1

_SYMBOLS = {OPEN: "[", CLOSE: "]", ARROW: ">", NEXT: ";", ASK: "?", EOS: ".", PAD: "_"}
_LEXEME = re.compile(r"(?P<value>-?\d+)|(?P<name>[a-z]+)|(?P<symbol>[][>;?._])|\s")


class ListProblem(NamedTuple):
    """A program and inputs; the first E are shown."""

    program: jax.Array  # int32[N], operations; those from `steps` on are not used
    steps: jax.Array  # int32[], 1 to N
    inputs: Lists  # int32[E + H, L], int32[E + H]


@dataclasses.dataclass(frozen=True)
class ListFunctions:
    """The task, see `TokenTask`.

    Args:
      max_operations: N, 1 to 5.
      examples: E, 1 to 8.
      hidden: H, 1 to 64.
      longest: L, 2 to 8.

    Raises:
      UserError: if one is out of range.
    """

    vocab_size = VOCAB_SIZE
    eos = EOS
    pad = PAD

    max_operations: int = 2
    examples: int = 4
    hidden: int = 14
    longest: int = 4

    def __post_init__(self):
        check_limits(self, max_operations=(1, MAX_OPERATIONS), examples=(1, 8), hidden=(1, 64), longest=(2, 8))

    @property
    def max_prompt(self) -> int:
        return self.examples * (2 * self.longest + 6)

    @property
    def max_answer(self) -> int:
        return self.max_operations + 1

    def problem(self, key: jax.Array, steps: jax.Array | int) -> ListProblem:
        """A random program on random lists.

        Every operation is equally likely, so some programs do nothing (`reverse reverse`), or little.

        Args:
          key: consumed.
          steps: int32[], operations, 1 to N; not checked under jit.
        """
        program_key, length_key, value_key = jax.random.split(key, 3)
        inputs = self.examples + self.hidden
        program = jax.random.randint(program_key, (self.max_operations,), 0, len(NAMES))
        lengths = jax.random.randint(length_key, (inputs,), 1, self.longest + 1)
        values = jax.random.randint(value_key, (inputs, self.longest), -9, 10)
        values = jnp.where(jnp.arange(self.longest)[None] < lengths[:, None], values, EMPTY)
        return ListProblem(program, jnp.asarray(steps, jnp.int32), Lists(values, lengths))

    def run(self, program: jax.Array, steps: jax.Array, inputs: Lists) -> Lists:
        """Outputs int32[I, L], int32[I] of a program int32[N] on inputs; an operation out of range does nothing."""

        def step(lists: Lists, item: tuple[jax.Array, jax.Array]) -> tuple[Lists, None]:
            operation, place = item
            known = (operation >= 0) & (operation < len(NAMES)) & (place < steps)
            branches = [lambda x: Lists(x.values, x.length.astype(jnp.int32))]
            branches += [lambda x, f=f: Lists(f(x).values, f(x).length.astype(jnp.int32)) for f in OPERATIONS.values()]
            return jax.lax.switch(jnp.where(known, operation + 1, 0), branches, lists), None

        def one(lists: Lists) -> Lists:
            return jax.lax.scan(step, lists, (program, jnp.arange(len(program))))[0]

        return jax.vmap(one)(Lists(inputs.values, inputs.length.astype(jnp.int32)))

    def prompt(self, problem: ListProblem) -> Text:
        """The examples, then `?`."""
        shown = jax.tree.map(lambda leaf: leaf[: self.examples], problem.inputs)
        outputs = self.run(problem.program, problem.steps, shown)
        column = jnp.zeros((self.examples, 1), jnp.int32)
        parts = (
            column + OPEN, _tokens(shown.values), column + CLOSE, column + ARROW,
            column + OPEN, _tokens(outputs.values), column + CLOSE, column + NEXT,
        )  # fmt: skip
        row = jnp.concatenate(parts, axis=1).reshape(-1)
        there = row != PAD
        row = row[jnp.argsort(~there, stable=True)]
        return end_text(row, jnp.sum(there) - 1, ASK, PAD)

    def answer(self, problem: ListProblem) -> Text:
        """The program behind the problem, then the end."""
        tokens = jnp.concatenate([problem.program + FIRST, problem.program[:1]])
        return end_text(tokens, problem.steps, EOS, PAD)

    def verify(self, problem: ListProblem, tokens: jax.Array) -> Verdict:
        """Judges an answer int32[T].

        `leading` counts the examples that are right before the first wrong one, `fraction` is the share of the examples
        that are right, and an answer is solved if all examples and all hidden inputs are. An answer that is no
        program of 1 to N operations with its end gets nothing.
        """
        right = self.right(problem, tokens)
        shown = right[: self.examples]
        leading = jnp.sum(jnp.cumprod(shown))
        return Verdict(leading.astype(jnp.int32), jnp.mean(shown.astype(jnp.float32)), jnp.all(right))

    def right(self, problem: ListProblem, tokens: jax.Array) -> jax.Array:
        """bool[E + H], the inputs on which an answer int32[T] gives what the problem's program gives."""
        length = self.max_answer
        tokens = jnp.concatenate([tokens, jnp.full(length, PAD, tokens.dtype)])[:length]
        steps = jnp.argmax(tokens == EOS)
        program = tokens[:-1] - FIRST
        inside = jnp.arange(self.max_operations) < steps
        valid = (steps > 0) & jnp.all(~inside | ((program >= 0) & (program < len(NAMES))))
        wanted = self.run(problem.program, problem.steps, problem.inputs)
        found = self.run(program, steps, problem.inputs)
        return valid & jnp.all(wanted.values == found.values, axis=1)

    def programs(self) -> tuple[np.ndarray, np.ndarray]:
        """All programs int32[M, N] and their operations int32[M], short ones first; the search of an exact solver."""
        return sequences(len(NAMES), self.max_operations)

    def render(self, tokens: ArrayLike) -> str:
        """Any tokens as text, on the host; `parse` is its inverse."""
        pieces, was_symbol = [], True
        for token in known_tokens(self, tokens):
            symbol = _SYMBOLS.get(token)
            text = symbol or (str(token - ZERO) if token < FIRST else NAMES[token - FIRST])
            pieces.append(text if was_symbol or symbol else f" {text}")
            was_symbol = symbol is not None
        return "".join(pieces)

    def parse(self, text: str) -> np.ndarray:
        """Tokens of a text, on the host; blanks are skipped.

        Raises:
          UserError: if it holds something that the vocabulary has no token for.
        """
        at, tokens = 0, []
        symbols = {symbol: token for token, symbol in _SYMBOLS.items()}
        while at < len(text):
            match = _LEXEME.match(text, at)
            value = int(match["value"] or 0) if match else 0
            if match is None or abs(value) > BOUND or (match["name"] or NAMES[0]) not in NAMES:
                raise UserError(
                    f"no token for {text[at : at + 12]!r}: write integers from -20 to 20 and {', '.join(NAMES)}"
                )
            if match["value"]:
                tokens.append(ZERO + value)
            elif match["name"]:
                tokens.append(FIRST + NAMES.index(match["name"]))
            elif match["symbol"]:
                tokens.append(symbols[match["symbol"]])
            at = match.end()
        return np.asarray(tokens, np.int32)


def _tokens(values: jax.Array) -> jax.Array:
    return jnp.where(values == EMPTY, PAD, values + ZERO)
