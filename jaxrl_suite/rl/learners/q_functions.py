"""Pairs of action-value functions, and Polyak averages of them as targets.

Two critics start apart and learn the same targets; the smaller of both answers is used, which keeps the errors of
either from being exploited.

Shapes: `B` rows, `D` observation features, `A` action dimensions or actions.

Reference: Fujimoto, van Hoof and Meger, "Addressing function approximation error in actor-critic methods" (ICML
2018), section 4.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrl_suite.rl.policies import MLP, Activation, Params


@dataclasses.dataclass(frozen=True)
class TwinCritic:
    """Two multilayer perceptrons: of observation and action, or, if actions are discrete, one output for each.

    Args:
      observation_shape: (D,); more axes are flattened.
      actions: A.
      discrete: whether an action is a number below A.
      widths: of the hidden layers.
      activation: of the hidden layers.
    """

    observation_shape: tuple[int, ...]
    actions: int
    discrete: bool = False
    widths: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"

    @property
    def network(self) -> MLP:
        features = math.prod(self.observation_shape)
        inputs, outputs = (features, self.actions) if self.discrete else (features + self.actions, 1)
        return MLP((inputs,), outputs, widths=self.widths, activation=self.activation, squash=False)

    def init(self, key: jax.Array) -> Params:
        """Parameters of both, with a leading axis 2."""
        return jax.vmap(self.network.init)(jax.random.split(key, 2))

    def apply(self, params: Params, observations: jax.Array, actions: jax.Array) -> jax.Array:
        """float32[2, B]: both values of the actions float32[B, A] or int32[B]."""
        if self.discrete:
            return jnp.take_along_axis(self.all_values(params, observations), actions[None, :, None], axis=2)[..., 0]
        inputs = jnp.concatenate([self._flat(observations), actions], axis=-1)
        return jax.vmap(self.network.apply, (0, None))(params, inputs)[..., 0]

    def all_values(self, params: Params, observations: jax.Array) -> jax.Array:
        """float32[2, B, A]: both values of every discrete action."""
        return jax.vmap(self.network.apply, (0, None))(params, self._flat(observations))

    def _flat(self, observations: jax.Array) -> jax.Array:
        return observations.reshape(observations.shape[0], -1)


def polyak_average(target: Params, online: Params, tau: float) -> Params:
    """The target's parameters, moved towards the online ones by a share `tau` of the way."""
    return jax.tree.map(lambda old, new: old + tau * (new - old), target, online)


def bootstrap(rewards: jax.Array, terminals: jax.Array, following: jax.Array, discount: float) -> jax.Array:
    """float32[B]: r + discount (1 - terminal) v, the target of a value."""
    return rewards + discount * (1 - terminals) * following
