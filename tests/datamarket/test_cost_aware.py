"""Prices where discovery has a cost."""

import numpy as np
import pytest

from jaxrl_suite.datamarket import Market, cost_aware, instance, portfolio, scenarios
from jaxrl_suite.errors import UserError


def tiny(cost=0.02, seed=0):
    return scenarios.climbing_market(3, 4, 5, cost=cost, seed=seed)


def free_curve(market):
    sets, weights = instance.exact_sets(market)
    problem = instance.instance_of_sets(market.valuations, sets, market.prior, weights)
    return problem, portfolio.price_curve(problem, starts=32, steps=200, perturbation_restarts=4)


def test_without_cost_it_is_the_revenue_of_sets():
    market = tiny(cost=0.0)
    problem, free = free_curve(market)
    lower = instance.shaved(free.prices, 1e-3)  # float32 resolves no exact ties
    assert cost_aware.expected_revenue(market, lower) == pytest.approx(instance.revenue(problem, lower), abs=1e-5)


def test_result_is_no_worse_than_its_starts_and_near_the_best_of_a_grid():
    market = tiny()
    _, free = free_curve(market)
    starts = np.stack([instance.shaved(free.prices, 1e-3), 0.5 * market.valuations.max(0)])
    found = cost_aware.price_with_cost(market, starts, steps=150)
    assert found.revenue >= cost_aware.expected_revenue(market, starts).max() - 1e-6
    assert found.revenue == pytest.approx(float(cost_aware.expected_revenue(market, found.prices)), abs=1e-6)
    levels = [*np.linspace(0.05, 1.0, 12), np.inf]
    grid = np.stack(np.meshgrid(*[levels] * 4, indexing="ij"), -1).reshape(-1, 4)
    assert found.revenue >= cost_aware.expected_revenue(market, grid).max() - 1e-4


def test_the_worst_scenario_is_what_counts():
    cheap, dear = tiny(0.005), tiny(0.08).replace(prior=[0.6, 0.3, 0.1])
    starts = np.stack([0.5 * cheap.valuations.max(0), 0.3 * cheap.valuations.max(0)])
    robust = cost_aware.price_with_cost([cheap, dear], starts, steps=100, rounds=4)
    alone = cost_aware.price_with_cost(cheap, starts, steps=100, rounds=4)
    assert robust.revenue == pytest.approx(robust.revenues.min())
    assert robust.revenue >= min(float(cost_aware.expected_revenue(m, alone.prices)) for m in (cheap, dear)) - 1e-3


def test_a_low_price_is_found_from_a_high_one():
    market = Market([1.0], [1.0], np.zeros((0, 1, 1)), [[0.25], [1.0]], [0.9, 0.1])
    found = cost_aware.price_with_cost(market, np.array([[1.0]]), steps=0)
    assert found.prices[0] == pytest.approx(0.25, abs=1e-5)
    assert found.revenue == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize(
    ("starts", "options", "message"),
    [
        (np.full((1, 4), np.nan), {}, r"prices\[0, 0\] is nan"),
        (np.full((2, 3), 0.5), {}, r"shape \[..., 4\]"),
        (np.zeros((0, 4)), {}, "at least one curve"),
        (np.zeros((1, 4)), dict(candidates=1), "candidates at least 2"),
        (np.zeros((1, 4)), dict(keep=0), "keep at least 1"),
        (np.zeros((1, 4)), dict(steps=-1), "steps and rounds"),
    ],
)
def test_arguments_are_checked(starts, options, message):
    with pytest.raises(UserError, match=message):
        cost_aware.price_with_cost(tiny(), starts, **options)


def test_scenarios_must_have_one_shape():
    with pytest.raises(ValueError, match="differ in"):
        cost_aware.price_with_cost([tiny(), scenarios.climbing_market(3, 5, 5)], np.zeros((1, 4)))
    with pytest.raises(ValueError, match="at least one"):
        cost_aware.price_with_cost([], np.zeros((1, 4)))
