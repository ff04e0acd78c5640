"""A record of scalars and small arrays as one row of int32 words, so that a tree reads and writes it in one piece."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Packing(Generic[T]):
    """The layout in which records of one structure are packed; made by `packing_of`."""

    structure: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def words(self) -> int:
        return sum(leaf.size for leaf in self.leaves)

    def pack(self, record: T) -> jax.Array:
        """int32[W], from one record."""
        return jnp.concatenate([_to_words(leaf).ravel() for leaf in jax.tree.leaves(record)])

    def unpack(self, words: jax.Array) -> T:
        """The record that `pack` made `words` int32[W] from, bit for bit."""
        leaves, start = [], 0
        for leaf in self.leaves:
            leaves.append(_from_words(words[start : start + leaf.size], leaf.dtype).reshape(leaf.shape))
            start += leaf.size
        return jax.tree.unflatten(self.structure, leaves)


def packing_of(example: T) -> Packing[T]:
    """The packing of records like `example`, of which only structure, shapes and dtypes count.

    Raises:
      UserError: if a leaf is neither bool nor a number of at most 32 bits.
    """
    leaves, structure = jax.tree.flatten(example)
    for leaf in leaves:
        if leaf.dtype != jnp.bool_ and (leaf.dtype.itemsize > 4 or not jnp.issubdtype(leaf.dtype, jnp.number)):
            raise UserError(f"a state with a leaf of dtype {leaf.dtype} cannot be packed; use bool, int32 or float32")
    return Packing(structure, tuple(leaves))


def _to_words(leaf: jax.Array) -> jax.Array:
    if leaf.dtype.itemsize == 4 and leaf.dtype != jnp.int32:
        return jax.lax.bitcast_convert_type(leaf, jnp.int32)
    if jnp.issubdtype(leaf.dtype, jnp.floating):  # half precision, exactly representable in single
        return jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.int32)
    return leaf.astype(jnp.int32)


def _from_words(words: jax.Array, dtype: Any) -> jax.Array:
    if jnp.issubdtype(dtype, jnp.floating):
        return jax.lax.bitcast_convert_type(words, jnp.float32).astype(dtype)
    if dtype == jnp.uint32:
        return jax.lax.bitcast_convert_type(words, jnp.uint32)
    return words.astype(dtype)
