"""Price curves by a portfolio of methods, none of which is always best, with an upper bound beside the result.

Coordinate ascent gets stuck where several prices must move together, and annealing where a softened choice points the
wrong way; ascending what annealing found, kicking it and ascending again covers both. Where types are ordered, dynamic
programming is exact. The integer program is the certificate, for when there is time for one.

Shapes: `Q` metrics, `B` price curves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxrl_suite.datamarket import baselines, line_search
from jaxrl_suite.datamarket.annealing import anneal
from jaxrl_suite.datamarket.instance import Instance, ceiling, choose, revenue
from jaxrl_suite.datamarket.patterns import polish
from jaxrl_suite.datamarket.programs import lottery_bound, solve_program
from jaxrl_suite.datamarket.single_crossing import is_single_crossing, solve_single_crossing
from jaxrl_suite.errors import UserError


class Priced(NamedTuple):
    """A posted price curve and what is known about it."""

    prices: np.ndarray  # float[Q]; inf where nobody would buy, so a model need not be for sale
    revenue: float  # expected, a buyer
    bound: float  # no price curve earns more
    method: str  # which part of the portfolio found it
    optimal: bool  # whether it was proved to be so
    by_stage: dict[str, float]  # best revenue after each part

    @property
    def gap(self) -> float:
        """The bound's excess over the revenue, as a share of the bound."""
        return max(0.0, (self.bound - self.revenue) / self.bound) if self.bound > 0 else 0.0


def price_curve(
    instance: Instance,
    *,
    seed: int = 0,
    starts: int = 64,
    steps: int = 600,
    perturbation_restarts: int = 20,
    certify: int = 0,
    bound: bool = True,
) -> Priced:
    """Prices the models of an instance.

    Args:
      instance: the pricing problem.
      seed: of starts and perturbations.
      starts: curves in a batch.
      steps: of annealing; 0 leaves it out.
      perturbation_restarts: rounds of redrawing some prices of the best curves and ascending again.
      certify: nodes for the integer program, which may improve on the rest; 0 leaves it out.
      bound: whether to compute the lottery bound (one linear program a set).

    Returns:
      The best curve of all, never worse than any baseline.

    Raises:
      UserError: if an argument is out of range.
    """
    if starts < 8 or steps < 0 or perturbation_restarts < 0 or certify < 0:
        raise UserError("starts must be 8 or more; steps, perturbation_restarts and certify at least 0")
    rng = np.random.default_rng(seed)
    revenue_by_stage: dict[str, float] = {}
    best, method = np.zeros(instance.num_metrics), "none"
    value = float(revenue(instance, best))

    def offer(name: str, curves: np.ndarray) -> None:
        nonlocal best, method, value
        earned = revenue(instance, curves)
        top = int(np.argmax(earned))
        if earned[top] > value + 1e-9 * instance.scale:
            best, method, value = curves[top], name, float(earned[top])
        revenue_by_stage[name] = max(float(earned[top]), revenue_by_stage.get(name, -np.inf))

    simple = np.stack([rule(instance) for rule in baselines.BASELINES.values()])
    offer("baselines", simple)
    exact = is_single_crossing(instance)
    if exact:
        offer("single crossing", solve_single_crossing(instance).prices[None])
    else:
        pool = np.concatenate([simple, line_search.random_prices(instance, rng, starts - len(simple))])
        lines = polish(instance, line_search.ascend(instance, pool, rng))
        offer("line search", lines)
        if steps:
            soft = polish(instance, anneal(instance, pool, steps=steps))
            offer("annealing", soft)
            lines = np.concatenate([lines, polish(instance, line_search.ascend(instance, soft, rng))])
            offer("annealing, line search", lines)
        for _ in range(perturbation_restarts):
            elite = _elite(instance, lines, starts // 4)
            perturbed = line_search.perturb(instance, np.repeat(elite, 2, 0), rng, rng.choice([0.05, 0.2, 0.4]))
            lines = np.concatenate([elite, polish(instance, line_search.ascend(instance, perturbed, rng))])
            offer("perturbation restarts", lines)
    limit = value if exact else ceiling(instance)
    if bound and not exact and not instance.forced:
        limit = min(limit, lottery_bound(instance))
    if certify and not exact:
        proof = solve_program(instance, nodes=certify)
        limit = min(limit, max(proof.bound, value))
        if proof.prices is not None:
            offer("integer program", polish(instance, proof.prices[None]))
            exact = proof.closed and value >= proof.revenue - 1e-7 * instance.scale
    if not instance.forced:
        best = np.where(np.isin(np.arange(1, best.size + 1), choose(instance, best).item), best, np.inf)
    return Priced(best, value, max(limit, value), method, exact or limit <= value * (1 + 1e-9), revenue_by_stage)


def _elite(instance: Instance, curves: np.ndarray, count: int) -> np.ndarray:
    """The best curves, no revenue twice, best first."""
    earned = np.round(revenue(instance, curves) / instance.scale, 10)
    _, first = np.unique(-earned, return_index=True)
    return curves[first[:count]]
