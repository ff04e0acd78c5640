"""Policies: a `flax.linen` module together with the observations that it reads and the actions that it answers.

`MLPPolicy` and `ConvPolicy` are modules of ours, made whole by `mlp_policy` and `conv_policy`; a user's own module
makes one as `Policy(MyModule(...), observation_shape, actions, discrete)`. What it must answer is in `networks.apply`.

A continuous policy answers one number for each action dimension, in (-1, 1) unless it is told to leave out the tanh; a
discrete one answers logits.

Shapes: `...` batch axes, `N` rows, `D` observation features, `A` action dimensions or actions, `F` features of the last
layer.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.apply import apply_batched, check_module, init_params, policy_output
from jaxrl_suite.networks.convolution import ShiftedConv, mean_pool2x2
from jaxrl_suite.networks.mlp import (
    ACTIVATIONS,
    MLP,
    Activation,
    Initialiser,
    check_network,
    hidden_gain,
    kernel_init,
)
from jaxrl_suite.rl import discrete

Params: TypeAlias = Any  # a `chex.ArrayTree`, which optax defines once more


@dataclasses.dataclass(frozen=True)
class Policy:
    """A network and the spaces between which it lies; hashable, so that it can be a static argument.

    Args:
      module: called with observations [N, *observation_shape]; its fields must be hashable, such as tuples.
      observation_shape: of one observation.
      actions: A.
      discrete: whether the output is logits, or actions.

    Raises:
      UserError: if a size is below 1, or the module is no hashable `nn.Module`.
    """

    module: nn.Module
    observation_shape: tuple[int, ...]
    actions: int
    discrete: bool = False

    def __post_init__(self):
        shape = self.observation_shape
        if not shape or min(shape) < 1 or self.actions < 1:
            raise UserError(
                f"a policy needs an observation shape and actions of at least 1, got {shape} and {self.actions}"
            )
        check_module(self.module)
        try:
            hash(self.module)
        except TypeError:
            raise UserError(
                f"the fields of {type(self.module).__name__} must be hashable: use tuples, not lists"
            ) from None

    def init(self, key: chex.PRNGKey) -> Params:
        """Fresh parameters; `key` is consumed."""
        return init_params(self.module, key, self.observation_shape)

    def apply(self, params: Params, observations: jax.Array) -> jax.Array:
        """float32[..., A]: logits, or actions, for observations [..., *observation_shape]."""
        output = policy_output(self.outputs(params, observations))
        if output.shape[-1:] != (self.actions,):
            name = type(self.module).__name__
            raise UserError(f"{name} answers {output.shape} where [..., {self.actions}] is needed: change its outputs")
        return output

    def outputs(self, params: Params, observations: jax.Array) -> Any:
        """The whole answer of the module, for observations [..., *observation_shape]."""
        return apply_batched(self.module, params, observations, self.observation_shape)

    def act(self, params: Params, observations: jax.Array, legal: jax.Array | None = None) -> jax.Array:
        """The action taken: float32[..., A], or int32[...] with the largest logit of the `legal` bool[..., A] ones."""
        output = self.apply(params, observations)
        return discrete.most_likely(output, legal) if self.discrete else output

    def features(self, params: Params, observations: jax.Array) -> jax.Array:
        """float32[..., F]: what the last layer reads.

        Raises:
          UserError: if the module has no method `features`.
        """
        if not hasattr(self.module, "features"):
            raise UserError(
                f"{type(self.module).__name__} has no method `features` that answers what its last layer reads: add it"
            )
        return apply_batched(self.module, params, observations, self.observation_shape, "features")


class MLPPolicy(MLP):
    """A multilayer perceptron on the flattened observation.

    Args:
      squash: whether the tanh of the last layer is answered, and not the layer as it is.
      outputs, widths, activation, initialiser, head_scale: as in `MLP`.
    """

    squash: bool = False

    def features(self, observations: jax.Array) -> jax.Array:
        """float32[N, F], for observations [N, ...]."""
        return super().features(observations.reshape(observations.shape[0], -1))

    def __call__(self, observations: jax.Array) -> jax.Array:
        """float32[N, A], for observations [N, ...]."""
        output = self.head(self.features(observations))
        return jnp.tanh(output) if self.squash else output


class ConvPolicy(nn.Module):
    """Convolutions of 3 by 3, each followed by the activation and mean pooling of 2 by 2, then an `MLPPolicy`.

    Args:
      outputs: A.
      channels: of the convolutions; (12, 48, 12, 3) with no `widths` is DDRL's student on images of 64 by 64. A side is
        padded with zeros to an even length before it is pooled.
      widths: of the hidden layers after them.
      activation, initialiser, head_scale, squash: as in `MLPPolicy`.
    """

    outputs: int
    channels: tuple[int, ...] = (16, 32)
    widths: tuple[int, ...] = (64,)
    activation: Activation = "relu"
    initialiser: Initialiser = "lecun"
    head_scale: float = 1.0
    squash: bool = False

    def __post_init__(self):
        check_network(self.activation, self.initialiser, (self.outputs, *self.channels, *self.widths))
        super().__post_init__()

    def setup(self):
        kernel = kernel_init(self.initialiser, hidden_gain(self.initialiser))
        self.conv = [ShiftedConv(channels, kernel) for channels in self.channels]
        self.dense = MLPPolicy(
            self.outputs, self.widths, self.activation, self.initialiser, self.head_scale, squash=self.squash
        )

    def features(self, images: jax.Array) -> jax.Array:
        """float32[N, F], for images [N, H, W, C]."""
        return self.dense.features(self._pooled(images))

    def __call__(self, images: jax.Array) -> jax.Array:
        """float32[N, A], for images [N, H, W, C]."""
        return self.dense(self._pooled(images))

    def _pooled(self, images: jax.Array) -> jax.Array:
        x = images
        for layer in self.conv:
            x = mean_pool2x2(ACTIVATIONS[self.activation](layer(x)))
        return x


def mlp_policy(
    observation_shape: tuple[int, ...],
    actions: int,
    discrete: bool = False,
    widths: tuple[int, ...] = (64, 64),
    activation: Activation = "relu",
    initialiser: Initialiser = "lecun",
    head_scale: float = 1.0,
    squash: bool = True,
) -> Policy:
    """A policy by an `MLPPolicy`; without `squash` a continuous one leaves out the tanh (linear-quadratic problems)."""
    module = MLPPolicy(actions, widths, activation, initialiser, head_scale, squash=squash and not discrete)
    return Policy(module, observation_shape, actions, discrete)


def conv_policy(
    observation_shape: tuple[int, ...],
    actions: int,
    discrete: bool = True,
    channels: tuple[int, ...] = (16, 32),
    widths: tuple[int, ...] = (64,),
    activation: Activation = "relu",
    initialiser: Initialiser = "lecun",
    head_scale: float = 1.0,
) -> Policy:
    """A policy by a `ConvPolicy` on images [H, W, C]."""
    if len(observation_shape) != 3:
        raise UserError(f"convolutions read images [H, W, C], got shape {observation_shape}: use mlp_policy")
    module = ConvPolicy(actions, channels, widths, activation, initialiser, head_scale, squash=not discrete)
    return Policy(module, observation_shape, actions, discrete)
