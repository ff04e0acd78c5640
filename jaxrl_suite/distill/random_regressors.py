"""Random regressors: the loss of randomly drawn, untrained networks is to be the same on both sets.

For linear regressors and squared error the losses agree for all of them exactly when the second moments of
(observation, 1, target) do, so a quadratic number of regressors pins a linear problem; deeper ones see more.

Shapes: `R` regressors.

Reference: "Algorithmic guarantees for distilling supervised and offline RL datasets", arXiv 2512.00536 (abstract).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.distill.objective import Aux, ObjectiveState
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.rl.policies import Params


@dataclasses.dataclass(frozen=True)
class RandomRegressors:
    """Mean squared difference of the losses of R fresh networks on the distilled set and on a real batch.

    Args:
      imitation: the regressors' network and loss; `mlp_policy(..., widths=(), squash=False)` is linear.
      count: R.
      scale: factor on their parameters; biases, which start at 0, are drawn from a normal distribution of this scale.
    """

    imitation: Imitation
    count: int = 64
    scale: float = 1.0

    def __post_init__(self):
        check_ranges(self, count=(1, 10**6), scale=(1e-6, 1e6))

    def init(self, key: jax.Array, teacher: Params | None) -> ObjectiveState:
        del key, teacher
        return ()

    def loss(self, syn: Distilled, batch: Pairs, state: ObjectiveState, key: jax.Array) -> tuple[jax.Array, Aux]:
        del state
        pairs = self.imitation.pairs(syn)

        def gap(key: jax.Array) -> jax.Array:
            params = self._draw(key)
            return self.imitation.mean_loss(params, pairs) - self.imitation.mean_loss(params, batch)

        return jnp.mean(jax.vmap(gap)(jax.random.split(key, self.count)) ** 2), {}

    def update(self, syn: Distilled, state: ObjectiveState, key: jax.Array) -> ObjectiveState:
        del syn, key
        return state

    def _draw(self, key: jax.Array) -> Params:
        init_key, noise_key = jax.random.split(key)
        params = self.imitation.policy.init(init_key)
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(noise_key, len(leaves))
        drawn = [
            self.scale * (jax.random.normal(k, leaf.shape, leaf.dtype) if leaf.ndim == 1 else leaf)
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, drawn)
