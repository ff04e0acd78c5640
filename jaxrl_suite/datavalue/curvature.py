"""Curvature of a utility, its distance from submodular, and the guarantee that ranking by values has where it is.

Shapes: `N` points; a table is float[2^N], bit i of its index saying whether point i is in.

Reference: arXiv 2502.04554, section 4: for a normalised, monotone, submodular utility of curvature c, each prefix of
the ranking by a semivalue is worth at least (1 - c)^2 of the best set of its size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.datavalue.orders import table_curve
from jaxrl_suite.datavalue.semivalues import check_table


class CurvatureReport(NamedTuple):
    """Properties of a utility of which all subsets are known."""

    curvature: float  # c; NaN where no point alone is worth anything
    normalised: bool  # U(none) = 0
    decreasing: float  # share of pairs (S, S + i) in which adding a point lowers the utility
    supermodular: float  # share of (S, i, j) in which i gains more after j than before
    worst_gain: float  # the largest such excess


def curvature(table: ArrayLike) -> float:
    """c = 1 - min over points of (U(all) - U(all - i)) / (U(i) - U(none)): 0 if additive, 1 if a point adds nothing.

    Points that alone are worth nothing do not count; NaN if none does.
    """
    table, n = check_table(table)
    points = 1 << np.arange(n)
    alone, last = table[points] - table[0], table[-1] - table[(1 << n) - 1 - points]
    worth = np.abs(alone) > 1e-12
    return float(1 - np.min(last[worth] / alone[worth])) if worth.any() else float("nan")


def report(table: ArrayLike, *, tolerance: float = 1e-9) -> CurvatureReport:
    """Counts violations of monotonicity and submodularity; N^2 passes over the table."""
    table, n = check_table(table)
    falls, pairs, gains_up, triples, worst = 0, 0, 0, 0, 0.0
    for i in range(n):
        gain = np.diff(table.reshape(-1, 2, 1 << i), axis=1)[:, 0]
        falls, pairs = falls + int(np.sum(gain < -tolerance)), pairs + gain.size
        flat = gain.reshape(-1)  # indexed by the sets without i, its bit taken out
        for j in range(i):
            excess = np.diff(flat.reshape(-1, 2, 1 << j), axis=1)
            gains_up, triples = gains_up + int(np.sum(excess > tolerance)), triples + excess.size
            worst = max(worst, float(excess.max()))
    return CurvatureReport(
        curvature(table), bool(abs(table[0]) <= tolerance), falls / pairs, gains_up / max(triples, 1), worst
    )


def best_by_size(table: ArrayLike) -> np.ndarray:
    """float64[N]: the highest utility among the sets of each size, 1 to N."""
    table, n = check_table(table)
    best = np.full(n + 1, -np.inf)
    np.maximum.at(best, np.bitwise_count(np.arange(1 << n)), table)
    return best[1:]


def bound_slack(table: ArrayLike, order: ArrayLike) -> np.ndarray:
    """float64[N]: by how much each prefix exceeds (1 - c)^2 times the best set of its size; negative where it fails."""
    table, _ = check_table(table)
    table = table - table[0]
    return table_curve(table, order) - (1 - curvature(table)) ** 2 * best_by_size(table)
