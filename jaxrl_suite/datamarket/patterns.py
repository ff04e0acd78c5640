"""Best prices for a fixed choice of every buyer, and with it the optimum of tiny instances by brute force.

If it is fixed which item every type takes in every set, the constraints that make this a best response all read
`x_q <= x_r + w` or `x_q <= u`, and revenue rises in every price. So the linear program has a solution that is largest
in every price at once: the shortest paths from a source, of all curves in one batch, and no LP solver is needed.

Shapes: `Q` metrics, `H` types, `S` sets, `B` patterns.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from jaxrl_suite.datamarket.instance import Instance, choose, in_parts, revenue
from jaxrl_suite.errors import UserError


class Oracle(NamedTuple):
    """The optimum of a tiny instance."""

    prices: np.ndarray  # float[Q]
    revenue: float
    patterns: int  # how many were tried


def largest_prices(instance: Instance, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest prices at which given choices are best responses.

    Args:
      instance: the pricing problem.
      items: int[B, H, S], 0 for leaving; each in its set.

    Returns:
      float[B, Q] prices and bool[B], whether they exist; without them the prices mean nothing.
    """
    size, count = instance.num_metrics, len(items)
    values, sets = instance.valuations, instance.sets
    step = np.full((count, size, size), np.inf)  # x_q <= x_r + step[q, r]
    upper = np.broadcast_to(instance.highest, (count, size)).copy()
    lower = np.zeros((count, size))
    for q in range(size):
        taken = items == q + 1  # [B, H, S]
        if not instance.forced:
            keen = np.where(taken.any(2), values[None, :, q], np.inf).min(1)
            upper[:, q] = np.minimum(upper[:, q], keen)
        for r in range(size):
            both = (taken & sets[None, None, :, r]).any(2)
            if r != q:
                step[:, q, r] = np.where(both, values[None, :, q] - values[None, :, r], np.inf).min(1)
        left = ((items == 0) & sets[None, None, :, q]).any(2)
        lower[:, q] = np.where(left, values[None, :, q], 0.0).max(1)
    prices = upper
    for _ in range(size):
        prices = np.minimum(prices, (prices[:, None] + step).min(2))
    settled = prices <= (prices[:, None] + step).min(2) + 1e-9 * instance.scale  # else a cycle of negative length
    return prices, (settled & (prices >= lower - 1e-9 * instance.scale)).all(1)


def polish(instance: Instance, prices: np.ndarray, rounds: int = 5) -> np.ndarray:
    """Raises prices to the largest that keep the choices they induce, and keeps them only where revenue rises.

    Raising them may change choices at ties, which is why revenue is checked, and why it is worth doing again.

    Args:
      instance: the pricing problem.
      prices: float[B, Q].
      rounds: at most.

    Returns:
      float[B, Q], nowhere worse.
    """
    parts = in_parts(instance, np.asarray(prices, np.float64))
    if len(parts) > 1:
        return np.concatenate([polish(instance, part, rounds) for part in parts])
    prices = np.array(prices, np.float64)
    value = revenue(instance, prices)
    for _ in range(rounds):
        raised, exist = largest_prices(instance, choose(instance, prices).item)
        revenues = np.where(exist, revenue(instance, np.where(exist[:, None], raised, prices)), -np.inf)
        better = revenues > value + 1e-12 * instance.scale
        if not better.any():
            break
        prices[better], value[better] = raised[better], revenues[better]
    return prices


def brute_force(instance: Instance, most: int = 1 << 18) -> Oracle:
    """The exact optimum, by trying every pattern of choices.

    Args:
      instance: at most a handful of types, sets and metrics.
      most: patterns that may be tried.

    Raises:
      UserError: if there are more.
    """
    outside = [] if instance.forced else [0]
    options = [outside + [int(q) + 1 for q in np.flatnonzero(s)] for s in instance.sets] * instance.num_types
    count = int(np.prod([float(len(option)) for option in options]))
    if count > most:
        raise UserError(f"{count} patterns are more than {most}: use the integer program on an instance of this size")
    shape = (-1, instance.num_types, len(instance.sets))
    items = np.array(list(itertools.product(*options)), np.int64).reshape(shape)
    best, best_prices = -np.inf, instance.highest
    for part in np.array_split(items, max(1, count // 20_000)):
        prices, exist = largest_prices(instance, part)
        paid = np.concatenate([np.zeros((len(part), 1)), prices], 1)[np.arange(len(part))[:, None, None], part]
        found = np.where(exist, (instance.mass * paid).sum((1, 2)), -np.inf)
        if found.max() > best:
            best, best_prices = float(found.max()), prices[np.argmax(found)]
    return Oracle(best_prices, best, count)
