"""Orders by looking at the true utility: greedy, beam search, and rollout of a base order.

They lie between a ranking by values and the exact dynamic program, and work for any number of points.

Shapes: `N` points, `W` width of the beam.

Reference: Bertsekas, "Rollout, policy iteration, and distributed reinforcement learning" (2020), section 2.3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jaxrl_suite.datavalue.orders import check_order
from jaxrl_suite.datavalue.utilities import Utility, evaluate
from jaxrl_suite.errors import UserError


class BeamOrder(NamedTuple):
    """An order, its utilities and what it took to find it."""

    order: np.ndarray  # int64[N]
    curve: np.ndarray  # float64[N], utility after each step
    fits: int  # distinct utilities asked for


def greedy_order(utility: Utility, num_points: int, *, batch: int = 32, mesh: Mesh | None = None) -> BeamOrder:
    """Takes the point whose set has the highest utility, N (N + 1) / 2 fits; the lowest number among equals."""
    return beam_order(utility, num_points, 1, batch=batch, mesh=mesh)


def beam_order(
    utility: Utility, num_points: int, width: int = 8, *, batch: int = 128, mesh: Mesh | None = None
) -> BeamOrder:
    """Keeps the W sets with the best sums of utilities so far; of two ways to one set only the better.

    A wider beam is not always better, but one as wide as the largest layer of sets is exact.

    Raises:
      UserError: if the width is less than 1.
    """
    if width < 1:
        raise UserError(f"width must be at least 1, got {width}")
    masks, totals, paths = np.zeros((1, num_points), bool), np.zeros(1), [[]]
    curves: list[list[float]] = [[]]
    fits = 0
    for _ in range(num_points):
        rows, points = np.nonzero(~masks)
        children = masks[rows]
        children[np.arange(len(rows)), points] = True
        distinct, where = np.unique(children, axis=0, return_inverse=True)
        where = where.reshape(-1)
        utilities = evaluate(utility, distinct, batch=batch, mesh=mesh)[where]
        fits += len(distinct)
        sums = totals[rows] + utilities
        beam: dict[int, int] = {}  # set to the child that reaches it best
        for child in np.lexsort((points, rows, -sums)):
            if where[child] not in beam:
                beam[int(where[child])] = int(child)
            if len(beam) == width:
                break
        chosen = list(beam.values())
        paths = [[*paths[rows[c]], int(points[c])] for c in chosen]
        curves = [[*curves[rows[c]], float(utilities[c])] for c in chosen]
        masks, totals = children[chosen], sums[chosen]
    return BeamOrder(np.array(paths[0]), np.array(curves[0]), fits)


def rollout_order(utility: Utility, base: ArrayLike, *, batch: int = 256, mesh: Mesh | None = None) -> BeamOrder:
    """Takes the point after which following the base order gives the best sum: never worse than the base order.

    It costs about N^3 / 6 fits.

    Args:
      utility: of the points.
      base: int[N], the order that is followed after each candidate.
    """
    base = check_order(base)
    n, fits = len(base), 0
    chosen: list[int] = []
    curve: list[float] = []
    for _ in range(n):
        rest = [point for point in base if point not in chosen]
        start = np.zeros(n, bool)
        start[chosen] = True
        plans = [[first, *(point for point in rest if point != first)] for first in rest]
        masks = np.stack([_grow(start, plan) for plan in plans])  # [candidates, left, N]
        utilities = evaluate(utility, masks.reshape(-1, n), batch=batch, mesh=mesh).reshape(len(plans), -1)
        fits += utilities.size
        best = int(np.argmax(utilities.sum(axis=1)))  # of equals the base order's own next point
        chosen.append(int(plans[best][0]))
        curve.append(float(utilities[best, 0]))
    return BeamOrder(np.array(chosen), np.array(curve), fits)


def _grow(start: np.ndarray, plan: list[int]) -> np.ndarray:
    """bool[left, N]: the set after each point of the plan."""
    masks = np.repeat(start[None], len(plan), axis=0)
    for step, point in enumerate(plan):
        masks[step:, point] = True
    return masks
