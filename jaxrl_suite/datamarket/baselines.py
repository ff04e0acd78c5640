"""The published pricing rules that an optimal curve is measured against.

Each is at least as good as the one it starts from, in the sample it is fitted to, by construction.

Shapes: `Q` metrics, `H` types.

Reference: arXiv 2310.17843, section 6.2.
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.datamarket.instance import Instance, revenue


def independent(instance: Instance) -> np.ndarray:
    """float[Q]: for each metric the price that would earn most if it were the only one."""
    prices = np.zeros(instance.num_metrics)
    for metric, values in enumerate(instance.valuations.T):
        tried = np.minimum(values, instance.highest[metric])
        earned = tried * ((values[None] >= tried[:, None]) @ instance.prior)
        prices[metric] = tried[np.argmax(earned)]
    return prices


def single(instance: Instance) -> np.ndarray:
    """float[Q]: the best price that is the same for every metric."""
    tried = np.unique(np.minimum(instance.valuations, instance.highest))
    curves = np.broadcast_to(tried[:, None], (tried.size, instance.num_metrics))
    return curves[np.argmax(revenue(instance, curves))].copy()


def shift(instance: Instance) -> np.ndarray:
    """float[Q]: the independent prices, all moved by the same number of ranks among the types' valuations."""
    ladder = _ladder(instance)
    ranks = _ranks(ladder, independent(instance))
    tried = [np.clip(ranks + k, 0, len(ladder) - 1) for k in range(-instance.num_types, instance.num_types + 1)]
    curves = np.take_along_axis(ladder, np.array(tried), 0)
    return curves[np.argmax(revenue(instance, curves))]


def jiggle(instance: Instance) -> np.ndarray:
    """float[Q]: from the shifted prices, one pass in which each price tries every valuation of its metric."""
    prices = shift(instance)
    value = revenue(instance, prices)
    for metric in range(instance.num_metrics):
        tried = np.unique(np.minimum(instance.valuations[:, metric], instance.highest[metric]))
        curves = np.repeat(prices[None], tried.size, 0)
        curves[:, metric] = tried
        found = revenue(instance, curves)
        if found.max() > value:
            prices, value = curves[np.argmax(found)], found.max()
    return prices


BASELINES = {"single": single, "independent": independent, "shift": shift, "jiggle": jiggle}


def _ladder(instance: Instance) -> np.ndarray:
    """float[H, Q]: the types' valuations of each metric, sorted."""
    return np.sort(np.minimum(instance.valuations, instance.highest), 0)


def _ranks(ladder: np.ndarray, prices: np.ndarray) -> np.ndarray:
    return np.argmin(np.abs(ladder - prices), 0)
