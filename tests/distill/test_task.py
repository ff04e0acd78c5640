"""Tasks and their scorer: what is held out, how pairs are read, and that scores of sets are paired."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite import distill
from jaxrl_suite.distill.evaluation import score_table, student_scores
from jaxrl_suite.distill.pairs import Imitation, Pairs
from jaxrl_suite.distill.scorer import Protocol, make_scorer
from jaxrl_suite.distill.task import make_task, make_teacher, no_scaling, own_teacher
from jaxrl_suite.envs.pendulum import Pendulum
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.collection import noisy_expert_data
from jaxrl_suite.rl.datasets.scores import Reference
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import mlp_policy

ENV = Pendulum(20)
SHORT = Recipe("sgd", 1e-2, 3)


@pytest.fixture(scope="module")
def data():
    return noisy_expert_data(ENV, jax.random.key(0), name="pendulum", episodes=20, noise=(0.0, 0.5))


@pytest.fixture(scope="module")
def task(data):
    imitation = Imitation(mlp_policy((3,), 1, widths=(4,)))
    return make_task(data, ENV, keys=jax.random.split(jax.random.key(1)), imitation=imitation)


def test_a_task_holds_episodes_out_and_scales_observations(data, task):
    assert (len(task.data), len(task.held_out)) == (18 * 20, 2 * 20)
    everything = np.concatenate([task.data.observations, task.held_out.observations])
    np.testing.assert_array_equal(np.sort(everything, axis=0), np.sort(data.observations, axis=0))
    real = task.recorded()
    np.testing.assert_allclose(real.observations.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(real.targets, task.data.actions, rtol=1e-6)
    taught = task.answered(held_out=True)
    np.testing.assert_allclose(taught.targets, jax.vmap(ENV.expert)(task.held_out.observations), rtol=1e-5, atol=1e-6)
    assert not task.discrete
    low, high = task.reference
    np.testing.assert_allclose(task.score(np.array([low, high])), [0, 100])
    assert list(task.arenas) == [""]
    other = make_task(data, ENV, keys=jax.random.split(jax.random.key(2)), reference=Reference(0, 1))
    assert other.reference == (0, 1)
    assert other.imitation.policy == mlp_policy((3,), 1)
    assert not np.array_equal(other.held_out.observations, task.held_out.observations)


def test_teachers_answer_in_blocks_of_one_size():
    sizes = []

    def answer(x):
        sizes.append(len(x))
        return x[:, :1]

    x = np.arange(14.0, dtype=np.float32).reshape(7, 2)
    np.testing.assert_array_equal(make_teacher(answer, block=3)(x), x[:, :1])
    assert sizes == [3, 3, 3]
    with pytest.raises(UserError, match="object has no expert of its own"):
        own_teacher(object())  # pyright: ignore[reportArgumentType]
    still = no_scaling(np.ones((5, 2, 2)))
    np.testing.assert_array_equal(still(np.full((1, 2, 2), 3.0)), np.full((1, 2, 2), 3.0))


def test_every_set_meets_the_same_students_and_episodes(task):
    real = task.answered()
    sets = Pairs(*(jnp.stack([leaf[:8], leaf[8:16]]) for leaf in real))
    how, key = Protocol(students=4, episodes=2), jax.random.key(3)
    scorer = make_scorer(task, key, how)
    params = scorer.students(SHORT, sets)
    scores = scorer.score(params)
    assert scores.returns.shape == (1, 4, 2)
    assert scores.losses.shape == (4, 2)
    for place in range(2):  # a set alone scores as it does beside another
        one = Pairs(*(leaf[place] for leaf in sets))
        alone = student_scores(ENV, task.imitation, SHORT, one, key, task.reference, protocol=how, scaling=task.scaling)
        np.testing.assert_allclose(task.score(scores.returns[0, :, place]), alone.mean(axis=1), rtol=1e-4)
    twins = Pairs(*(jnp.stack([leaf[0], leaf[0]]) for leaf in sets))
    same = scorer.score(scorer.students(SHORT, twins)).returns
    np.testing.assert_array_equal(same[..., 0], same[..., 1])
    assert sum(count for count, _ in scorer.speeds.values()) == 4 * 2  # the first training was compilation too
    together = scorer.score(params, ensembles=2)
    assert together.returns.shape == (1, 2, 2)
    assert np.isnan(together.losses).all()
    rows = score_table(task, scorer, sets, recipes={"short": SHORT})
    assert rows[0]["student"] == "same"
    np.testing.assert_allclose(rows[0]["mean"], task.score(scores.returns[0]).mean(), rtol=1e-6)
    assert distill.make_scorer is make_scorer
