"""Modular chains: straight-line arithmetic mod 23, each step on the result of the one before.

    a=7;b=a*5+3;c=b*2+11?        the prompt
    a=7;b=12,15;c=7,18.          the answer: of each step the product and the value; of the first the value alone

Multipliers are 1 to `largest` and addends 0 to `largest`, all equally likely; the default is one digit, the most is 22.
No multiplier is 0 and 23 is prime, so a step loses no information: the value of every step is uniform, and a wrong one
stays wrong unless a later error happens to repair it. To solve chains a model must know the tables of products (23 x
`largest` entries) and of sums (23 more), and find the constants of each step in the prompt by the step's letter.

A token is a residue, a letter, `*`, `+`, `?`, the end `.` or padding `_`. What text has beside these follows from them:
`=`, `;`, `,`, and the variable that a step reads, which is always the one before.

Shapes: `N` most steps of a chain, `T` tokens, `Q` = 5 N - 2 longest prompt, `A` = 3 N longest answer.
"""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.envs.tasks.tokens import Text, Verdict, check_limits, end_text, known_tokens
from jaxrl_suite.errors import UserError

MODULUS = 23
MAX_STEPS = 10
LETTER, TIMES, PLUS, ASK, EOS, PAD = 23, 33, 34, 35, 36, 37  # letter i is LETTER + i; a residue is its own token
VOCAB_SIZE = 38

_LETTERS = "abcdefghij"
_SYMBOLS = {TIMES: "*", PLUS: "+", ASK: "?", EOS: ".", PAD: "_"}
_LEXEME = re.compile(r"(?P<letter>[a-j])=(?:[a-j](?=\*))?|(?P<residue>\d+)|(?P<symbol>[*+?._])|[;,]")


class Problem(NamedTuple):
    """A chain. Step 0 sets `start`; step i > 0 computes `multipliers[i] * value + addends[i]`."""

    start: jax.Array  # int32[], 0 to 22
    multipliers: jax.Array  # int32[N], 1 to `largest`; entry 0 and those from `steps` on are not used
    addends: jax.Array  # int32[N], 0 to `largest`
    steps: jax.Array  # int32[], 1 to N


