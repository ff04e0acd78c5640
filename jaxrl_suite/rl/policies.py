"""Small deterministic policies as frozen configs with pure `init` and `apply`; parameters are plain pytrees.

A continuous policy answers the tanh of its last layer, one number in (-1, 1) for each action dimension; a discrete
one answers logits. Both expose the features before the last layer, which kernel methods and linear heads need. A
convolution is written as shifted slices and one matrix product, so that it batches over students and differentiates
twice as plain products do, with no grouped convolution.

Shapes: `...` batch axes, `D` observation features, `A` action dimensions or actions, `F` features of the last layer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, get_args

import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError, suggest

Params: TypeAlias = Any  # a pytree of arrays
Activation: TypeAlias = Literal["relu", "tanh", "gelu"]
Initialiser: TypeAlias = Literal["lecun", "orthogonal", "he"]


class Policy(Protocol):
    """The protocol of a policy network; hashable, so that it can be a static argument."""

    @property
    def observation_shape(self) -> tuple[int, ...]: ...
    @property
    def actions(self) -> int: ...
    @property
    def discrete(self) -> bool: ...

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters."""
        ...

    def features(self, params: Params, observations: jax.Array) -> jax.Array:
        """float32[..., F]: what the last layer reads."""
        ...

    def apply(self, params: Params, observations: jax.Array) -> jax.Array:
        """float32[..., A]: logits, or actions in (-1, 1), for observations [..., *observation_shape]."""
        ...

    def act(self, params: Params, observations: jax.Array) -> jax.Array:
        """The action taken: float32[..., A] in (-1, 1), or int32[...] with the largest logit."""
        ...


@dataclasses.dataclass(frozen=True)
class MLP:
    """A multilayer perceptron; without hidden widths, a linear policy.

    Args:
      observation_shape: (D,); more axes are flattened.
      actions: A.
      discrete: whether the output is logits, or the tanh of the last layer.
      widths: of the hidden layers.
      activation: of the hidden layers.
      initialiser: of the weights; biases start at 0. `orthogonal` and `he` have gain sqrt(2) in hidden layers.
      head_scale: factor on the initial weights of the last layer.
      squash: False leaves out the tanh of a continuous policy (for linear-quadratic references).
    """

    observation_shape: tuple[int, ...]
    actions: int
    discrete: bool = False
    widths: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    initialiser: Initialiser = "lecun"
    head_scale: float = 1.0
    squash: bool = True

    def __post_init__(self):
        _check(self, self.widths)

    def init(self, key: jax.Array) -> Params:
        sizes = (math.prod(self.observation_shape), *self.widths, self.actions)
        return _init_stack(key, sizes, self.initialiser, self.head_scale)

    def features(self, params: Params, observations: jax.Array) -> jax.Array:
        return _hidden(params, _flat(observations, self.observation_shape), _ACTIVATIONS[self.activation])

    def apply(self, params: Params, observations: jax.Array) -> jax.Array:
        return _head(self, params, self.features(params, observations))

    def act(self, params: Params, observations: jax.Array) -> jax.Array:
        return _act(self, params, observations)


@dataclasses.dataclass(frozen=True)
class CNN:
    """Convolutions of 3 by 3, each followed by the activation and average pooling of 2 by 2, then an MLP.

    Args:
      observation_shape: (H, W, C). A side is padded with zeros to an even length before it is pooled.
      actions: A.
      discrete: as in `MLP`.
      channels: of the convolutions; (12, 48, 12, 3) with no `widths` is DDRL's student on images of 64 by 64.
      widths: of the hidden layers after them.
      activation, initialiser, head_scale: as in `MLP`.
    """

    observation_shape: tuple[int, ...]
    actions: int
    discrete: bool = True
    channels: tuple[int, ...] = (16, 32)
    widths: tuple[int, ...] = (64,)
    activation: Activation = "relu"
    initialiser: Initialiser = "lecun"
    head_scale: float = 1.0

    def __post_init__(self):
        _check(self, (*self.channels, *self.widths))
        if len(self.observation_shape) != 3:
            raise UserError(f"a CNN reads images [H, W, C], got shape {self.observation_shape}: use MLP")

    def init(self, key: jax.Array) -> Params:
        conv_key, dense_key = jax.random.split(key)
        height, width, depth = self.observation_shape
        inputs = (depth, *self.channels[:-1]) if self.channels else ()
        keys = jax.random.split(conv_key, len(self.channels))
        convs = [
            _init_layer(k, 9 * i, o, self.initialiser, _hidden_scale(self.initialiser))
            for k, i, o in zip(keys, inputs, self.channels, strict=True)
        ]
        for _ in self.channels:
            height, width = (height + 1) // 2, (width + 1) // 2
        flat = height * width * (self.channels[-1] if self.channels else depth)
        dense = _init_stack(dense_key, (flat, *self.widths, self.actions), self.initialiser, self.head_scale)
        return {"conv": convs, "dense": dense}

    def features(self, params: Params, observations: jax.Array) -> jax.Array:
        activate = _ACTIVATIONS[self.activation]
        x = jnp.asarray(observations, params["dense"][-1]["w"].dtype)
        for layer in params["conv"]:
            x = _pool(activate(conv3x3(x, layer["w"]) + _row(layer["b"], x.ndim)))
        return _hidden(params["dense"], _flat(x, x.shape[-3:]), activate)

    def apply(self, params: Params, observations: jax.Array) -> jax.Array:
        return _head(self, params["dense"], self.features(params, observations))

    def act(self, params: Params, observations: jax.Array) -> jax.Array:
        return _act(self, params, observations)


