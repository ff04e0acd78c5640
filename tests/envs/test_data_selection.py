"""The data-selection environment: its contract, its rewards, and the exact dynamic program as its best return."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite import datavalue, envs
from jaxrl_suite.envs.data_selection import DataSelection
from jaxrl_suite.tabular import classifiers
from jaxrl_suite.tabular import datasets as tabular_data

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0)
def play(env, order):
    """(states after each step of an order, leaves stacked)."""

    def step(state, point):
        after = env.step(state, point[None], KEY)
        return after, after

    return jax.lax.scan(step, env.init(KEY), order)[1]


@pytest.mark.parametrize("env", [envs.make("data-selection"), DataSelection(5, budget=3, seed=2)])
def test_keeps_the_contract(env):
    assert isinstance(env, envs.Game)
    envs.check_env(env)


def test_rewards_are_the_utilities_of_the_growing_set():
    env = DataSelection(6, seed=3)
    order = np.array([4, 0, 2, 5, 1, 3])
    states = play(env, jnp.asarray(order))
    chosen = np.zeros(6, bool)
    for step, point in enumerate(order):
        chosen[point] = True
        expected = float(env.value_of(jnp.asarray(chosen)))
        assert float(states.reward[step, 0]) == pytest.approx(expected, abs=1e-6)
        assert bool(states.terminated[step]) == (step == 5)
    assert np.unique(states.reward).size > 1


@pytest.mark.parametrize("seed", [0, 1])
def test_the_dynamic_program_is_the_best_return_of_all_permutations(seed):
    env = DataSelection(6, seed=seed)
    table = datavalue.utility_table(jax.vmap(env.value_of), 6)
    solution = datavalue.solve_order(table)
    orders = jnp.asarray(list(itertools.permutations(range(6))))
    returns = np.asarray(jax.vmap(functools.partial(play, env))(orders).reward).sum(axis=(1, 2))
    assert returns.max() == pytest.approx(6 * solution.ausc, abs=1e-5)
    earned = float(play(env, jnp.asarray(solution.order)).reward.sum())
    assert earned == pytest.approx(float(solution.value[0]), abs=1e-5)
    # and the value of every state along the way is what the best order still earns from there
    sets = np.cumsum(1 << solution.order)
    left = earned - np.cumsum(play(env, jnp.asarray(solution.order)).reward[:, 0])
    np.testing.assert_allclose(solution.value[sets], left, atol=1e-5)


def test_a_model_can_be_the_utility():
    split = tabular_data.split_table(tabular_data.load_table("breast_cancer"), (8, 40, 40), 0, scale="pool")
    utility = datavalue.model_utility(split, classifiers.Ridge())
    env = DataSelection(8, utility=lambda chosen: utility(chosen[None])[0])
    solution = datavalue.solve_order(datavalue.utility_table(utility, 8))
    rewards = play(env, jnp.asarray(solution.order)).reward[:, 0]
    assert float(rewards.mean()) == pytest.approx(solution.ausc, abs=1e-5)


def test_a_budget_ends_the_episode():
    states = play(DataSelection(5, budget=2), jnp.arange(5))
    assert states.terminated.tolist() == [False, True, True, True, True]
    assert states.chosen[-1].tolist() == [True, True, False, False, False]
    assert states.reward[2:].tolist() == [[0.0]] * 3


@pytest.mark.parametrize("bad", [dict(num_points=1), dict(num_points=10**6), dict(budget=0), dict(budget=13)])
def test_refuses_impossible_problems(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DataSelection(**bad)
