"""From tables to a posted menu: searches become a chain of metrics, buyers get valuations, and models get prices.

Shapes: `R` searches, `T` periods, `Q` metrics, `H` types.

Reference: arXiv 2310.17843, figure 1 (the pipeline). Valuations of real buyers are unpublished; `buyers` draws them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxrl_suite.datamarket import cost_aware
from jaxrl_suite.datamarket.instance import Instance, instance_of_sets, revenue, sets_of_trajectories, shaved, welfare
from jaxrl_suite.datamarket.market import Market, as_numbers, smoothed_chain
from jaxrl_suite.datamarket.portfolio import Priced, price_curve
from jaxrl_suite.errors import UserError


class Menu(NamedTuple):
    """The menu that the platform posts, with its expected revenue."""

    market: Market
    instance: Instance  # the pricing problem at negligible cost
    free: Priced  # priced as if discovery were free
    prices: np.ndarray  # float[Q], posted: for buyers who stop optimally at the market's cost
    revenue: float  # exact, of the posted prices
    rows: list[dict[str, float | None]]  # a line a metric; None where a model is not for sale


def rounded_metrics(accuracies: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies on a grid of at most `size` metrics, as buyers are shown them.

    Args:
      accuracies: float[R, T].
      size: of the grid, from the lowest to the highest accuracy.

    Returns:
      float[Q] metrics that occur, and int[R, T] indices.

    Raises:
      UserError: if an accuracy is not finite, or the grid has fewer than 2 places.
    """
    values = as_numbers(accuracies, "accuracies")
    if values.ndim != 2 or not values.size or size < 2:
        raise UserError(f"accuracies must be [R, T] and size at least 2, got {list(values.shape)} and {size}")
    grid = np.linspace(values.min(), values.max(), size)
    nearest = np.abs(values[..., None] - grid).argmin(-1)
    used, index = np.unique(nearest, return_inverse=True)
    return grid[used], index.reshape(values.shape)


def buyers(metrics: np.ndarray, num_types: int, rng: np.random.Generator) -> np.ndarray:
    """float[H, Q]: valuations that rise with the metric, from each type's budget, need and curvature.

    Args:
      metrics: float[Q].
      num_types: H.
      rng: draws the types.
    """
    span = max(float(np.ptp(metrics)), 1e-9)
    place = (np.asarray(metrics) - np.min(metrics)) / span
    budget = np.sort(rng.uniform(0.3, 1.0, num_types))[:, None]
    need = rng.uniform(-0.2, 0.6, (num_types, 1))
    curve = rng.uniform(0.5, 2.0, (num_types, 1))
    return budget * np.clip((place[None] - need) / (1 - need), 0.0, 1.0) ** curve


def post_menu(
    accuracies: np.ndarray,
    *,
    num_types: int = 6,
    num_metrics: int = 8,
    cost: float = 0.01,
    seed: int = 0,
    steps: int = 200,
) -> Menu:
    """Prices the models that searches found.

    Args:
      accuracies: float[R, T] in [0, 1], revealed by each search in each period.
      num_types: H, of buyers drawn with `buyers`.
      num_metrics: of the grid that accuracies are rounded to, at most.
      cost: of a period, where the highest budget is 1.
      seed: of buyers and pricing.
      steps: of each gradient search.

    Raises:
      UserError: if there is no type of buyer, an accuracy lies outside [0, 1], as valuations may, or as
        `rounded_metrics` and `Market`.
    """
    if num_types < 1:
        raise UserError(f"num_types must be at least 1, got {num_types}: somebody has to buy")
    values = as_numbers(accuracies, "accuracies")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        odd = values.min() if values.min() < 0 else values.max()
        raise UserError(
            f"accuracies of searches lie in [0, 1], got {odd:g}: divide percentages by 100; valuations of buyers go "
            "into a Market, which cost_aware and portfolio price"
        )
    metrics, trajectories = rounded_metrics(accuracies, num_metrics)
    values = buyers(metrics, num_types, np.random.default_rng(seed))
    initial, transitions = smoothed_chain(trajectories, len(metrics))
    market = Market(metrics, initial, transitions, values, np.full(num_types, 1 / num_types), cost)
    problem = instance_of_sets(values, sets_of_trajectories(trajectories, len(metrics)), market.prior)
    free = price_curve(problem, seed=seed, starts=32, steps=steps, perturbation_restarts=8)
    starts = np.stack([shaved(free.prices, 1e-3 * values.max()), np.median(values, 0), 0.5 * values.max(0)])
    posted = cost_aware.price_with_cost(market, starts, steps=steps, seed=seed)
    posted = _without_the_unsold(market, posted)
    items = market.prior @ cost_aware.expected_items(market, posted.prices)
    rows: list[dict[str, float | None]] = [
        {
            "metric": float(metrics[q]),
            "price at no cost": _finite(free.prices[q]),
            "price posted": _finite(posted.prices[q]),
            "buyers": float(items[q + 1]),
        }
        for q in range(len(metrics))
    ]
    return Menu(market, problem, free, posted.prices, posted.revenue, rows)


def share_of_welfare(menu: Menu) -> float:
    """Revenue at no cost as a share of what buyers would gain at price 0."""
    most = welfare(menu.instance)
    return float(revenue(menu.instance, menu.free.prices)) / most if most > 0 else 0.0


def _without_the_unsold(market: Market, posted: cost_aware.CostAware) -> cost_aware.CostAware:
    """Takes off the menu what nobody would buy, where that loses nothing."""
    sold = (cost_aware.expected_items(market, posted.prices)[:, 1:] > 1e-6).any(0)
    prices = np.where(sold, posted.prices, np.inf)
    found = float(cost_aware.expected_revenue(market, prices))
    return posted._replace(prices=prices, revenue=found) if found >= posted.revenue - 1e-7 else posted


def _finite(price: float) -> float | None:
    return float(price) if np.isfinite(price) else None
