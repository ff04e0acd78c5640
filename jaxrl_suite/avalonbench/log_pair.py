"""Logarithms as unevaluated sums of two float32 numbers.

A game's log-likelihood reaches a hundred and more, where float32 is coarser than the 1e-6 that a posterior probability
needs. Both parts together keep about twice the digits, without float64, which accelerators and JAX's default lack.

Reference: Knuth, "The Art of Computer Programming" 2, section 4.2.2, theorem B (the exact error of a sum).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_GRID = 4096.0  # `high` of a constant is a multiple of 1 / _GRID: whole multiples and their sums are exact up to 4096


class LogPair(NamedTuple):
    """The number `high + low`; `high` is -inf for the logarithm of 0."""

    high: jax.Array | np.ndarray  # float32[...]
    low: jax.Array | np.ndarray  # float32[...]


def constant(logarithm: np.ndarray | float) -> LogPair:
    """A pair of numpy arrays from float64 logarithms that are known before tracing."""
    exact = np.asarray(logarithm, np.float64)
    finite = np.isfinite(exact)
    high = np.where(finite, np.round(np.where(finite, exact, 0.0) * _GRID) / _GRID, exact)
    low = np.where(finite, np.where(finite, exact, 0.0) - np.where(finite, high, 0.0), 0.0)
    return LogPair(high.astype(np.float32), low.astype(np.float32))


def log_constant(probability: np.ndarray | float) -> LogPair:
    """The pair of the logarithms of float64 probabilities; -inf where they are 0."""
    with np.errstate(divide="ignore"):
        return constant(np.log(np.asarray(probability, np.float64)))


def take(pair: LogPair, *index: jax.Array | int) -> LogPair:
    """The entries at `index`, as an array is indexed."""
    return LogPair(jnp.asarray(pair.high)[index], jnp.asarray(pair.low)[index])


def single(logarithm: jax.Array) -> LogPair:
    """A pair from float32 logarithms."""
    return LogPair(logarithm, jnp.zeros_like(logarithm))


def add(left: LogPair, right: LogPair) -> LogPair:
    """The sum, with the rounding error of the high parts kept in the low part."""
    high = left.high + right.high
    back = high - left.high
    error = (left.high - (high - back)) + (right.high - back)
    return LogPair(high, left.low + right.low + jnp.where(jnp.isfinite(high), error, 0.0))


def times(count: jax.Array, constant_pair: LogPair) -> LogPair:
    """`count` (whole numbers, up to 100) times a finite pair made by `constant`, whose high part stays exact."""
    number = count.astype(jnp.float32)
    return LogPair(number * constant_pair.high, number * constant_pair.low)


def where(condition: jax.Array, left: LogPair, right: LogPair) -> LogPair:
    return LogPair(jnp.where(condition, left.high, right.high), jnp.where(condition, left.low, right.low))


def relative(pair: LogPair) -> tuple[jax.Array, LogPair]:
    """float32[K] `exp(pair - top)` and the pair `top` of the largest entry; zeros if all are impossible."""
    index = jnp.argmax(pair.high)
    top = take(pair, index)
    possible = jnp.isfinite(pair.high) & jnp.isfinite(top.high)
    difference = (pair.high - top.high) + (pair.low - top.low)
    return jnp.where(possible, jnp.exp(jnp.where(possible, difference, 0.0)), 0.0), top


def log_sum(pair: LogPair) -> LogPair:
    """The logarithm of the sum of the exponentials, as a pair of scalars."""
    weights, top = relative(pair)
    total = jnp.sum(weights)
    rough = jnp.log(jnp.maximum(total, 1e-30))
    rest = total * jnp.exp(-rough) - 1.0  # one Newton step: what the float32 logarithm misses
    return where(
        total > 0, add(top, LogPair(rough, rest)), LogPair(jnp.full_like(total, -jnp.inf), jnp.zeros_like(total))
    )
