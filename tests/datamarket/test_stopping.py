"""The buyer's optimal stopping beside brute force, simulation and what must hold of any optimum."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.datamarket import Market, instance, stopping

H, Q, T = 3, 4, 4


def random_market(seed, cost=0.03, horizon=T):
    rng = np.random.default_rng(seed)
    return Market(
        metrics=np.arange(Q),
        initial=rng.dirichlet(np.ones(Q)),
        transitions=rng.dirichlet(np.ones(Q), (horizon - 1, Q)),
        valuations=np.sort(rng.uniform(size=(H, Q)), 1),
        prior=rng.dirichlet(np.ones(H)),
        cost=cost,
    )


def random_prices(seed):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 0.7, Q), jnp.float32)


@functools.cache
def solve():
    return jax.jit(stopping.outcomes), jax.jit(jax.vmap(stopping.plan, (None, 0, None)))


def run(market, prices):
    outcomes, plans = solve()
    chain, values = stopping.chain_of(market), jnp.asarray(market.valuations)
    return outcomes(chain, values, prices), plans(chain, values, prices)


def best_by_recursion(market, valuation, prices):
    """The optimum over all policies, which may look at everything seen: plain recursion on histories."""
    surplus = np.append(valuation - prices, 0.0)

    def value(history):
        period = len(history)
        stop = max(surplus[[*history, -1]]) - market.cost * period
        if period == market.horizon:
            return stop
        law = market.transitions[period - 1, history[-1]]
        return max(stop, sum(law[q] * value((*history, q)) for q in range(Q)))

    return sum(market.initial[q] * value((q,)) for q in range(Q))


@pytest.mark.parametrize("seed", range(3))
def test_value_is_that_of_the_best_policy_on_histories(seed):
    market, prices = random_market(seed), random_prices(seed)
    _, plans = run(market, prices)
    exact = [best_by_recursion(market, v, np.asarray(prices)) for v in market.valuations]
    np.testing.assert_allclose(plans.value, exact, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cost", [0.0, 0.03, 0.2])
def test_forward_utility_is_backward_value_and_laws_sum_to_one(seed, cost):
    outcome, plans = run(random_market(seed, cost), random_prices(seed + 10))
    np.testing.assert_allclose(outcome.utility, plans.value, atol=2e-6)
    np.testing.assert_allclose(jnp.sum(outcome.stop_law, -1), 1.0, atol=2e-6)
    np.testing.assert_allclose(jnp.sum(outcome.items, -1), 1.0, atol=2e-6)
    np.testing.assert_allclose(outcome.welfare - outcome.payment, outcome.utility, atol=1e-6)


def test_simulation_agrees_within_four_standard_errors():
    market, prices, count = random_market(5), random_prices(5), 20_000
    outcome, _ = run(market, prices)
    chain = stopping.chain_of(market)
    keys = jax.random.split(jax.random.key(0), count)
    play = jax.jit(jax.vmap(stopping.simulate, (0, None, None, None)))
    for kind, valuation in enumerate(market.valuations):
        periods, items = play(keys, chain, jnp.asarray(valuation), prices)
        for seen, law in (
            (np.bincount(periods - 1, minlength=T), outcome.stop_law[kind]),
            (np.bincount(items, minlength=Q + 1), outcome.items[kind]),
        ):
            error = np.sqrt(law * (1 - law) / count) + 1e-6
            assert (np.abs(seen / count - law) <= 4 * error).all()


def test_without_cost_everything_is_seen_and_revenue_is_that_of_sets():
    market, prices = random_market(1, cost=0.0), np.array([0.1, 0.2, 0.3, 0.5])
    outcome, _ = run(market, jnp.asarray(prices, jnp.float32))
    np.testing.assert_allclose(outcome.stop_law[:, -1], 1.0, atol=1e-6)
    sets, weights = instance.exact_sets(market)
    problem = instance.instance_of_sets(market.valuations, sets, market.prior, weights)
    assert float(market.prior @ np.asarray(outcome.payment)) == pytest.approx(
        instance.revenue(problem, prices), abs=1e-6
    )


def test_a_huge_cost_stops_everybody_at_once():
    outcome, _ = run(random_market(2, cost=50.0), random_prices(2))
    np.testing.assert_allclose(outcome.stop_law[:, 0], 1.0, atol=1e-6)


def test_one_period_leaves_nothing_to_decide():
    market, prices = random_market(3, horizon=1), random_prices(3)
    outcome, plans = run(market, prices)
    surplus = np.maximum(market.valuations - np.asarray(prices), 0)
    np.testing.assert_allclose(plans.value, surplus @ market.initial - market.cost, atol=1e-6)
    np.testing.assert_allclose(outcome.stop_law, 1.0)
    period, _ = stopping.simulate(
        jax.random.key(0), stopping.chain_of(market), jnp.asarray(market.valuations[0]), prices
    )
    assert period == 1


def test_value_falls_with_cost_and_rises_with_valuations():
    prices = random_prices(4)
    values = [np.asarray(run(random_market(4, cost), prices)[1].value) for cost in (0.0, 0.01, 0.05, 0.2)]
    assert (np.diff(values, axis=0) <= 1e-6).all()
    market = random_market(4)
    richer = market.replace(valuations=market.valuations + np.random.default_rng(0).uniform(0, 0.2, (H, Q)))
    assert (run(richer, prices)[1].value >= run(market, prices)[1].value - 1e-6).all()


def test_a_model_that_is_not_for_sale_is_never_bought():
    prices = random_prices(6).at[2].set(jnp.inf)
    outcome, plans = run(random_market(6), prices)
    np.testing.assert_array_equal(outcome.items[:, 3], 0)
    assert np.isfinite(np.asarray(plans.value)).all()
    assert np.isfinite(np.asarray(outcome.payment)).all()


def test_curves_in_a_batch_are_curves_one_by_one():
    market, curves = random_market(7), jnp.stack([random_prices(7), random_prices(8)])
    chain, values = stopping.chain_of(market), jnp.asarray(market.valuations)
    batched = stopping.outcomes(chain, values, curves)
    for row, kind in itertools.product(range(2), range(H)):
        alone = stopping.outcome(chain, values[kind], curves[row])
        one = jax.tree.map(lambda leaf, at=(row, kind): leaf[at], batched)
        chex.assert_trees_all_close(one, alone, atol=1e-6)
