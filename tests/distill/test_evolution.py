"""Evolution strategies: the estimate on a linear fitness, the optimum of a quadratic, and the students' return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.distill.evolution import Evolution, mean_return
from jaxrl_suite.distill.pairs import Distilled, Imitation
from jaxrl_suite.envs.pendulum import Pendulum
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.actors import Greedy
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import mlp_policy

SYN = Distilled(jnp.zeros((2, 3)), jnp.ones((2, 1)), jnp.zeros(2), jnp.zeros(()))


def test_estimate_of_a_linear_fitness():
    """Opposite pairs give (1 / P) sum of noise noise^T times the slope, whatever the constant."""
    es = Evolution(population=6, sigma=0.1, rank=False)
    noise = np.random.default_rng(0).normal(size=(3, 4))
    noise = np.concatenate([noise, -noise])
    slope = np.array([1.0, -2.0, 0.5, 3.0])
    found = es.estimate(jnp.asarray(noise), jnp.asarray(7 + 0.1 * noise @ slope))
    np.testing.assert_allclose(found, noise.T @ noise @ slope / 6, rtol=1e-5)
    ranked = Evolution(population=6, sigma=0.1).estimate(jnp.asarray(noise), jnp.asarray(np.exp(noise @ slope)))
    ranks = np.argsort(np.argsort(noise @ slope)) / 5 - 0.5
    np.testing.assert_allclose(ranked, ranks @ noise / 0.6, rtol=1e-5)


def test_equal_fitness_moves_nothing_and_nan_ranks_lowest():
    es, noise = Evolution(population=4), jnp.array([[1.0], [2.0], [-1.0], [-2.0]])
    np.testing.assert_array_equal(es.estimate(noise, jnp.full(4, 3.0)), 0)
    half = es.estimate(noise, jnp.array([5.0, 1.0, 1.0, 1.0]))  # ranks 1/2 and three times -1/6
    np.testing.assert_allclose(half, [(0.5 + (-2 + 1 + 2) / 6) / (4 * 0.03)], rtol=1e-5)
    lowest = es.estimate(noise, jnp.array([jnp.nan, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(lowest, es.estimate(noise, jnp.array([0.0, 1.0, 2.0, 3.0])), rtol=1e-6)


@pytest.mark.parametrize("rank", [False, True])
def test_quadratic_optimum(rank):
    target = jnp.arange(6.0).reshape(2, 3) / 3

    def fitness(syn, key):
        return -jnp.sum((syn.observations - target) ** 2) - 100 * jnp.sum((syn.labels - 1) ** 2)

    es = Evolution(population=32, sigma=0.1, learning_rate=0.03, learn=("observations",), rank=rank)
    update = jax.jit(lambda state: es.update(state, fitness))
    state = es.init(jax.random.key(0), SYN)
    for _ in range(250):
        state, found = update(state)
    np.testing.assert_allclose(state.syn.observations, target, atol=0.1)
    np.testing.assert_array_equal(state.syn.labels, SYN.labels)  # not learned
    assert found.shape == (32,)


def test_common_random_numbers():
    def fitness(syn, key):
        return jax.random.uniform(key)

    found = [
        Evolution(8, common=common).update(Evolution(8).init(jax.random.key(0), SYN), fitness)[1]
        for common in (True, False)
    ]
    assert len(set(found[0].tolist())) == 1
    assert len(set(found[1].tolist())) == 8


def test_return_of_students():
    env, policy = Pendulum(10), mlp_policy((3,), 1, widths=(4,))
    imitation = Imitation(policy)
    fitness = mean_return(env, Greedy(policy), imitation, Recipe("sgd", 0.1, 5), students=2, episodes=3)
    es = Evolution(population=4)
    state, found = jax.jit(lambda state: es.update(state, fitness))(es.init(jax.random.key(1), SYN))
    assert np.all((found > -170) & (found < 0))
    assert len(set(found.tolist())) > 1
    assert np.any(state.syn.observations != 0)


def test_refusals():
    with pytest.raises(UserError, match="even"):
        Evolution(population=3)
    policy = mlp_policy((3,), 1)
    with pytest.raises(UserError, match="episodes must be at least 1"):
        mean_return(Pendulum(10), Greedy(policy), Imitation(policy), Recipe(), episodes=0)
    with pytest.raises(UserError, match="learn must name"):
        Evolution(learn=("pixels",))
