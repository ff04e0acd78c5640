"""Random policies: the softmax of a discrete policy's logits, a normal around a continuous one's output.

The normal is that before the environment lets actions beyond [-1, 1] saturate; its deviation does not depend on the
observation.

Discrete actions may be masked by `legal` bool[..., A]; an illegal one has probability 0.

Shapes: `...` batch axes, `A` dimensions of an action or actions.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from jaxrl_suite.rl import discrete
from jaxrl_suite.rl.policies import Policy


def sample(
    policy: Policy, output: jax.Array, log_std: jax.Array | None, key: jax.Array, legal: jax.Array | None = None
) -> jax.Array:
    """An action of one observation; continuous ones may leave [-1, 1], where the environment lets them saturate."""
    if policy.discrete:
        return discrete.draw(key, output, legal)
    assert log_std is not None, "continuous actions have a deviation"
    return output + jnp.exp(log_std) * jax.random.normal(key, output.shape)


def log_density(
    policy: Policy, output: jax.Array, log_std: jax.Array | None, actions: jax.Array, legal: jax.Array | None = None
) -> jax.Array:
    """float32[...]: log-probability of actions under the softmax of, or the normal around, an output [..., A]."""
    if policy.discrete:
        chex.assert_type(actions, int)
        chex.assert_shape(actions, output.shape[:-1])
        log_probs = jax.nn.log_softmax(discrete.mask(output, legal))
        return jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]
    assert log_std is not None, "continuous actions have a deviation"
    log_std = log_std[(None,) * (output.ndim - 1)]
    chex.assert_equal_shape([actions, output])
    scaled = (actions - output) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * scaled**2 - log_std - 0.5 * jnp.log(2 * jnp.pi), axis=-1)


def entropy(policy: Policy, output: jax.Array, log_std: jax.Array | None, legal: jax.Array | None = None) -> jax.Array:
    """float32[...] in nats; of the normal before it saturates."""
    if policy.discrete:
        log_probs = jax.nn.log_softmax(discrete.mask(output, legal))
        finite = log_probs if legal is None else jnp.where(jnp.isneginf(log_probs), 0.0, log_probs)
        return -jnp.sum(jnp.exp(log_probs) * finite, axis=-1)
    assert log_std is not None, "continuous actions have a deviation"
    return jnp.broadcast_to(jnp.sum(log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)), output.shape[:-1])
