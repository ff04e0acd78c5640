"""Orders of points as sequential decisions: the area under the utility of the growing set, and its exact maximum.

The state is the set chosen so far, the action the next point, and the reward the utility of the set with it. The mean
reward of an order is its AUSC, the area under the selection curve.

Shapes: `N` points; a table is float[2^N], bit i of its index saying whether point i is in.

Reference: arXiv 2502.04554, section 3: V(s) = max over a of U(s + a) + V(s + a), V(all) = 0, and AUSC* = V(none) / N.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jaxrl_suite.datavalue.semivalues import check_table
from jaxrl_suite.datavalue.utilities import Utility, evaluate
from jaxrl_suite.errors import UserError


class OrderSolution(NamedTuple):
    """The exact optimum."""

    order: np.ndarray  # int64[N], the points as they are chosen; the lowest number among equals
    ausc: float
    value: np.ndarray  # float64[2^N], the best sum of rewards still to come from each set


def solve_order(table: ArrayLike) -> OrderSolution:
    """The best order, by dynamic programming over all sets, the larger ones first.

    Args:
      table: float[2^N]; the value of the empty set does not matter.

    Raises:
      UserError: if it is not a finite table of all subsets.
    """
    table, n = check_table(table)
    codes = np.arange(1 << n, dtype=np.int32)
    layers = np.argsort(np.bitwise_count(codes), kind="stable").astype(np.int32)
    ends = np.cumsum(np.bincount(np.bitwise_count(codes)))
    after = table.copy()  # U(s) + V(s), what reaching a set is worth
    for size in range(n - 1, -1, -1):
        sets = layers[ends[size - 1] if size else 0 : ends[size]]
        best = np.full(len(sets), -np.inf)
        for point in range(n):
            with_point = sets | np.int32(1 << point)
            np.maximum(best, np.where(with_point != sets, after[with_point], -np.inf), out=best)
        after[sets] += best
    value = after - table
    order, state = [], 0
    for _ in range(n):
        options = [point for point in range(n) if not state >> point & 1]
        order.append(max(options, key=lambda point: after[state | 1 << point]))
        state |= 1 << order[-1]
    return OrderSolution(np.array(order), float(value[0] / n), value)


def optimal_values(order: ArrayLike) -> np.ndarray:
    """float64[N]: data values N - t, where t is the step, from 1, in which the order takes the point."""
    order = check_order(order)
    values = np.empty(len(order))
    values[order] = np.arange(len(order) - 1, -1, -1)
    return values


def rank_order(values: ArrayLike) -> np.ndarray:
    """int64[N]: points from the highest value to the lowest, the lowest number among equals."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise UserError(f"values must be finite, one a point, got shape {values.shape}: drop points without a value")
    return np.argsort(-values, kind="stable")


def prefix_masks(order: ArrayLike) -> np.ndarray:
    """bool[N, N]: row k holds the first k + 1 points of the order."""
    order = check_order(order)
    return np.argsort(order)[None, :] <= np.arange(len(order))[:, None]


def table_curve(table: ArrayLike, order: ArrayLike) -> np.ndarray:
    """float64[N]: utility of each prefix, from a table; its mean is the AUSC."""
    table, n = check_table(table)
    order = check_order(order)
    if len(order) != n:
        raise UserError(f"the table is of {n} points and the order of {len(order)}")
    return table[np.cumsum(1 << order)]


def addition_curve(utility: Utility, order: ArrayLike, *, batch: int = 128, mesh: Mesh | None = None) -> np.ndarray:
    """float64[N]: utility after each point is added; its mean is the AUSC."""
    return evaluate(utility, prefix_masks(order), batch=batch, mesh=mesh)


def removal_curve(utility: Utility, order: ArrayLike, *, batch: int = 128, mesh: Mesh | None = None) -> np.ndarray:
    """float64[N]: utility before any and after each but the last point is removed, in this order."""
    masks = np.concatenate([np.ones((1, len(check_order(order))), bool), ~prefix_masks(order)[:-1]])
    return evaluate(utility, masks, batch=batch, mesh=mesh)


def check_order(order: ArrayLike) -> np.ndarray:
    """int64[N]: the order, if it names each point once.

    Raises:
      UserError: if it does not.
    """
    order = np.asarray(order)
    if order.ndim != 1 or order.dtype.kind not in "iu" or not np.array_equal(np.sort(order), np.arange(len(order))):
        raise UserError("an order must name each point from 0 on exactly once")
    return order.astype(np.int64)
