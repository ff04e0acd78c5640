"""Distances between two gradients of a network, smooth where rows of them are zero.

A gradient is that of Flax's `params`, in which a layer is `{"kernel": [..., units], "bias": [units]}`. A ReLU
unit that is off for every pair has a zero column, where a plain norm has no derivative: here every square root has a
positive number in it, and a unit without a real gradient does not count.

Reference: Zhao, Mopuri and Bilen, "Dataset condensation with gradient matching", ICLR 2021, section 3.2 (cosine);
Light, Liu and Hu, "Dataset distillation for offline reinforcement learning" (2024) (flat squared distance).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

Distance: TypeAlias = Literal["l2", "layer", "cosine"]
_TINY = 1e-10  # squared norm of a gradient that is next to nothing


def gradient_distance(kind: Distance, syn: Any, real: Any) -> jax.Array:
    """float32[]: how far the gradient on distilled pairs is from the one on real pairs.

    Args:
      kind: `l2` is the sum of squared differences over all numbers; `layer` divides each layer's by the squared norm
        of its real gradient; `cosine` sums 1 - cosine over units, each with its weights and its bias.
      syn: `params` of layers.
      real: pytree of the same structure.
    """
    parts = {"l2": _l2, "layer": _layer, "cosine": _cosine}[kind]
    layers = zip(*(jax.tree.leaves(tree, is_leaf=_is_layer) for tree in (syn, real)), strict=True)
    distances = [parts(_matrix(a), _matrix(b)) for a, b in layers]
    return sum(distances[1:], start=distances[0])


def _is_layer(tree: Any) -> bool:
    return isinstance(tree, dict) and "kernel" in tree


def _matrix(layer: Any) -> jax.Array:
    """[inputs + 1, units]; what is no layer, such as the scale of a norm, counts as one unit."""
    if not isinstance(layer, dict):
        return layer.reshape(-1, 1)
    rest = [part.reshape(-1, layer["kernel"].shape[-1]) for name, part in sorted(layer.items()) if name != "kernel"]
    return jnp.concatenate([layer["kernel"].reshape(-1, layer["kernel"].shape[-1]), *rest])


def _l2(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum((a - b) ** 2)


def _layer(a: jax.Array, b: jax.Array) -> jax.Array:
    return _l2(a, b) / (jnp.sum(b**2) + _TINY)


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    size = jnp.sum(b**2, axis=0)
    norms = jnp.sqrt(jnp.sum(a**2, axis=0) + _TINY) * jnp.sqrt(size + _TINY)
    return jnp.sum(jnp.where(size > _TINY, 1 - jnp.sum(a * b, axis=0) / norms, 0.0))
