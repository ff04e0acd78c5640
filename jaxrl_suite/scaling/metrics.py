"""Metrics of inference scaling: the unbiased pass@k, and success by what was spent.

Shapes: `P` problems, `R` searches (a problem and seed each), `B` budgets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.core import stats
from jaxrl_suite.errors import UserError
from jaxrl_suite.scaling.records import SOLVED, ScalingResult

AXES = ("samples", "requests", "output_tokens", "total_tokens")  # of what a search spends, as in `llm.protocol.Usage`


def pass_at_k(samples: ArrayLike, solved: ArrayLike, k: int) -> np.ndarray:
    """Unbiased estimate, for each problem, that one of k independent samples is right: 1 - C(n - c, k) / C(n, k).

    It holds for exchangeable samples alone: those of an adaptive search depend on each other, see `success_by_budget`.

    Args:
      samples: int[P], n, samples of each problem.
      solved: int[P], c, right ones among them.
      k: at least 1.

    Returns:
      float64[P].

    Raises:
      UserError: if a problem has fewer than k samples, or counts do not fit.
    """
    n, c = (np.asarray(array) for array in (samples, solved))
    if k < 1 or n.shape != c.shape or (c < 0).any() or (c > n).any():
        raise UserError("give k of at least 1 and as many counts of right samples, each 0 to its number of samples")
    if (n < k).any():
        few = int(np.argmax(n < k))
        raise UserError(f"problem {few} has {n[few]} samples, which say nothing of {k}: draw more, or take a smaller k")
    miss = np.ones(n.shape)
    for i in range(k):  # C(n - c, k) / C(n, k) as a product of ratios
        miss *= np.clip((n - c - i) / (n - i), 0.0, 1.0)
    return 1.0 - miss


def success_by_budget(costs: Sequence[float], budgets: ArrayLike) -> np.ndarray:
    """Success of each search by each budget.

    Args:
      costs: [R], what was spent when it was solved; inf where it was not.
      budgets: float[B].

    Returns:
      bool[R, B].
    """
    return np.asarray(costs, np.float64)[:, None] <= np.asarray(budgets, np.float64)[None, :]


def paired_gain(treatment: np.ndarray, control: np.ndarray) -> stats.Interval:
    """Difference of two shares float64[P, seeds] of the same searches, its interval over problems; none for one."""
    if len(treatment) < 2:
        difference = float(treatment.mean() - control.mean())
        return stats.Interval(difference, difference, difference)
    found = stats.paired_bootstrap(treatment.mean(axis=1), control.mean(axis=1))
    return stats.Interval(*(round(value, 12) + 0.0 for value in found))  # a difference of equal means is 0, not -0


def tokens_to_solve(result: ScalingResult) -> float:
    """Output tokens that a search had drawn when it first had a whole reward; inf if it never had."""
    total = 0
    for visit in result.visits:
        for solution in visit.solutions:
            total += len(solution.tokens) - len(visit.prefix)
            if solution.reward >= SOLVED:
                return float(total)
    return float("inf")
