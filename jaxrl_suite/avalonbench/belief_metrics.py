"""Quality of beliefs about sides and about Merlin.

Shapes: `P` players; leading axes are averaged over by the caller.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon.roles import EVIL_ROLES, MERLIN


def is_good(roles: jax.Array) -> jax.Array:
    """bool[..., P]: the sides of `roles` int32[..., P]."""
    evil = jnp.zeros(roles.shape, bool)
    for role in EVIL_ROLES:
        evil = evil | (roles == role)
    return ~evil


def deduction_accuracy(p_good: jax.Array, roles: jax.Array) -> jax.Array:
    """float32[...]: how many of the sides are judged right, as AvalonBench counts: a belief of 1/2 says good.

    Args:
      p_good: float32[..., P], the probability that each player is good; the judge's own seat counts too.
      roles: int32[..., P], the truth.
    """
    return jnp.mean((p_good >= 0.5) == is_good(roles), axis=-1, dtype=jnp.float32)


def log_loss(p_good: jax.Array, roles: jax.Array, floor: float = 0.0) -> jax.Array:
    """float32[...]: mean of -ln(probability of the true side) over players, in nats.

    Args:
      p_good: float32[..., P].
      roles: int32[..., P], the truth.
      floor: probabilities below it count as `floor`; with 0 a side that was ruled out wrongly costs infinity.
    """
    right = jnp.where(is_good(roles), p_good, 1 - p_good)
    return -jnp.mean(jnp.log(jnp.clip(right, floor, 1.0)), axis=-1)


def brier(p_good: jax.Array, roles: jax.Array) -> jax.Array:
    """float32[...]: mean squared distance of the beliefs from the sides, over players."""
    return jnp.mean((p_good - is_good(roles)) ** 2, axis=-1)


def merlin_probability(p_merlin: jax.Array, roles: jax.Array) -> jax.Array:
    """float32[...]: the belief `p_merlin` float32[..., P] in the true Merlin; 0 in a game without one."""
    return jnp.sum(jnp.where(roles == MERLIN, p_merlin, 0.0), axis=-1)
