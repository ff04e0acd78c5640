"""Sets of small integers as int32 bit masks, in arithmetic that vectorises (no table look-ups)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def has_bit(mask: jax.Array, index: jax.Array) -> jax.Array:
    """bool: whether bit `index` of `mask` is set."""
    return ((mask >> index) & 1) == 1


def popcount(mask: jax.Array, width: int) -> jax.Array:
    """int32: how many of the lowest `width` bits are set."""
    return jax.lax.population_count(mask & ((1 << width) - 1))


def nth_bit(mask: jax.Array, n: jax.Array, width: int) -> jax.Array:
    """int32: the index of the `n`-th set bit, from 0, among the lowest `width`; `width` if there are too few."""
    index, seen = jnp.zeros_like(n), jnp.zeros_like(n)
    for bit in range(width):
        seen += (mask >> bit) & 1
        index += seen <= n
    return index


def lowest_bit(mask: jax.Array, width: int) -> jax.Array:
    """int32: the index of the lowest set bit; `width` if none is."""
    return jnp.minimum(jax.lax.population_count((mask & -mask) - 1), width)


def top_bit(mask: jax.Array, width: int) -> jax.Array:
    """int32: the index of the highest set bit among the lowest `width`; 0 if none is."""
    index = jnp.zeros_like(mask)
    for bit in range(1, width):
        index = jnp.where((mask >> bit) & 1, bit, index)
    return index
