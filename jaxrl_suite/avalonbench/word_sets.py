"""Sets of up to a few hundred numbers as tuples of 32-bit words: element t is bit t % 32 of word t // 32.

Scalars, not arrays of words: under `vmap` each becomes one contiguous row that a batch of games runs through in
vector registers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.rules import nth_bit

Words = tuple[jax.Array, ...]


def constants(words: np.ndarray) -> Words:
    """A set known before tracing, from int32[W]."""
    return tuple(jnp.int32(word) for word in words)


def look_up(table: np.ndarray, index: jax.Array) -> Words:
    """The set at `index` of `table` int32[W, N]; the index must be in range."""
    return tuple(jnp.asarray(row).at[index].get(mode="promise_in_bounds") for row in table)


def both(left: Words, right: Words) -> Words:
    """The intersection."""
    return tuple(a & b for a, b in zip(left, right, strict=True))


def choose(condition: jax.Array, left: Words, right: Words) -> Words:
    """`left` where `condition` bool[] holds, else `right`."""
    return tuple(jnp.where(condition, a, b) for a, b in zip(left, right, strict=True))


def nonempty(words: Words) -> jax.Array:
    """bool[]: whether there is any element."""
    found = words[0]
    for word in words[1:]:
        found = found | word
    return found != 0


def size(words: Words) -> jax.Array:
    """int32[]: the number of elements."""
    return sum((jax.lax.population_count(word) for word in words[1:]), jax.lax.population_count(words[0]))


def contains(words: Words, index: jax.Array) -> jax.Array:
    """int32[]: 1 if element `index` is in the set."""
    word = words[0]
    for number in range(1, len(words)):
        word = jnp.where(index >> 5 == number, words[number], word)
    return (word >> (index & 31)) & 1


def pick(words: Words, bits: jax.Array, width: int = 32) -> jax.Array:
    """int32[]: a uniformly random element of the set, with `bits` uint32[]; the deviation is below its size / 2^32."""
    rank = draw_below(bits, size(words))
    chosen, base = words[0], jnp.int32(0)
    for number in range(1, len(words)):
        before = size(words[:number])
        here = rank >= before
        chosen, base = jnp.where(here, words[number], chosen), jnp.where(here, 32 * number, base)
    skipped = jnp.int32(0)
    for number in range(1, len(words)):
        skipped = jnp.where(base == 32 * number, size(words[:number]), skipped)
    return base + nth_bit(chosen, rank - skipped, width)


def draw_below(bits: jax.Array, bound: jax.Array) -> jax.Array:
    """int32[]: a number in [0, bound), for bounds up to 2^16, from `bits` uint32[]."""
    limit = bound.astype(jnp.uint32)
    high, low = bits >> 16, bits & 0xFFFF
    return ((high * limit + ((low * limit) >> 16)) >> 16).astype(jnp.int32)
