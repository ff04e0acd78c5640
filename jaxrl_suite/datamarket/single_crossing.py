"""The exact optimum by dynamic programming where types are ordered: a higher type gains more from a better metric.

With everything on offer, type i taking item q_i, nondecreasing in i, the best prices make every type indifferent to the
item of the type below it. Revenue is then a sum over types, `sum_i tail_i (V_i(q_i) - V_i(q_{i-1}))`, with tail_i the
mass of the types from i on.

Shapes: `Q` metrics, `I = Q + 1` items, `H` types.

Reference: the screening problem of Mussa and Rosen, "Monopoly and product quality" (1978), on finite sets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxrl_suite.datamarket.instance import Instance
from jaxrl_suite.errors import UserError


class SingleCrossingSolution(NamedTuple):
    """An optimal price curve."""

    prices: np.ndarray  # float[Q]; inf where a model is not sold
    revenue: float


def is_single_crossing(instance: Instance) -> bool:
    """True if `solve_single_crossing` applies: one full set, and types and metrics that can be put in order."""
    return _order(instance) is not None


def solve_single_crossing(instance: Instance) -> SingleCrossingSolution:
    """The exact optimum in `O(H Q^2)`.

    Raises:
      UserError: if types are not ordered, or not everything is on offer.
    """
    order = _order(instance)
    if order is None:
        raise UserError("types do not cross once, or not every metric is on offer: use the portfolio of price_curve")
    types, metrics = order
    values = np.concatenate([np.zeros((len(types), 1)), instance.valuations[types][:, metrics]], 1)  # [H, I]
    tails = np.cumsum(instance.prior[types][::-1])[::-1]
    size = values.shape[1]
    best = np.full(size, -np.inf)
    best[0] = 0.0
    came = np.zeros((len(types), size), int)
    for i, tail in enumerate(tails):
        gained = best[:, None] + tail * (values[i][None] - values[i][:, None])  # [from, to]
        gained = np.where(np.triu(np.ones((size, size), bool)), gained, -np.inf)
        came[i], best = np.argmax(gained, 0), gained.max(0)
    item = int(np.argmax(best))
    path = [item]
    for i in range(len(types) - 1, -1, -1):
        item = int(came[i, item])
        path.append(item)
    path = path[::-1]  # of the lowest type's item below, then of each type
    prices, paid = np.full(instance.num_metrics, np.inf), 0.0
    for i in range(len(types)):
        if path[i + 1] != path[i]:
            paid += values[i, path[i + 1]] - values[i, path[i]]
            prices[metrics[path[i + 1] - 1]] = paid
    return SingleCrossingSolution(prices, float(best.max()))


def _order(instance: Instance) -> tuple[np.ndarray, np.ndarray] | None:
    """Orders of types and metrics along which gains increase; None if there are none."""
    if instance.forced or len(instance.sets) != 1 or not instance.sets.all():
        return None
    if instance.cap is not None and instance.cap < instance.valuations.max():
        return None
    types = np.argsort(instance.valuations.sum(1), kind="stable")
    lowest, *_, highest = instance.valuations[[types[0], *types]]
    metrics = np.lexsort((instance.valuations.sum(0), highest - lowest))  # what rises most with the type is last
    values = np.concatenate([np.zeros((len(types), 1)), instance.valuations[types][:, metrics]], 1)
    steps = np.diff(values, axis=1)  # gain of each item over the one below
    ordered = (np.diff(steps, axis=0) >= -1e-12 * instance.scale).all()
    return (types, metrics) if ordered else None
