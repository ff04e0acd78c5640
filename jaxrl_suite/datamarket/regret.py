"""Regret of pricing with estimates: revenue lost against prices for the true prior and the true chain.

An error in the prior is harmless: revenue at fixed prices is linear in the prior and at most the highest price, so the
loss is at most twice that price times the error's 1-norm. An error in the chain has no such bound: revenue jumps where
a tie flips what a buyer does, so the published O(eps) needs every buyer to prefer what it does by a margin.

Reference: arXiv 2310.17843, theorem 5.2 ("CEE", commitment estimation error).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxrl_suite.datamarket.instance import Instance, revenue
from jaxrl_suite.datamarket.portfolio import price_curve
from jaxrl_suite.errors import UserError


def commitment_error(truth: Instance, estimate: Instance, **options: Any) -> float:
    """Revenue lost by committing to prices for an estimate.

    Args:
      truth: the true instance.
      estimate: with other prior, sets or weights, and the same metrics and types.
      options: of `price_curve`, for both.

    Returns:
      The loss; slightly negative only where the portfolio misses the true optimum.

    Raises:
      UserError: if the instances differ in metrics or types.
    """
    if truth.valuations.shape != estimate.valuations.shape:
        raise UserError(
            f"the estimate is for {list(estimate.valuations.shape)} types and metrics, the truth for "
            f"{list(truth.valuations.shape)}: estimate the same market"
        )
    best = price_curve(truth, bound=False, **options)
    posted = price_curve(estimate, bound=False, **options).prices
    posted = np.where(np.isfinite(posted), posted, truth.highest)
    return best.revenue - float(revenue(truth, posted))


def prior_bound(truth: Instance, estimate: np.ndarray) -> float:
    """The most that an estimate float[H] of the prior can cost, with all else known."""
    return 2 * float(truth.highest.max()) * float(np.abs(truth.prior - np.asarray(estimate)).sum())
