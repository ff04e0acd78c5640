"""A ring of training examples on the device, and steps of descent on it: what is added last overwrites what is oldest.

Shapes: `M` capacity, `B` examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.errors import UserError


class ReplayBuffer(NamedTuple):
    examples: Any  # leaves [M, ...]
    added: jax.Array  # int32[], examples that were ever added


def empty(example: Any, capacity: int) -> ReplayBuffer:
    """Room for `capacity` examples like `example`, a pytree of arrays or shapes without a batch axis."""
    if capacity < 1:
        raise UserError(f"capacity must be at least 1, got {capacity}")
    zeros = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), example)
    return ReplayBuffer(zeros, jnp.int32(0))


def add(replay: ReplayBuffer, examples: Any) -> ReplayBuffer:
    """With a batch of examples, leaves [B, ...]; B must not exceed the capacity."""
    capacity, batch = (jax.tree.leaves(tree)[0].shape[0] for tree in (replay.examples, examples))
    if batch > capacity:
        raise UserError(f"{batch} examples do not fit in a replay of {capacity}: make its capacity larger")
    rows = (replay.added + jnp.arange(batch)) % capacity
    written = jax.tree.map(lambda old, new: old.at[rows].set(new), replay.examples, examples)
    return ReplayBuffer(written, replay.added + batch)


def draw(replay: ReplayBuffer, key: jax.Array, batch: int) -> Any:
    """`batch` examples, uniformly with replacement among those there are; `key` is consumed."""
    capacity = jax.tree.leaves(replay.examples)[0].shape[0]
    rows = jax.random.randint(key, (batch,), 0, jnp.maximum(jnp.minimum(replay.added, capacity), 1))
    return jax.tree.map(lambda leaf: leaf[rows], replay.examples)


def descend(
    loss: Callable[[Any, Any], jax.Array],
    optimiser: optax.GradientTransformation,
    params: chex.ArrayTree,
    opt_state: optax.OptState,
    replay: ReplayBuffer,
    key: jax.Array,
    *,
    steps: int,
    batch: int,
) -> tuple[Any, optax.OptState, jax.Array]:
    """Parameters and the optimiser's state after `steps` on batches drawn anew; their mean loss float32[]."""

    def step(carry: tuple[Any, optax.OptState], key: jax.Array) -> Any:
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss)(params, draw(replay, key, batch))
        updates, opt_state = optimiser.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, opt_state), losses = jax.lax.scan(step, (params, opt_state), jax.random.split(key, steps))
    return params, opt_state, jnp.mean(losses)
