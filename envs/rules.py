"""Rules of games, as all games write them: legal actions, and sets of small integers as int32 bit masks.

An illegal action is never played. A game of this package refuses it: the state stays, but it has ended, with reward
NaN for every player, so that no return or mean of returns hides it. A function that plays whole games says who chose
it, as an error outside of `jit` and as NaN inside, where nothing can be raised.

Shapes: `P` players, `A` actions, `...` batch axes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

TOLERANCE = 1e-4  # of the sum of float32 probabilities, and of what an illegal action may have of it
FAULTS = (
    "",
    "are NaN or infinite",
    "are negative",
    "have weight on illegal actions",
    "do not sum to 1 over the legal actions",
)


def takes_legal(legal: jax.Array, action: jax.Array) -> jax.Array:
    """bool[]: whether every player with a legal action takes one; the entry of any other player is ignored.

    Args:
      legal: bool[P, A].
      action: int32[P].
    """
    inside = (action >= 0) & (action < legal.shape[1])
    taken = jnp.take_along_axis(legal, jnp.where(inside, action, 0)[:, None], axis=1)[:, 0]
    return jnp.all((taken & inside) | ~jnp.any(legal, axis=1))


def random_legal(key: jax.Array, legal: jax.Array) -> jax.Array:
    """int32[P]: a uniformly random legal action of each player, 0 for one without any; `key` is consumed.

    Args:
      legal: bool[P, A].
    """
    drawn = jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf))
    return jnp.where(jnp.any(legal, axis=1), drawn, 0).astype(jnp.int32)


def refused(state: Any) -> Any:
    """The state after an illegal action: as it was, but ended, with reward NaN."""
    return replace(state, reward=jnp.full_like(state.reward, jnp.nan), terminated=jnp.ones_like(state.terminated))


def refuse(allowed: jax.Array, after: Any, state: Any) -> Any:
    """The state `after` an action that was `allowed` bool[], or else `refused(state)`."""
    return jax.tree.map(lambda good, bad: jnp.where(allowed, good, bad), after, refused(state))


def replace(state: Any, **fields: Any) -> Any:
    """The state with other `fields`, whether it is a NamedTuple or a dataclass."""
    return state._replace(**fields) if hasattr(state, "_replace") else dataclasses.replace(state, **fields)


def policy_fault(probabilities: jax.Array, legal: jax.Array) -> jax.Array:
    """int32[...]: what is wrong with probabilities, as a number of `FAULTS`; 0 where nothing is, or nothing is legal.

    Args:
      probabilities: float32[..., A], of one player.
      legal: bool[..., A].
    """
    outside = jnp.sum(jnp.where(legal, 0.0, probabilities), axis=-1)
    inside = jnp.sum(jnp.where(legal, probabilities, 0.0), axis=-1)
    faults = (
        ~jnp.all(jnp.isfinite(probabilities), axis=-1),
        jnp.any(probabilities < -TOLERANCE, axis=-1),
        outside > TOLERANCE,
        jnp.abs(inside - 1) > TOLERANCE,
    )
    code = jnp.zeros(legal.shape[:-1], jnp.int32)
    for number, wrong in reversed(list(enumerate(faults, 1))):
        code = jnp.where(wrong, number, code)
    return jnp.where(jnp.any(legal, axis=-1), code, 0)


def is_concrete(*values: Any) -> bool:
    """True if no leaf is traced: then it can be looked at, and an error raised."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


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
