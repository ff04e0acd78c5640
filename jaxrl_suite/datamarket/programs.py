"""Certificates by HiGHS: the optimal prices as a mixed-integer program, and the best lotteries as a linear one.

For every type and set, `z` picks an item and `y` is what is paid; the surplus is `a = sum (v z - y)`:

    max  sum mass y     a >= v_q - x_q for q in the set,   a >= 0,   sum z <= 1,
                        y_q <= min(cap_q, v_q) z_q,   y_q <= x_q,   y_q >= x_q - cap_q (1 - z_q)

The bounds are as tight as they can be without branching, and equal sets are merged before (see `instance`). As
published, `sum z = 1` and the surplus may be negative: everybody buys, and the optimum is whatever the cap allows.
Both are solved in units of the highest valuation, since the solver's tolerances are absolute.

Shapes: `Q` metrics, `H` types, `S` sets.

Reference: arXiv 2310.17843, programs (1) and (8); Briest, Chawla, Kleinberg, Weinberg, "Pricing lotteries" (2015).
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.datamarket.instance import Instance, ceiling, revenue
from jaxrl_suite.errors import UserError

AT_THE_LIMIT = "HiGHS Status 16"  # of nodes; SciPy 1.17 calls it status 4, "not recognized", incumbent or not


class Certificate(NamedTuple):
    """The integer program's prices and proof within its nodes."""

    prices: np.ndarray | None  # float[Q], the incumbent; None if there is none yet
    revenue: float  # of the incumbent, from its prices; -inf if there is none
    bound: float  # no prices earn more than this
    closed: bool  # whether the incumbent was proved optimal

    @property
    def gap(self) -> float:
        """The bound's excess over the incumbent, as a share of the bound."""
        return (self.bound - self.revenue) / self.bound if self.bound > 0 else 0.0


class _Rows:
    """Sparse constraints low <= A x <= high, row by row."""

    def __init__(self):
        self.row, self.column, self.value, self.low, self.high = ([] for _ in range(5))

    def add(self, terms: list[tuple[int, float]], low: float = -np.inf, high: float = np.inf) -> None:
        self.row += [len(self.low)] * len(terms)
        self.column += [column for column, _ in terms]
        self.value += [value for _, value in terms]
        self.low.append(low)
        self.high.append(high)

    def matrix(self, width: int) -> Any:
        from scipy import sparse

        return sparse.csr_array((self.value, (self.row, self.column)), shape=(len(self.low), width))


def solve_program(instance: Instance, *, nodes: int = 10_000, at_least: float | None = None) -> Certificate:
    """Optimal prices by branch and bound.

    Args:
      instance: the pricing problem.
      nodes: of the tree, after which the incumbent and the bound are returned as they are: a limit on work, so that
        the same instance has the same answer on a busy machine. The root alone may take seconds.
      at_least: revenue known to be possible; only better prices are looked for. The solver takes no warm start.

    Returns:
      The incumbent and the bound; with `at_least` and nothing found, `closed` says that nothing better exists.

    Raises:
      UserError: if the solver fails.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    unit = _unit(instance)
    highest = instance.highest / unit
    rows, gain, upper = _Rows(), [], list(highest)
    size, whole = instance.num_metrics, [0] * instance.num_metrics
    for h, values in enumerate(instance.valuations / unit):
        for s, found in enumerate(instance.sets):
            offered = np.flatnonzero(found)
            first = len(upper)
            chosen = {int(q): first + 2 * i for i, q in enumerate(offered)}  # z, and y beside it
            rows.add([(z, 1.0) for z in chosen.values()], low=1.0 if instance.forced else -np.inf, high=1.0)
            surplus = [term for q, z in chosen.items() for term in ((z, values[q]), (z + 1, -1.0))]
            if not instance.forced:
                rows.add(surplus, low=0.0)
            for q, z in chosen.items():
                cap = highest[q]
                most = cap if instance.forced else min(cap, values[q])
                rows.add([*surplus, (q, 1.0)], low=values[q])
                rows.add([(z + 1, 1.0), (z, -most)], high=0.0)
                rows.add([(z + 1, 1.0), (q, -1.0)], high=0.0)
                rows.add([(z + 1, 1.0), (q, -1.0), (z, -cap)], low=-cap)
                upper += [1.0, most]
                whole += [1, 0]
                gain += [(z + 1, instance.mass[h, s])]
    objective = np.zeros(len(upper))
    for column, mass in gain:
        objective[column] = -mass
    if at_least is not None:
        rows.add([(column, mass) for column, mass in gain], low=at_least / unit)
    result = milp(
        objective,
        integrality=np.array(whole),
        bounds=Bounds(0.0, np.array(upper)),  # type: ignore[arg-type]
        constraints=LinearConstraint(rows.matrix(len(upper)), rows.low, rows.high),  # type: ignore[arg-type]
        options={"node_limit": nodes, "mip_rel_gap": 1e-7},
    )
    if result.status == 2 and at_least is not None:
        return Certificate(None, -np.inf, at_least, True)
    if result.status not in (0, 1) and AT_THE_LIMIT not in result.message:
        raise UserError(f"the integer program failed: {result.message}; give it a smaller instance")
    bound = result.get("mip_dual_bound")
    bound = ceiling(instance) if bound is None or not np.isfinite(bound) else -float(bound) * unit
    if result.x is None:
        return Certificate(None, -np.inf, bound, False)
    prices = np.maximum(result.x[:size], 0.0) * unit
    earned = max(float(revenue(instance, prices)), float(_snapped(instance, prices)))
    return Certificate(prices, earned, max(bound, earned), result.status == 0)


def _snapped(instance: Instance, prices: np.ndarray) -> float:
    """Revenue when prices are lowered by the solver's own tolerance, which may lie across a tie."""
    return float(revenue(instance, prices * (1 - 1e-6)))


def _unit(instance: Instance) -> float:
    """The highest valuation, or 1 if all are 0."""
    return float(instance.valuations.max()) or 1.0


def lottery_bound(instance: Instance) -> float:
    """Revenue of the best menu of lotteries for each set by itself: an upper bound on any price curve's.

    A lottery gives each model with a probability, at one price; types pick freely. Over all menus this is a linear
    program, polynomial in the instance, and price curves are menus of it.

    Raises:
      UserError: for a forced purchase, which has no bound, or if the solver fails.
    """
    from scipy.optimize import linprog

    if instance.forced:
        raise UserError("lotteries bound the revenue from buyers who may leave: use an instance without forced=")
    total, unit = 0.0, _unit(instance)
    for found, weight in zip(instance.sets, instance.weights, strict=True):
        values = instance.valuations[:, found] / unit
        types, size = values.shape
        pays = types * size  # z[h, q] first, then what h pays
        rows = _Rows()
        for h in range(types):
            own_terms = [(h * size + q, -values[h, q]) for q in range(size)]
            rows.add([(h * size + q, 1.0) for q in range(size)], high=1.0)
            rows.add([*own_terms, (pays + h, 1.0)], high=0.0)
            for other in range(types):
                if other != h:
                    theirs = [(other * size + q, values[h, q]) for q in range(size)]
                    rows.add([*own_terms, (pays + h, 1.0), *theirs, (pays + other, -1.0)], high=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = linprog(
                np.concatenate([np.zeros(pays), -instance.prior]),
                A_ub=rows.matrix(pays + types),
                b_ub=rows.high,
                bounds=[(0, 1)] * pays + [(0, None)] * types,
                method="highs",
            )
        if result.status != 0:
            raise UserError(f"the lottery program failed: {result.message}; give it a smaller instance")
        total -= weight * result.fun
    return total * unit