def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images [..., H, W, C] convolved with zero padding; the kernel is [9 * C, O], rows ordered (dy, dx, channel)."""
    height, width = x.shape[-3:-1]
    pad = [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
    padded = jnp.pad(x, pad)
    shifts = [padded[..., i : i + height, j : j + width, :] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifts, axis=-1) @ kernel


def last_layer(policy: Policy, params: Params) -> dict[str, jax.Array]:
    """The weights `w` [F, A] and biases `b` [A] of the last layer, for a linear head solved in closed form."""
    return (params["dense"] if isinstance(policy, CNN) else params)[-1]


def _check(policy: MLP | CNN, widths: tuple[int, ...]) -> None:
    shape, actions = policy.observation_shape, policy.actions
    if not shape or min(shape) < 1 or actions < 1 or min(widths, default=1) < 1:
        raise UserError(
            "a policy needs an observation shape, actions and widths of at least 1, "
            f"got {shape}, {actions} and {widths}"
        )
    for name, allowed in (("activation", _ACTIVATIONS), ("initialiser", get_args(Initialiser))):
        if (value := getattr(policy, name)) not in allowed:
            raise UserError(f"unknown {name} {value!r}{suggest(value, allowed)}")


_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
}


def _init_layer(key: jax.Array, inputs: int, outputs: int, how: Initialiser, scale: float) -> dict[str, jax.Array]:
    if how == "orthogonal":
        w = jax.nn.initializers.orthogonal(scale)(key, (inputs, outputs))
    else:
        w = scale / math.sqrt(inputs) * jax.random.normal(key, (inputs, outputs))
    return {"w": w, "b": jnp.zeros(outputs, w.dtype)}


def _hidden_scale(how: Initialiser) -> float:
    return 1.0 if how == "lecun" else math.sqrt(2.0)


def _init_stack(key: jax.Array, sizes: tuple[int, ...], how: Initialiser, head_scale: float) -> list[Any]:
    scales = [_hidden_scale(how)] * (len(sizes) - 2) + [head_scale]
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        _init_layer(k, i, o, how, scale) for k, i, o, scale in zip(keys, sizes[:-1], sizes[1:], scales, strict=True)
    ]


def _row(vector: jax.Array, ndim: int) -> jax.Array:
    return vector.reshape((1,) * (ndim - 1) + vector.shape)


def _dense(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["w"] + _row(layer["b"], x.ndim)


def _hidden(layers: Any, x: jax.Array, activate: Callable[[jax.Array], jax.Array]) -> jax.Array:
    x = jnp.asarray(x, layers[-1]["w"].dtype)
    for layer in layers[:-1]:
        x = activate(_dense(layer, x))
    return x


def _head(policy: Any, layers: Any, features: jax.Array) -> jax.Array:
    out = _dense(layers[-1], features)
    return out if policy.discrete or not getattr(policy, "squash", True) else jnp.tanh(out)


def _act(policy: Policy, params: Params, observations: jax.Array) -> jax.Array:
    out = policy.apply(params, observations)
    return jnp.argmax(out, axis=-1).astype(jnp.int32) if policy.discrete else out


def _flat(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[..., *shape] with its last axes as one."""
    batch = x.shape[: x.ndim - len(shape)]
    if x.shape[x.ndim - len(shape) :] != tuple(shape):
        raise UserError(f"the policy reads observations [..., {', '.join(map(str, shape))}], got {x.shape}")
    return x.reshape(*batch, math.prod(shape))


def _pool(x: jax.Array) -> jax.Array:
    """Means over 2 by 2 of images [..., H, W, C]; odd sides are padded with zeros."""
    height, width, depth = x.shape[-3:]
    batch = x.shape[:-3]
    x = jnp.pad(x, [(0, 0)] * len(batch) + [(0, height % 2), (0, width % 2), (0, 0)])
    x = x.reshape(*batch, (height + 1) // 2, 2, (width + 1) // 2, 2, depth)
    return jnp.mean(x, axis=(-4, -2))
