"""Why percentile cloning fails on the pendulum: where the best returns start."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_suite.envs.pendulum import Pendulum
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.actors import Greedy, Scaled, ScaledActor
from jaxrl_suite.rl.datasets import collection, percentile, scores, transitions
from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.learners import cloning
from jaxrl_suite.rl.policies import mlp_policy

STUDENTS = 4


@pytest.fixture(scope="module")
def cloned():
    """(data, for each ranking the episodes kept and the mean score of clones): the best 5 % of 256 episodes."""
    env, policy = Pendulum(), mlp_policy((3,), 1)
    data = collection.noisy_expert_data(env, jax.random.key(2), name="pendulum", episodes=256)
    scale = transitions.scaling(data.observations)
    keys = jax.random.split(jax.random.key(5), STUDENTS)

    @jax.jit
    def clone(x, y):
        fit = lambda key: cloning.fit(  # noqa: E731
            policy, policy.init(key), x, y, None, optax.adam(1e-3), 2000, key, batch=128
        )[0]
        return jax.vmap(fit)(keys)

    found = {}
    for by in ("raw", "start_normalised"):
        rows = percentile.percentile_rows(data, 0.05, by=by)
        params = clone(jnp.asarray(scale(data.observations)[rows]), jnp.asarray(data.actions[rows]))
        stacked = Scaled(params, *(jnp.broadcast_to(leaf, (STUDENTS, 3)) for leaf in scale))
        returns = rollout.evaluate(env, ScaledActor(Greedy(policy)), stacked, jax.random.key(9), 32)
        score = scores.normalised_score(np.asarray(returns).mean(), data.metadata)
        found[by] = np.unique(rows // 200), float(score)
    return data, found


def start_angles(data):
    first = data.observations[ep.episodes(data).starts]
    return np.abs(np.arctan2(first[:, 1], first[:, 0]))


def test_the_best_returns_are_starts_near_upright_and_their_clone_cannot_swing_up(cloned):
    data, found = cloned
    kept, score = found["raw"]
    assert len(kept) == 13
    assert start_angles(data)[kept].max() < 0.5
    assert start_angles(data).mean() == pytest.approx(np.pi / 2, abs=0.2)
    assert score < 30


def test_ranking_within_similar_starts_keeps_hard_ones_and_its_clone_is_near_the_expert(cloned):
    data, found = cloned
    kept, score = found["start_normalised"]
    assert start_angles(data)[kept].mean() > 1
    noise = data.extra["episodes/noise"]
    assert noise[kept].mean() < noise.mean() - 0.05  # less noise is what skill is in these data
    assert score > 85
