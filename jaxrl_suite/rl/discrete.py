"""Discrete actions from logits, among the legal ones.

An output that is NaN or +inf chooses no action: the answer is `NO_ACTION`, which no environment takes, and not an
action that the output never named.

Shapes: `...` batch axes, `A` actions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

NO_ACTION = -1


def mask(logits: jax.Array, legal: jax.Array | None) -> jax.Array:
    """float32[..., A]: the logits, -inf where an action is not legal.

    Args:
      logits: float32[..., A].
      legal: bool[..., A]; None, or a row of False, for any action.
    """
    if legal is None:
        return logits
    return jnp.where(legal | ~jnp.any(legal, axis=-1, keepdims=True), logits, -jnp.inf)


def most_likely(logits: jax.Array, legal: jax.Array | None = None) -> jax.Array:
    """int32[...]: the first of the legal actions with the largest logit."""
    masked = mask(logits, legal)
    return _or_none(masked, jnp.argmax(masked, axis=-1))


def draw(key: jax.Array, logits: jax.Array, legal: jax.Array | None = None) -> jax.Array:
    """int32[...]: an action from the softmax over the legal ones; `key` is consumed."""
    masked = mask(logits, legal)
    return _or_none(masked, jax.random.categorical(key, masked))


def _or_none(masked: jax.Array, action: jax.Array) -> jax.Array:
    usable = jnp.all(masked < jnp.inf, axis=-1)  # false for NaN as well
    return jnp.where(usable, action, NO_ACTION).astype(jnp.int32)