@dataclasses.dataclass(frozen=True)
class ModChain:
    """The task, see `TokenTask`.

    Args:
      max_steps: N, 1 to 10.
      largest: greatest multiplier and addend, 1 to 22.

    Raises:
      UserError: if one is out of range.
    """

    vocab_size = VOCAB_SIZE
    eos = EOS
    pad = PAD

    max_steps: int = 6
    largest: int = 9

    def __post_init__(self):
        check_limits(self, largest=(1, MODULUS - 1), max_steps=(1, MAX_STEPS))

    @property
    def max_prompt(self) -> int:
        return 5 * self.max_steps - 2

    @property
    def max_answer(self) -> int:
        return 3 * self.max_steps

    def problem(self, key: jax.Array, steps: jax.Array | int, easy: jax.Array | float = 0.0) -> Problem:
        """A random chain.

        Two keys give different chains but for chance: there are 23 * (largest * (largest + 1))**(steps - 1), so chains
        of 4 steps (16.8 million with one digit) hardly recur, while of the 23 and 2,070 shortest ones all do.

        Args:
          key: consumed.
          steps: int32[], 1 to N; not checked under jit.
          easy: float32[], chance for each step that its addend, or the start, is chosen so that its value is 0 or 1,
            if there is such an addend. The next product is then 0 or the multiplier, and 0 plus an addend is the
            addend: to find the constants can be learned before the tables. Early in training this saves steps.
        """
        keys = jax.random.split(key, 5)
        shape = (self.max_steps,)
        start = jax.random.randint(keys[0], (), 0, MODULUS)
        multipliers = jax.random.randint(keys[1], shape, 1, self.largest + 1)
        addends = jax.random.randint(keys[2], shape, 0, self.largest + 1)
        chosen = jax.random.bernoulli(keys[3], easy, shape)
        bits = jax.random.bernoulli(keys[4], 0.5, shape).astype(jnp.int32)
        start = jnp.where(chosen[0], bits[0], start)

        def step(value: jax.Array, parts: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            multiplier, addend, choose, bit = parts
            product = value * multiplier % MODULUS
            wanted = (bit - product) % MODULUS
            addend = jnp.where(choose & (wanted <= self.largest), wanted, addend)
            return (product + addend) % MODULUS, addend

        _, later = jax.lax.scan(step, start, (multipliers[1:], addends[1:], chosen[1:], bits[1:]))
        addends = jnp.concatenate([addends[:1], later])
        return Problem(start, multipliers, addends, jnp.asarray(steps, jnp.int32))

    def work(self, problem: Problem) -> tuple[jax.Array, jax.Array]:
        """Products and values int32[N] of all N steps; a product of step 0 is its value."""

        def step(value: jax.Array, constants: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple]:
            product = value * constants[0] % MODULUS
            value = (product + constants[1]) % MODULUS
            return value, (product, value)

        _, (products, values) = jax.lax.scan(step, problem.start, (problem.multipliers[1:], problem.addends[1:]))
        start = problem.start[None]
        return jnp.concatenate([start, products]), jnp.concatenate([start, values])

    def prompt(self, problem: Problem) -> Text:
        """Letter and start; for each further step its letter, `*`, multiplier, `+`, addend; then `?`."""
        letters, same = self._letters(), jnp.ones(self.max_steps, jnp.int32)
        parts = (letters, same * TIMES, problem.multipliers, same * PLUS, problem.addends)
        later = jnp.stack(parts, axis=-1)[1:].reshape(-1)
        tokens = jnp.concatenate([letters[:1], problem.start[None], later, same[:1]])
        return end_text(tokens, 5 * problem.steps - 3, ASK, PAD)

    def answer(self, problem: Problem) -> Text:
        """Letter and value of step 0; for each further step its letter, product and value; then the end."""
        products, values = self.work(problem)
        later = jnp.stack([self._letters(), products, values], axis=-1).reshape(-1)[3:]
        tokens = jnp.concatenate([self._letters()[:1], problem.start[None], later, problem.start[None]])
        return end_text(tokens, 3 * problem.steps - 1, EOS, PAD)

    def verify(self, problem: Problem, tokens: jax.Array) -> Verdict:
        """Judges an answer int32[T].

        A step is right if in its place stand its letter, any residue as its product, and its value. An answer that is
        cut off keeps the steps that it has; without its end, or with more before it, it is not solved.
        """
        length = self.max_answer
        tokens = jnp.concatenate([tokens, jnp.full(length, PAD, tokens.dtype)])[:length]
        ended = jnp.cumsum(tokens == EOS) - (tokens == EOS) > 0
        tokens = jnp.where(ended, PAD, tokens)
        later = jnp.concatenate([tokens[:1], tokens[1:2], tokens[1:-1]]).reshape(self.max_steps, 3)
        letters, products, values = later.T
        right = (letters == self._letters()) & (products >= 0) & (products < MODULUS)
        right &= values == self.work(problem)[1]
        asked = jnp.arange(self.max_steps) < problem.steps
        leading = jnp.sum(jnp.cumprod(right & asked))
        count = jnp.sum(right & asked)
        return Verdict(
            leading.astype(jnp.int32),
            count.astype(jnp.float32) / problem.steps.astype(jnp.float32),
            (count == problem.steps) & (tokens[3 * problem.steps - 1] == EOS),
        )

    def render(self, tokens: ArrayLike) -> str:
        """For instance "a=7;b=a*5+3?" and "a=7;b=12,15."; other tokens are written as they come.

        Raises:
          UserError: if one is not in the vocabulary.
        """
        pieces, last = [], -1
        for token in known_tokens(self, tokens):
            if token < MODULUS:
                pieces.append(f",{token}" if 0 <= last < MODULUS else str(token))
            elif token < TIMES:
                pieces.append(f"{';' if pieces else ''}{_LETTERS[token - LETTER]}=")
            else:
                reads = _LETTERS[last - LETTER - 1] if token == TIMES and LETTER < last < TIMES else ""
                pieces.append(reads + _SYMBOLS[token])
            last = token
        return "".join(pieces)

    def parse(self, text: str) -> np.ndarray:
        """Tokens of a text; spaces are skipped, and so is the variable that a step reads.

        Raises:
          UserError: if it holds something that the vocabulary has no token for.
        """
        text, at, tokens = re.sub(r"\s", "", text), 0, []
        symbols = {symbol: token for token, symbol in _SYMBOLS.items()}
        while at < len(text):
            match = _LEXEME.match(text, at)
            residue = int(match["residue"] or 0) if match else 0
            if match is None or residue >= MODULUS:
                raise UserError(f"no token for {text[at : at + 8]!r}: write chains such as a=7;b=a*5+3?")
            if match["letter"]:
                tokens.append(LETTER + _LETTERS.index(match["letter"]))
            elif match["residue"]:
                tokens.append(residue)
            elif match["symbol"]:
                tokens.append(symbols[match["symbol"]])
            at = match.end()
        return np.asarray(tokens, np.int32)

    def _letters(self) -> jax.Array:
        return LETTER + jnp.arange(self.max_steps, dtype=jnp.int32)
