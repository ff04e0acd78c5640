"""Markets and instances that experiments and tests share; the published ones were not released.

Reference: arXiv 2310.17843, section 6: 10 metrics from 91 % to 100 %, 5 types, 15 periods; its valuations are not in
the text, so these have its sizes and not its numbers.
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.datamarket.instance import Instance, instance_of_sets
from jaxrl_suite.datamarket.market import Market
from jaxrl_suite.errors import UserError, suggest

PRIORS = ("uniform", "random", "slight skew", "high skew", "extreme")


def climbing_market(
    num_types: int = 5, num_metrics: int = 10, horizon: int = 15, *, cost: float = 0.01, seed: int = 0
) -> Market:
    """Discovery that climbs and sometimes falls back, and types that each want at least another metric.

    A type gains little below the metric that it needs and little more above it, so types stop at different times, which
    is what makes the prior learnable.

    Args:
      num_types: H, at most as many as metrics.
      num_metrics: Q.
      horizon: T.
      cost: of a period, where the highest valuation is about 1.
      seed: of the valuations.
    """
    if not 1 <= num_types <= num_metrics:
        raise UserError(f"num_types must be 1 to num_metrics ({num_metrics}), got {num_types}")
    if horizon < 1:
        raise UserError(f"horizon must be at least 1, got {horizon}: a period has to reveal something")
    rng = np.random.default_rng(seed)
    size = num_metrics
    law = np.zeros((size, size))
    for q in range(size):
        for move, chance in ((-1, 0.05), (0, 0.25), (1, 0.7)):
            law[q, min(max(q + move, 0), size - 1)] += chance
    initial = np.zeros(size)
    initial[: min(3, size)] = (0.6, 0.3, 0.1)[: min(3, size)]
    needs = np.linspace(0, size - 1, num_types).round().astype(int)
    grid = np.arange(size)
    values = 0.05 * grid[None] / size + (0.3 + 0.7 * grid[needs] / size)[:, None] * (grid[None] >= needs[:, None])
    values *= rng.uniform(0.95, 1.05, (num_types, 1))
    return Market(
        metrics=np.linspace(1 - 0.01 * (size - 1), 1, size),
        initial=initial / initial.sum(),
        transitions=np.repeat(law[None], horizon - 1, 0),
        valuations=values,
        prior=np.full(num_types, 1 / num_types),
        cost=cost,
    )


def prior_of(name: str, num_types: int, seed: int = 0) -> np.ndarray:
    """float[H]: a prior of the published experiment; "random" is drawn, the Beta laws are put on a grid.

    Raises:
      UserError: if there is no such prior.
    """
    if name not in PRIORS:
        raise UserError(f"unknown prior {name!r}{suggest(name, PRIORS)}")
    place = (np.arange(num_types) + 0.5) / num_types
    weights = {
        "uniform": np.ones(num_types),
        "random": np.random.default_rng(seed).dirichlet(np.ones(num_types)),
        "slight skew": place * (1 - place) ** 2,  # Beta(2, 3)
        "high skew": (1 - place) ** 4,  # Beta(1, 5)
        "extreme": np.where(np.arange(num_types) == 0, 1.0, 0.02),
    }[name]
    return weights / weights.sum()


def random_instance(num_types: int, num_metrics: int, num_sets: int, seed: int = 0) -> Instance:
    """Valuations uniform in [0, 1], rising with the metric; one set means that everything is on offer.

    Args:
      num_types: H.
      num_metrics: Q.
      num_sets: S; more than one are drawn without replacement, each metric in each with probability 1/2.
      seed: of both.
    """
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(size=(num_types, num_metrics)), 1)
    if num_sets == 1:
        return instance_of_sets(values, np.ones((1, num_metrics), bool))
    if num_sets > 2**num_metrics - 1:
        raise UserError(f"{num_metrics} metrics have {2**num_metrics - 1} sets that are not empty, not {num_sets}")
    codes = 1 + rng.choice(2**num_metrics - 1, num_sets, replace=False)
    return instance_of_sets(values, (codes[:, None] >> np.arange(num_metrics) & 1).astype(bool))
