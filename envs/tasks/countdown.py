"""Countdown: make a target of given numbers, each used once, in lines of arithmetic.

    3 7 2 20 58?                 the prompt: numbers, and last the target
    3*7=21 20*2=40 21+40=61.     a wrong answer; a line takes two numbers that are there and puts back its result

Every operation is `+`, `-` or `*`, and every result lies in 0 to 100. Problems are made by playing: two numbers and an
operation are drawn, uniformly over all that are allowed, until one number is left, which is the target. So each has an
answer, and seldom just one; `solutions` counts them all.

A token is a number 0 to 100, an operation, `?`, the end `.` or padding `_`; `=` and blanks follow from them.

Shapes: `N` most numbers, `T` tokens, `Q` = N + 2 longest prompt, `A` = 4 (N - 1) + 1 longest answer.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.envs.tasks.tokens import Text, Verdict, check_limits, end_text, known_tokens
from jaxrl_suite.errors import UserError

LARGEST_RESULT = 100
MAX_NUMBERS = 6
ADD, SUBTRACT, MULTIPLY, ASK, EOS, PAD = range(LARGEST_RESULT + 1, LARGEST_RESULT + 7)  # a number is its own token
VOCAB_SIZE = LARGEST_RESULT + 7

_SYMBOLS = {ADD: "+", SUBTRACT: "-", MULTIPLY: "*", ASK: "?", EOS: ".", PAD: "_"}
_LEXEME = re.compile(r"(?P<number>\d+)|(?P<symbol>[-+*?._])|[=,\s]")


class CountdownProblem(NamedTuple):
    """Numbers, a target, and the way by which the target was found."""

    numbers: jax.Array  # int32[N]; those from `steps` + 1 on are not used
    target: jax.Array  # int32[], 0 to 100
    steps: jax.Array  # int32[], 1 to N - 1, lines of an answer
    lines: jax.Array  # int32[N - 1, 4]: number, operation, number, result


@dataclasses.dataclass(frozen=True)
class Countdown:
    """The task, see `TokenTask`.

    Args:
      max_numbers: N, 2 to 6.
      largest: greatest number given, 2 to 100.

    Raises:
      UserError: if one is out of range.
    """

    vocab_size = VOCAB_SIZE
    eos = EOS
    pad = PAD

    max_numbers: int = 4
    largest: int = 20

    def __post_init__(self):
        check_limits(self, max_numbers=(2, MAX_NUMBERS), largest=(2, LARGEST_RESULT))

    @property
    def max_prompt(self) -> int:
        return self.max_numbers + 2

    @property
    def max_answer(self) -> int:
        return 4 * (self.max_numbers - 1) + 1

    def problem(self, key: jax.Array, steps: jax.Array | int) -> CountdownProblem:
        """A random problem.

        Args:
          key: consumed.
          steps: int32[], operations, 1 to N - 1: there is one number more; not checked under jit.
        """
        numbers_key, *step_keys = jax.random.split(key, self.max_numbers)
        numbers = jax.random.randint(numbers_key, (self.max_numbers,), 1, self.largest + 1)
        steps = jnp.asarray(steps, jnp.int32)
        pool, there = numbers, jnp.arange(self.max_numbers) <= steps
        lines = []
        for i, step_key in enumerate(step_keys):
            results = _results(pool)
            allowed = _allowed(there, results)
            choice = jax.random.categorical(step_key, jnp.where(allowed, 0.0, -jnp.inf).reshape(-1))
            left, right, op = jnp.unravel_index(choice, allowed.shape)
            result = results[left, right, op]
            lines.append(jnp.stack([pool[left], ADD + op, pool[right], result]))
            go = i < steps
            new_pool, new_there = _put_back(pool, there, left, right, result)
            pool, there = jnp.where(go, new_pool, pool), jnp.where(go, new_there, there)
        target = jnp.sum(jnp.where(there, pool, 0))
        return CountdownProblem(numbers, target, steps, jnp.stack(lines).astype(jnp.int32))

    def prompt(self, problem: CountdownProblem) -> Text:
        """The numbers, the target, `?`."""
        places = jnp.arange(self.max_prompt)
        tokens = jnp.concatenate([problem.numbers, problem.target[None], problem.target[None]])
        tokens = jnp.where(places == problem.steps + 1, problem.target, tokens)
        return end_text(tokens, problem.steps + 2, ASK, PAD)

    def answer(self, problem: CountdownProblem) -> Text:
        """The lines by which the target was found, then the end."""
        tokens = jnp.concatenate([problem.lines.reshape(-1), problem.target[None]])
        return end_text(tokens, 4 * problem.steps, EOS, PAD)

    def verify(self, problem: CountdownProblem, tokens: jax.Array) -> Verdict:
        """Judges an answer int32[T].

        A line is right if its two numbers are there, its operation gives its result, and the result lies in 0 to 100.
        What follows a wrong line is not read. The fraction is half the share of right lines, and half
        exp(-|miss| / 5) once all are right, where miss is how far the last result is from the target.
        """
        length = self.max_answer
        tokens = jnp.concatenate([tokens, jnp.full(length, PAD, tokens.dtype)])[:length]
        pool, there = problem.numbers, jnp.arange(self.max_numbers) <= problem.steps
        good, leading, value = jnp.bool_(True), jnp.int32(0), jnp.int32(0)
        for i in range(self.max_numbers - 1):
            first, op, second, result = tokens[4 * i : 4 * i + 4]
            found, left, right = _find(pool, there, first, second)
            computed = jnp.stack([first + second, first - second, first * second])[jnp.clip(op - ADD, 0, 2)]
            right_line = found & (op >= ADD) & (op <= MULTIPLY) & (computed == result)
            good &= right_line & (result >= 0) & (result <= LARGEST_RESULT) & (i < problem.steps)
            new_pool, new_there = _put_back(pool, there, left, right, result)
            pool, there = jnp.where(good, new_pool, pool), jnp.where(good, new_there, there)
            leading, value = leading + good, jnp.where(good, result, value)
        complete = leading == problem.steps
        miss = jnp.abs(value - problem.target).astype(jnp.float32)
        share = leading.astype(jnp.float32) / problem.steps.astype(jnp.float32)
        ends = jnp.argmax(tokens == EOS) == 4 * problem.steps  # the first end is where it should be
        ends &= jnp.any(tokens == EOS)
        solved = complete & (miss == 0) & ends
        close = jnp.where(complete, jnp.exp(-miss / 5), 0.0)
        return Verdict(leading.astype(jnp.int32), 0.5 * share + 0.5 * close, solved)

    def render(self, tokens: ArrayLike) -> str:
        """Any tokens as text, on the host; `parse` is its inverse."""
        pieces, before, last = [], PAD, PAD
        for token in known_tokens(self, tokens):
            if token <= LARGEST_RESULT and last <= LARGEST_RESULT:
                pieces.append("=" if before in (ADD, SUBTRACT, MULTIPLY) else " ")
            pieces.append(_SYMBOLS.get(token, str(token)))
            before, last = last, token
        return "".join(pieces)

    def parse(self, text: str) -> np.ndarray:
        """Tokens of a text, on the host; `=` and blanks only tell numbers apart.

        Raises:
          UserError: if it holds something that the vocabulary has no token for.
        """
        at, tokens = 0, []
        symbols = {symbol: token for token, symbol in _SYMBOLS.items()}
        while at < len(text):
            match = _LEXEME.match(text, at)
            number = int(match["number"] or 0) if match else 0
            if match is None or number > LARGEST_RESULT:
                raise UserError(f"no token for {text[at : at + 8]!r}: write lines such as 3*7=21 with numbers 0 to 100")
            if match["number"]:
                tokens.append(number)
            elif match["symbol"]:
                tokens.append(symbols[match["symbol"]])
            at = match.end()
        return np.asarray(tokens, np.int32)


def solutions(numbers: Sequence[int], target: int) -> Iterator[str]:
    """All answers to a problem, as text, in a fixed order; two that differ only in the order of `+` or `*` count once.

    Raises:
      UserError: if there are more than 6 numbers: 6 have millions of answers, 4 at most a few thousand.
    """
    if not 2 <= len(numbers) <= MAX_NUMBERS:
        raise UserError(f"give 2 to {MAX_NUMBERS} numbers, got {len(numbers)}")
    return _extend(tuple(sorted(numbers)), target, ())


def _extend(pool: tuple[int, ...], target: int, lines: tuple[str, ...]) -> Iterator[str]:
    if len(pool) == 1:
        if pool[0] == target:
            yield " ".join(lines) + "."
        return
    seen = set()
    for i, j in itertools.combinations(range(len(pool)), 2):
        small, large = pool[i], pool[j]  # the pool is sorted
        if (small, large) in seen:
            continue
        seen.add((small, large))
        rest = pool[:i] + pool[i + 1 : j] + pool[j + 1 :]
        for line, result in (
            (f"{small}+{large}", small + large),
            (f"{large}-{small}", large - small),
            (f"{small}*{large}", small * large),
        ):
            if result <= LARGEST_RESULT:
                yield from _extend(tuple(sorted((*rest, result))), target, (*lines, f"{line}={result}"))


def _results(pool: jax.Array) -> jax.Array:
    """int32[N, N, 3]: of each ordered pair its sum, difference and product."""
    left, right = pool[:, None], pool[None, :]
    return jnp.stack([left + right, left - right, left * right], axis=-1)


def _allowed(there: jax.Array, results: jax.Array) -> jax.Array:
    """bool[N, N, 3]: two numbers that are there, with a result in range."""
    pairs = there[:, None] & there[None, :] & ~jnp.eye(len(there), dtype=bool)
    return pairs[..., None] & (results >= 0) & (results <= LARGEST_RESULT)


def _put_back(
    pool: jax.Array, there: jax.Array, left: jax.Array, right: jax.Array, result: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The pool after a line: its result in the place of its first number, the place of its second empty."""
    places = jnp.arange(len(pool))
    return jnp.where(places == left, result, pool), there & (places != right)


def _find(
    pool: jax.Array, there: jax.Array, first: jax.Array, second: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Whether two numbers lie in different places of the pool, and where."""
    places = jnp.arange(len(pool))
    is_first = there & (pool == first)
    left = jnp.argmax(is_first)
    is_second = there & (pool == second) & (places != left)
    return is_first.any() & is_second.any(), left, jnp.argmax(is_second)
