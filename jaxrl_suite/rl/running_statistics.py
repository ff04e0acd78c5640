"""Mean and deviation of observations as they come in, merged batch by batch without loss.

Shapes: `...` of one observation.

Reference: Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (The American Statistician, 1983).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

EPSILON = 1e-6  # added to a variance, so that a constant feature becomes 0


class Statistics(NamedTuple):
    count: jax.Array  # float32[]
    mean: jax.Array  # float32[...]
    squares: jax.Array  # float32[...], sum of squared deviations from the mean


def init(shape: tuple[int, ...]) -> Statistics:
    """Of no observations; `normalise` then changes nothing."""
    return Statistics(jnp.float32(0), jnp.zeros(shape), jnp.zeros(shape))


def update(statistics: Statistics, batch: jax.Array) -> Statistics:
    """The statistics with a batch of observations [*axes, ...] added, whatever its leading axes are."""
    shape = statistics.mean.shape
    rows = jnp.asarray(batch, jnp.float32).reshape(-1, *shape)
    mean = jnp.mean(rows, axis=0)
    squares = jnp.sum((rows - mean[None]) ** 2, axis=0)
    total = statistics.count + rows.shape[0]
    gap = mean - statistics.mean
    return Statistics(
        count=total,
        mean=statistics.mean + gap * (rows.shape[0] / total),
        squares=statistics.squares + squares + gap**2 * (statistics.count * rows.shape[0] / total),
    )


def deviation(statistics: Statistics) -> jax.Array:
    """float32[...]: the population's standard deviation; 1 while there are no observations."""
    variance = statistics.squares / jnp.maximum(statistics.count, 1)
    return jnp.where(statistics.count > 0, jnp.sqrt(variance + EPSILON), 1.0)


def normalise(statistics: Statistics, observations: jax.Array, bound: float = 10.0) -> jax.Array:
    """Observations [*axes, ...] in deviations from the mean, cut off at `bound`; as they are if none were counted."""
    axes = (None,) * (observations.ndim - statistics.mean.ndim)
    scaled = (observations - statistics.mean[axes]) / deviation(statistics)[axes]
    return jnp.where(statistics.count > 0, jnp.clip(scaled, -bound, bound), scaled)
