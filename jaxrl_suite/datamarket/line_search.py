"""Coordinate ascent with an exact line search: one price at a time, the others fixed.

Revenue as a function of one price rises linearly while nobody changes its mind, so its maxima lie at the prices at
which some buyer is indifferent between this item and its best other option. All of these are tried, for a batch of
price curves at once.

Shapes: `Q` metrics, `H` types, `S` sets, `B` price curves.
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.datamarket.instance import Instance, choose, in_parts, revenue


def best_price(instance: Instance, prices: np.ndarray, metric: int) -> np.ndarray:
    """float[B]: for each curve, a best price of one metric given the others'.

    Args:
      instance: the pricing problem.
      prices: float[B, Q].
      metric: whose price is free.
    """
    without = prices.copy()
    without[:, metric] = np.inf
    others = choose(instance, without)
    alone = others.surplus < -instance.scale  # forced, and nothing else in the set
    limit = instance.highest[metric]
    keen = instance.valuations[:, metric, None] - others.surplus  # [B, H, S], the price of indifference
    keen = np.where(alone & instance.forced, limit, keen)
    offered = np.broadcast_to(instance.sets[None, None, :, metric], keen.shape)
    keen = np.where(offered, np.minimum(keen, limit), -np.inf).reshape(len(prices), -1)
    mass = np.broadcast_to(instance.mass, others.payment.shape).reshape(len(prices), -1)
    kept_payment = mass * np.where(alone, 0.0, others.payment).reshape(len(prices), -1)
    order = np.argsort(-keen, axis=1, kind="stable")
    keen, mass, kept_payment = (np.take_along_axis(array, order, 1) for array in (keen, mass, kept_payment))
    total = kept_payment.sum(1, keepdims=True)
    gained = np.where(
        keen > 0, np.maximum(keen, 0.0) * np.cumsum(mass, 1) + total - np.cumsum(kept_payment, 1), -np.inf
    )
    best = np.argmax(gained, 1)[:, None]
    value = np.take_along_axis(gained, best, 1)[:, 0]
    price = np.take_along_axis(keen, best, 1)[:, 0]
    return np.where(value > total[:, 0], price, limit if instance.forced else np.inf)


def ascend(instance: Instance, starts: np.ndarray, rng: np.random.Generator, rounds: int = 30) -> np.ndarray:
    """Coordinate ascent from many starts, until no single price can be improved.

    Args:
      instance: the pricing problem.
      starts: float[B, Q].
      rng: draws the order of the coordinates.
      rounds: over all coordinates, at most.

    Returns:
      float[B, Q], nowhere worse than its start.
    """
    parts = in_parts(instance, np.asarray(starts, np.float64))
    if len(parts) > 1:
        return np.concatenate([ascend(instance, part, rng, rounds) for part in parts])
    prices = np.minimum(np.array(starts, np.float64), instance.highest if instance.forced else np.inf)
    value = revenue(instance, prices)
    active = np.arange(len(prices))
    for _ in range(rounds):
        before = value[active].copy()
        for metric in rng.permutation(instance.num_metrics):
            tried = prices[active]
            tried[:, metric] = best_price(instance, tried, int(metric))
            found = revenue(instance, tried)
            better = found > value[active] + 1e-12 * instance.scale
            prices[active[better]], value[active[better]] = tried[better], found[better]
        active = active[value[active] > before + 1e-10 * instance.scale]
        if not len(active):
            break
    return prices


def perturb(instance: Instance, prices: np.ndarray, rng: np.random.Generator, strength: float = 0.3) -> np.ndarray:
    """float[B, Q]: each curve with some of its prices redrawn, to leave a local optimum."""
    redrawn = rng.random(prices.shape) < strength
    redrawn[np.arange(len(prices)), rng.integers(0, prices.shape[1], len(prices))] = True
    return np.where(redrawn, random_prices(instance, rng, len(prices)), prices)


def random_prices(instance: Instance, rng: np.random.Generator, count: int) -> np.ndarray:
    """float[count, Q]: each price a random type's valuation, scaled by a factor that the curve shares."""
    types = rng.integers(0, instance.num_types, (count, instance.num_metrics))
    values = instance.valuations[types, np.arange(instance.num_metrics)]
    return np.minimum(values * rng.uniform(0.3, 1.0, (count, 1)), instance.highest)
