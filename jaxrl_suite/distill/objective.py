"""The protocol of an objective of the outer loop, and the mean of several.

An objective is a frozen config with pure functions on one student; the driver vmaps them over students. What it keeps
between outer steps (a network that ages, one that is trained along) is its state.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeAlias

import jax

from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.policies import Params

ObjectiveState: TypeAlias = Any  # a pytree of arrays
Aux: TypeAlias = dict[str, jax.Array]  # scalars to log


class Objective(Protocol):
    """A loss of the distilled set, as one student sees it."""

    @property
    def imitation(self) -> Imitation: ...

    def init(self, key: jax.Array, teacher: Params | None) -> ObjectiveState:
        """The state of one student; `teacher` is there for objectives that match a teacher's own gradients."""
        ...

    def loss(self, syn: Distilled, batch: Pairs, state: ObjectiveState, key: jax.Array) -> tuple[jax.Array, Aux]:
        """float32[], differentiable in `syn`; the batch is real pairs as the driver's sampler draws them."""
        ...

    def update(self, syn: Distilled, state: ObjectiveState, key: jax.Array) -> ObjectiveState:
        """The state after an outer step."""
        ...


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of objectives on the same batch, for instance of unrolls through two optimisers.

    Args:
      parts: at least one objective, all with the same imitation.
    """

    parts: tuple[Any, ...]

    def __post_init__(self):
        if not self.parts or any(part.imitation != self.parts[0].imitation for part in self.parts):
            raise UserError("a mean of objectives needs at least one, and all must imitate in the same way")

    @property
    def imitation(self) -> Imitation:
        return self.parts[0].imitation

    def init(self, key: jax.Array, teacher: Params | None) -> ObjectiveState:
        return tuple(part.init(k, teacher) for part, k in zip(self.parts, self._keys(key), strict=True))

    def loss(self, syn: Distilled, batch: Pairs, state: ObjectiveState, key: jax.Array) -> tuple[jax.Array, Aux]:
        found = [part.loss(syn, batch, s, k) for part, s, k in zip(self.parts, state, self._keys(key), strict=True)]
        aux = {f"part{i}": loss for i, (loss, _) in enumerate(found)}
        return sum(loss for loss, _ in found) / len(found), aux  # pyright: ignore[reportReturnType]

    def update(self, syn: Distilled, state: ObjectiveState, key: jax.Array) -> ObjectiveState:
        return tuple(part.update(syn, s, k) for part, s, k in zip(self.parts, state, self._keys(key), strict=True))

    def _keys(self, key: jax.Array) -> jax.Array:
        return jax.random.split(key, len(self.parts))
