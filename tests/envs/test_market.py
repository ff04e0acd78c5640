"""The market as an environment: its contract, and its exact solution beside play and beside plain expectimax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.datamarket import equilibrium, scenarios
from jaxrl_suite.envs import Game, check_env, make
from jaxrl_suite.envs.market import BUY, GO_ON, LEAVE, PostedPriceMarket

TINY = PostedPriceMarket(
    initial=(0.7, 0.3),
    transitions=[[[0.4, 0.6], [0.5, 0.5]]],
    valuations=[[0.3, 0.5], [0.2, 1.0]],
    prior=(0.6, 0.4),
    levels=(0.2, 0.45, 0.8),
    cost=0.05,
)


@pytest.mark.parametrize(
    "env", [PostedPriceMarket(), TINY, PostedPriceMarket(transitions=())], ids=["default", "tiny", "one period"]
)
def test_keeps_the_contract(env):
    assert isinstance(env, Game)
    check_env(env)


def test_is_registered():
    assert make("market", cost=0.1) == PostedPriceMarket(cost=0.1)
    assert hash(PostedPriceMarket()) == hash(PostedPriceMarket(valuations=np.asarray(PostedPriceMarket().valuations)))


def test_the_exact_solution_is_that_of_expectimax_on_the_rules():
    apply, chance, logits, legal = (jax.jit(f) for f in (TINY.apply, TINY.step_chance, TINY.chance_logits, TINY.legal))

    def value(state):
        """float[2]: returns from `state`, its own reward left out; each player maximises its own, the buyer knows its
        type, and the platform is answered below, as it does not."""
        if state.terminated:
            return np.zeros(2)
        law = np.exp(np.asarray(logits(state)))
        if law.sum() > 0:
            law /= law.sum()
            after = [(p, chance(state, c)) for c, p in enumerate(law) if p > 0]
            return sum(p * value(s) for p, s in after)
        options = []
        for action in np.flatnonzero(legal(state)[1]):
            after = apply(state, jnp.array([0, action]))
            options.append(np.asarray(after.reward) + value(after))
        best = max(option[1] for option in options)
        return max((o for o in options if o[1] > best - 1e-6), key=lambda o: o[0])

    def curve_value(curve):
        total = np.zeros(2)
        for kind, weight in enumerate(TINY.prior):
            state = TINY.start()._replace(kind=jnp.int32(kind))
            for level in curve:
                state = apply(state, jnp.array([level, 0]))
            total += weight * (np.asarray(state.reward) + value(state))
        return total

    exact = equilibrium.solve_env(TINY)
    values = np.array([[curve_value((i, j)) for j in range(3)] for i in range(3)])
    np.testing.assert_allclose(exact.revenues, values[..., 0], atol=1e-5)
    np.testing.assert_allclose(exact.returns, values[tuple(exact.levels)], atol=1e-5)
    assert exact.returns[0] == pytest.approx(values[..., 0].max(), abs=1e-5)


@functools.partial(jax.jit, static_argnums=1)
def play(keys, env, deviates, solution):
    """float32[B, 2]: returns when both play optimally, but for player `deviates`, who picks legal actions at random."""

    def one(key):
        state = env.init(key)

        def turn(carry, key):
            state, total = carry
            random = jax.random.categorical(key, jnp.where(env.legal(state), 0.0, -1e9)).astype(jnp.int32)
            action = equilibrium.act(solution, env, state)
            action = jnp.where(jnp.arange(2) == deviates, random, action)
            state = env.step(state, action, jax.random.fold_in(key, 1))
            return (state, total + state.reward), None

        turns = jax.random.split(jax.random.fold_in(key, 1), env.max_turns)
        (state, total), _ = jax.lax.scan(turn, (state, state.reward), turns)
        return total, state.terminated

    return jax.vmap(one)(keys)


def test_optimal_play_returns_the_exact_values_and_deviating_does_not_pay():
    env = PostedPriceMarket()
    solution = equilibrium.solve_env(env)
    keys = jax.random.split(jax.random.key(0), 8192)
    returns, over = play(keys, env, -1, solution)
    assert over.all()
    error = np.std(returns, axis=0) / np.sqrt(len(keys))
    assert (np.abs(np.mean(returns, axis=0) - solution.returns) < 4 * error).all()
    for player in (0, 1):
        others, _ = play(keys, env, player, solution)
        assert np.mean(others[:, player]) < solution.returns[player] - 4 * error[player]


def test_a_market_becomes_an_environment():
    market = scenarios.climbing_market(2, 3, 3)
    env = equilibrium.to_env(market, np.array([0.1, 0.5]))
    assert env.initial == tuple(market.initial)
    assert equilibrium.solve_env(env).revenues.shape == (2, 2, 2)
    assert (env.num_metrics, env.num_types, env.horizon, env.num_actions) == (3, 2, 3, 5)


def test_only_what_was_seen_can_be_bought_and_the_price_is_paid():
    env = PostedPriceMarket(initial=(0, 1, 0, 0))
    state = env.init(jax.random.key(0))
    for level in (0, 2, 3, 4):
        np.testing.assert_array_equal(env.legal(state)[0], [True] * 5 + [False])
        state = env.step(state, jnp.array([level, 0]), jax.random.key(1))
    np.testing.assert_allclose(state.reward, [0, -env.cost])
    np.testing.assert_array_equal(np.flatnonzero(env.legal(state)[1]), [GO_ON, LEAVE, BUY + 1])
    after = env.step(state, jnp.array([0, BUY + 1]), jax.random.key(2))
    value = env.valuations[int(state.kind)][1]
    np.testing.assert_allclose(after.reward, [0.4, value - 0.4], atol=1e-6)
    assert after.terminated
    assert after.bought == 1
    left = env.step(state, jnp.array([0, LEAVE]), jax.random.key(2))
    np.testing.assert_array_equal(left.reward, [0, 0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(initial=(0.5, 0.6, 0, 0)), "initial row 0 is no law"),
        (dict(prior=(0.5, 0.5, -0.1)), "prior row 0 is no law"),
        (dict(valuations=((0.1,) * 4, (0.1, 0.1, -0.2, 0.1), (0.1,) * 4)), "valuations row 1"),
        (dict(valuations=((0.1, float("nan"), 0.1, 0.1),) * 3), "valuations must be finite"),
        (dict(valuations=((0.1,) * 3,) * 3), "valuations must have shape"),
        (dict(levels=(0.5, 0.1)), "sort them"),
        (dict(levels=()), "levels must be finite numbers"),
        (dict(cost=-1.0), "cost must be one number, at least 0"),
        (dict(cost="a"), "cost must be one number, at least 0 and finite, got 'a'"),
        (dict(cost=None), "cost must be one number"),
        (dict(initial={}), "initial must have rows of one length and hold numbers only"),
        (dict(transitions=(((1, 0), (0, 1)),)), "transitions must have shape"),
    ],
)
def test_refuses_what_is_no_market(bad, message):
    with pytest.raises(ValueError, match=message):
        PostedPriceMarket(**bad)
