"""The multilayer perceptron, as a `flax.linen` module, and the initialisers that networks here are given by name.

Shapes: `...` batch axes, `D` inputs, `O` outputs, `F` width of the last hidden layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError, suggest

Activation: TypeAlias = Literal["relu", "tanh", "gelu"]
Initialiser: TypeAlias = Literal["lecun", "orthogonal", "he"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": nn.relu, "tanh": jnp.tanh, "gelu": nn.gelu}


class MLP(nn.Module):
    """A multilayer perceptron: hidden layers `hidden_0`, ... with an activation after each, and the last layer `head`.

    Args:
      outputs: O.
      widths: of the hidden layers; without any, the module is affine.
      activation: of the hidden layers.
      initialiser: of the weights; biases start at 0. `orthogonal` and `he` have gain sqrt(2) in hidden layers.
      head_scale: gain of the last layer's weights.
    """

    outputs: int
    widths: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    initialiser: Initialiser = "lecun"
    head_scale: float = 1.0

    def __post_init__(self):
        check_network(self.activation, self.initialiser, (self.outputs, *self.widths))
        super().__post_init__()

    def setup(self):
        gain = hidden_gain(self.initialiser)
        dtype = jnp.result_type(float)  # float64 where that is enabled
        hidden, head = kernel_init(self.initialiser, gain), kernel_init(self.initialiser, self.head_scale)
        self.hidden = [nn.Dense(width, param_dtype=dtype, kernel_init=hidden) for width in self.widths]
        self.head = nn.Dense(self.outputs, param_dtype=dtype, kernel_init=head)

    def features(self, x: jax.Array) -> jax.Array:
        """float32[..., F]: what the last layer reads, for inputs [..., D]."""
        for layer in self.hidden:
            x = ACTIVATIONS[self.activation](layer(x))
        return x

    def __call__(self, x: jax.Array) -> jax.Array:
        """float32[..., O], for inputs [..., D]."""
        return self.head(self.features(x))


def hidden_gain(initialiser: Initialiser) -> float:
    """The gain of hidden layers: sqrt(2), which keeps variances through rectifiers, but for `lecun`."""
    return 1.0 if initialiser == "lecun" else math.sqrt(2.0)


def kernel_init(initialiser: Initialiser, gain: float) -> nn.initializers.Initializer:
    """Flax's initialiser of a kernel [D, O]: orthogonal, or normal with variance gain^2 / D."""
    if gain == 0:
        return nn.initializers.zeros
    if initialiser == "orthogonal":
        return nn.initializers.orthogonal(gain)
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def check_network(activation: str, initialiser: str, widths: tuple[int, ...]) -> None:
    """Refuses names that are not known and widths below 1.

    Raises:
      UserError: that says which.
    """
    if min(widths) < 1:
        raise UserError(f"the widths of a network must be at least 1, got {widths}")
    for name, value, allowed in (
        ("activation", activation, tuple(ACTIVATIONS)),
        ("initialiser", initialiser, get_args(Initialiser)),
    ):
        if value not in allowed:
            raise UserError(f"unknown {name} {value!r}{suggest(value, allowed)}")
