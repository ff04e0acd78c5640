"""KNN-Shapley: exact Shapley values of a nearest-neighbour utility in the time of a sort.

Shapes: `B` masks, `N` points, `D` columns, `M` validation rows.

Reference: Jia et al., "Efficient task-specific data valuation for nearest neighbor algorithms" (VLDB 2019), theorem 1.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular.classifiers import squared_distances
from jaxrl_suite.tabular.datasets import Split


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeighbourUtility:
    """Share 1 / K times the number of the K nearest chosen points that have the right label, on average.

    With fewer than K points chosen the rest of the K votes is lost, so no points are worth 0. Make it with
    `neighbour_utility`.
    """

    matches: jax.Array  # bool[M, N]: whether the point that is n-th nearest has the label of the row
    order: jax.Array  # int32[M, N]: which point is n-th nearest
    k: int = dataclasses.field(metadata={"static": True})

    def __call__(self, masks: jax.Array) -> jax.Array:
        def add(total, row):
            matches, order = row
            there = masks[:, order]
            votes = there & matches[None] & (jnp.cumsum(there, axis=1) <= self.k)
            return total + jnp.sum(votes, axis=1), None

        total, _ = jax.lax.scan(add, jnp.zeros(masks.shape[0], jnp.int32), (self.matches, self.order))
        return total / (self.k * self.matches.shape[0])


def neighbour_utility(split: Split, k: int = 5) -> NeighbourUtility:
    """The utility of the training rows, judged on the validation rows; points at the same distance in their order.

    Raises:
      UserError: if k is less than 1.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, got {k}")
    order = jnp.argsort(squared_distances(jnp.asarray(split.valid_x), jnp.asarray(split.x)), axis=1, stable=True)
    return NeighbourUtility(jnp.asarray(split.y)[order] == jnp.asarray(split.valid_y)[:, None], order, k)


def knn_shapley(utility: NeighbourUtility) -> np.ndarray:
    """float64[N]: exact Shapley values of all points.

    From the farthest point to the nearest, values of neighbours in that order differ by
    (match_i - match_{i+1}) / K * min(K, i) / i.
    """
    matches = np.asarray(utility.matches, np.float64)
    n, k = matches.shape[1], utility.k
    place = np.arange(1, n)
    steps = (matches[:, :-1] - matches[:, 1:]) / k * np.minimum(k, place) / place
    farthest = matches[:, -1:] / max(n, k)
    values = np.concatenate([farthest, farthest + np.cumsum(steps[:, ::-1], axis=1)], axis=1)[:, ::-1]
    by_point = np.empty_like(values)
    np.put_along_axis(by_point, np.asarray(utility.order), values, axis=1)
    return by_point.mean(axis=0)
