"""Pairs of action-value functions, and Polyak averages of them as targets.

Two critics start apart and learn the same targets; the smaller of both answers is used, which keeps the errors of
either from being exploited.

Shapes: `B` rows, `D` observation features, `A` action dimensions or actions.

Reference: Fujimoto, van Hoof and Meger, "Addressing function approximation error in actor-critic methods" (ICML
2018), section 4.
"""

from __future__ import annotations

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.networks.apply import apply
from jaxrl_suite.networks.mlp import MLP, Activation
from jaxrl_suite.rl.policies import Params


class TwinCritic(nn.Module):
    """Two multilayer perceptrons: of observation and action, or, if actions are discrete, one output for each.

    Args:
      actions: A.
      discrete: whether an action is a number below A.
      widths: of the hidden layers.
      activation: of the hidden layers.
    """

    actions: int
    discrete: bool = False
    widths: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"

    @nn.compact
    def __call__(self, observations: jax.Array, actions: jax.Array | None = None) -> jax.Array:
        """Both values: float32[2, B] of the actions float32[B, A] or int32[B], or, without `actions`, float32[2, B, A].

        Args:
          observations: [B, ...]; more axes are flattened.
          actions: None asks for the values of every discrete action.
        """
        inputs = observations.reshape(observations.shape[0], -1)
        if not self.discrete:
            assert actions is not None, "values of continuous actions need them"
            inputs = jnp.concatenate([inputs, actions], axis=-1)
        same: Any = None  # both critics read the same rows
        twice = nn.vmap(MLP, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=same, axis_size=2)
        values = twice(self.actions if self.discrete else 1, self.widths, self.activation, name="twins")(inputs)
        if not self.discrete:
            return values[..., 0]
        return values if actions is None else jnp.take_along_axis(values, actions[None, :, None], axis=2)[..., 0]


def init_critic(critic: TwinCritic, key: chex.PRNGKey, observation_shape: tuple[int, ...]) -> Params:
    """Parameters of both critics, with a leading axis 2; `key` is consumed."""
    actions = jnp.zeros(1, jnp.int32) if critic.discrete else jnp.zeros((1, critic.actions))
    return critic.init(key, jnp.zeros((1, *observation_shape)), actions)["params"]


def apply_critic(
    critic: TwinCritic, params: Params, observations: jax.Array, actions: jax.Array | None = None
) -> jax.Array:
    """Values by both critics, see `TwinCritic.__call__`."""
    return apply(critic, params, observations, actions)


def polyak_average(target: Params, online: Params, tau: float) -> Params:
    """The target's parameters, moved towards the online ones by a share `tau` of the way."""
    moved: Any = optax.incremental_update(online, target, tau)
    return moved


def bootstrap(rewards: jax.Array, terminals: jax.Array, following: jax.Array, discount: float) -> jax.Array:
    """float32[B]: r + discount (1 - terminal) v, the target of a value."""
    chex.assert_equal_shape([rewards, terminals, following])
    return rewards + discount * (1 - terminals) * following
