"""An exported function as part of a JAX program: batched, or on one state under any transformation that batches."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.custom_batching import custom_vmap


@dataclasses.dataclass(frozen=True, eq=False)
class ExportedFunction:
    """A function of a state to a value and named numbers. Made by `export_functions`.

    It holds StableHLO with a symbolic batch size, which JAX cannot vmap; `call_one` is a function of one state that
    hands all batch axes, however many `vmap`s they come from, to that one. It has no derivative.

    Args:
      exported: of a flat tuple of arrays [b, ...] to a flat tuple of arrays [b, ...].
      states: the structure of a state.
      values: the structure of a value.
      auxiliary: names of the float32 numbers that come after the value's arrays, sorted.
      serialized: the bytes that `check_functions` loads.
    """

    exported: export.Exported
    states: Any
    values: Any
    auxiliary: tuple[str, ...]
    serialized: bytes

    def __call__(self, state: Any) -> Any:
        """The value of one state, as `call_one`: a function like any other, for `vmap`, a search or a pool."""
        return self.call_one(state)

    def call(self, states: Any) -> Any:
        """Values [B, ...] of a batch of states [B, ...]."""
        return self.call_with_auxiliary(states)[0]

    def call_with_auxiliary(self, states: Any) -> tuple[Any, dict[str, jax.Array]]:
        """The same, and each auxiliary value float32[B] by its name."""
        return self._unflatten(self._apply(1, self.states.flatten_up_to(states)))

    def call_one(self, state: Any) -> Any:
        """The value of one state."""
        return self.call_one_with_auxiliary(state)[0]

    def call_one_with_auxiliary(self, state: Any) -> tuple[Any, dict[str, jax.Array]]:
        """The same, and each auxiliary value float32[] by its name."""
        return self._unflatten(self._apply(0, self.states.flatten_up_to(state)))

    def _apply(self, rank: int, leaves: list[Any]) -> list[jax.Array]:
        """Calls it on leaves that have `rank` batch axes in front; one more `vmap` is one more axis."""

        @custom_vmap
        def apply(leaves: list[jax.Array]) -> list[jax.Array]:
            batch = leaves[0].shape[:rank]
            size = math.prod(batch)
            flat = [leaf.reshape(size, *leaf.shape[rank:]) for leaf in leaves]
            if size == 0:  # the symbolic size is at least 1
                return [jnp.zeros((*batch, *aval.shape[1:]), aval.dtype) for aval in self.exported.out_avals]
            return [out.reshape(*batch, *out.shape[1:]) for out in self.exported.call(*flat)]

        @apply.def_vmap
        def rule(axis_size, batched, leaves):  # pyright: ignore[reportUnusedFunction]
            wide = [
                leaf if is_batched else jnp.broadcast_to(leaf[None], (axis_size, *leaf.shape))
                for leaf, is_batched in zip(leaves, batched[0], strict=True)
            ]
            outputs = self._apply(rank + 1, wide)
            return outputs, [True] * len(outputs)

        return apply([jnp.asarray(leaf) for leaf in leaves])

    def _unflatten(self, outputs: list[jax.Array]) -> tuple[Any, dict[str, jax.Array]]:
        count = self.values.num_leaves
        return self.values.unflatten(outputs[:count]), dict(zip(self.auxiliary, outputs[count:], strict=True))
