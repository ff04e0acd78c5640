"""Generalised advantage estimation that keeps terminations and time limits apart.

Shapes: `T` steps, `...` batch axes.

Reference: Schulman et al., "High-dimensional continuous control using generalized advantage estimation" (ICLR 2016);
Pardo et al., "Time limits in reinforcement learning" (ICML 2018), for the value of a state that was cut off.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def gae(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    discount: float | jax.Array,
    decay: float | jax.Array,
) -> jax.Array:
    """Advantages of T steps, in which episodes may end and new ones begin.

    Args:
      rewards: float32[T, ...].
      values: float32[T, ...], of the states that were acted in.
      next_values: float32[T, ...], of the states that the actions led to, which at the end of an episode is its last
        state and not the first one of the next episode.
      terminated: bool[T, ...]: nothing follows, the next value counts as 0.
      truncated: bool[T, ...]: the episode was cut off; the next value counts, later steps do not.
      discount: gamma.
      decay: lambda.

    Returns:
      float32[T, ...]; with `values` added, the value targets.
    """
    chex.assert_equal_shape([rewards, values, next_values, terminated, truncated])
    errors = rewards + discount * jnp.where(terminated, 0.0, next_values) - values
    carried = jnp.where(terminated | truncated, 0.0, discount * decay)

    def back(after: jax.Array, step: tuple[jax.Array, jax.Array]):
        error, carry = step
        advantage = error + carry * after
        return advantage, advantage

    return jax.lax.scan(back, jnp.zeros_like(errors[0]), (errors, carried), reverse=True)[1]
