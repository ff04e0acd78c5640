"""A ring of training examples on the device: what is added last overwrites what is oldest.

Shapes: `M` capacity, `B` examples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.core.config import UserError


class Replay(NamedTuple):
    examples: Any  # leaves [M, ...]
    added: jax.Array  # int32[], examples that were ever added


def empty(example: Any, capacity: int) -> Replay:
    """Room for `capacity` examples like `example`, a pytree of arrays or shapes without a batch axis."""
    if capacity < 1:
        raise UserError(f"capacity must be at least 1, got {capacity}")
    zeros = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), example)
    return Replay(zeros, jnp.int32(0))


def add(replay: Replay, examples: Any) -> Replay:
    """With a batch of examples, leaves [B, ...]; B must not exceed the capacity."""
    capacity, batch = (jax.tree.leaves(tree)[0].shape[0] for tree in (replay.examples, examples))
    if batch > capacity:
        raise UserError(f"{batch} examples do not fit in a replay of {capacity}: make its capacity larger")
    rows = (replay.added + jnp.arange(batch)) % capacity
    written = jax.tree.map(lambda old, new: old.at[rows].set(new), replay.examples, examples)
    return Replay(written, replay.added + batch)


def draw(replay: Replay, key: jax.Array, batch: int) -> Any:
    """`batch` examples, uniformly with replacement among those there are; `key` is consumed."""
    capacity = jax.tree.leaves(replay.examples)[0].shape[0]
    rows = jax.random.randint(key, (batch,), 0, jnp.maximum(jnp.minimum(replay.added, capacity), 1))
    return jax.tree.map(lambda leaf: leaf[rows], replay.examples)
