"""Parameters and answers of any `flax.linen` module, ours or a user's own.

A module is called with a batch, `[N, ...]`, as is the custom of Flax; here it is asked about arrays with any batch
axes. What it answers is an array, or a tuple of which the first part is the policy's output and the last the value:

| the module is                                      | it answers, for inputs [N, ...]                               |
|----------------------------------------------------|---------------------------------------------------------------|
| a policy: cloning, IQL, TD3+BC, distillation       | logits or actions [N, A], or a tuple that begins with them    |
| an actor-critic: PPO with discrete actions         | (logits [N, A], value [N])                                    |
| an actor-critic: PPO with continuous actions       | (mean [N, A], log of the deviation [A], value [N])            |
| an evaluator of leaves: search                     | (prior logits [N, P, A] or [N, P A], ..., value [N])          |

Methods that solve the last layer in closed form (kernel ridge) also ask for a method `features`, and for a last layer
`nn.Dense` called `head`.

Shapes: `...` batch axes, `N` their product, `A` action dimensions or actions, `P` players.
"""

from __future__ import annotations

import math
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError


def check_module(module: Any) -> None:
    """Refuses what is no module of `flax.linen`.

    Raises:
      UserError: if it is none.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"a network must be a flax.linen module, got {type(module).__name__}: make it an nn.Module")


def init_params(module: nn.Module, key: chex.PRNGKey, *shapes: tuple[int, ...]) -> chex.ArrayTree:
    """The `params` of a module for float32 inputs of these shapes, without batch axes; `key` is consumed.

    Raises:
      UserError: if the module is none of Flax's, or keeps variables that are no parameters.
    """
    check_module(module)
    variables = dict(module.init(key, *(jnp.zeros((1, *shape)) for shape in shapes)))
    params = variables.pop("params", {})
    if variables:
        raise UserError(
            f"{type(module).__name__} keeps {', '.join(sorted(variables))} beside its parameters, which a pure "
            "function cannot: use layers without state, such as LayerNorm in place of BatchNorm"
        )
    return params


def apply(module: nn.Module, params: chex.ArrayTree, *inputs: Any, method: str | None = None) -> Any:
    """The module's answer, as it is, for inputs as it takes them; `method` names another method than `__call__`."""
    variables: Any = {"params": params}
    return module.apply(variables, *inputs, method=method)


def apply_batched(
    module: nn.Module, params: chex.ArrayTree, inputs: chex.Array, shape: tuple[int, ...], method: str | None = None
) -> Any:
    """The module's answer for inputs [..., *shape], each array of it with the axes `...` in place of N.

    Args:
      module: ours or a user's own.
      params: its parameters.
      inputs: of any number of batch axes, also none.
      shape: of one input.
      method: name of the method that is called; `__call__` if None.

    Raises:
      UserError: if the inputs are not of that shape.
    """
    inputs = jnp.asarray(inputs)
    batch = inputs.shape[: max(inputs.ndim - len(shape), 0)]
    if inputs.shape[len(batch) :] != tuple(shape):
        raise UserError(f"the network reads inputs [..., {', '.join(map(str, shape))}], got {inputs.shape}")
    count = math.prod(batch)
    outputs = apply(module, params, inputs.reshape(count, *shape), method=method)

    def unflatten(part: jax.Array) -> jax.Array:
        if not hasattr(part, "shape") or part.shape[:1] != (count,):
            got = getattr(part, "shape", type(part).__name__)
            raise UserError(
                f"{type(module).__name__} must answer arrays [N, ...] for inputs [N, ...], N = {count}, got {got}"
            )
        return part.reshape(*batch, *part.shape[1:])

    if not isinstance(outputs, tuple):
        return unflatten(outputs)
    return (unflatten(outputs[0]), *outputs[1:-1], unflatten(outputs[-1]))  # a deviation has no batch axis


def policy_output(outputs: Any) -> jax.Array:
    """The logits or actions of what a module answered."""
    return outputs[0] if isinstance(outputs, tuple) else outputs
