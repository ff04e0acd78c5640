"""Judging a set: scaling, ensembles, architectures and intervals; and the scores that distillation reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.core import stats
from jaxrl_suite.distill.driver import Driver, distill
from jaxrl_suite.distill.evaluation import Protocol, architectures, student_scores, summary
from jaxrl_suite.distill.pairs import Imitation, make_pairs, start_from, take
from jaxrl_suite.distill.presets import make_driver
from jaxrl_suite.distill.students import train_students
from jaxrl_suite.envs.pendulum import Pendulum
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl import actors, rollout
from jaxrl_suite.rl.actors import Ensemble, Greedy, Scaled, ScaledActor, student_actor
from jaxrl_suite.rl.datasets.scores import Reference
from jaxrl_suite.rl.datasets.transitions import scaling
from jaxrl_suite.rl.learners.cloning import RECIPES, Recipe
from jaxrl_suite.rl.policies import conv_policy, mlp_policy

ENV = Pendulum(20)
POLICY = mlp_policy((3,), 1, widths=(8,))
SHORT = Recipe("adam", 1e-2, 10)
REFERENCE = Reference(*Pendulum().reference_scores)


def test_scores_of_students_and_their_ensembles():
    x = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    pairs, imitation = make_pairs(POLICY, x, np.clip(x[:, :1], -1, 1)), Imitation(POLICY)
    scale = scaling(np.random.default_rng(1).normal(2, 3, (50, 3)))
    key = jax.random.key(0)
    scores = student_scores(ENV, imitation, SHORT, pairs, key, REFERENCE, protocol=Protocol(4, 3), scaling=scale)
    train_key, play_key = jax.random.split(key)
    params = train_students(imitation, SHORT, pairs, jax.random.split(train_key, 4))

    class Plain:
        def __call__(self, params, observation, key):
            return POLICY.act(params, (observation - scale.mean) / scale.std)

    returns = rollout.evaluate(ENV, Plain(), params, play_key, 3)
    low, high = REFERENCE.ref_min_score, REFERENCE.ref_max_score
    np.testing.assert_allclose(scores, 100 * (np.asarray(returns) - low) / (high - low), rtol=1e-4)
    together = student_scores(
        ENV, imitation, SHORT, pairs, key, REFERENCE, protocol=Protocol(4, 3, ensembles=4), scaling=scale
    )
    assert together.shape == (1, 3)
    out = Ensemble(POLICY)(params, jnp.asarray(x[0]), key)
    np.testing.assert_allclose(out, np.mean(jax.vmap(POLICY.apply, (0, None))(params, x[0]), axis=0), rtol=1e-5)


def test_discrete_ensembles_average_their_log_probabilities():
    policy = mlp_policy((2,), 3, discrete=True, widths=(4,))
    params = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 5))
    x = jnp.array([0.3, -2.0])
    logits = np.asarray(jax.vmap(policy.apply, (0, None))(params, x))
    mean = np.mean(logits - np.log(np.exp(logits).sum(1, keepdims=True)), axis=0)
    assert Ensemble(policy)(params, x, jax.random.key(0)) == np.argmax(mean)
    one = jax.tree.map(lambda leaf: leaf[0], params)
    scaled = Scaled(one, jnp.ones(2), jnp.full(2, 2.0))
    assert ScaledActor(Greedy(policy))(scaled, x, jax.random.key(0)) == policy.act(one, (x - 1) / 2)
    draw = jax.vmap(student_actor(policy, sample=True), (None, None, 0))(
        one, x, jax.random.split(jax.random.key(1), 4000)
    )
    np.testing.assert_allclose(np.bincount(draw, minlength=3) / 4000, jax.nn.softmax(policy.apply(one, x)), atol=0.03)


def test_summary_and_architectures():
    scores = np.random.default_rng(0).normal(50, 10, (8, 3))
    found = summary(scores)
    np.testing.assert_allclose(found["iqm"], stats.iqm(scores))
    assert found["low"] < found["iqm"] < found["high"]
    names = architectures(Imitation(mlp_policy((3,), 1)))
    assert "3 layers" not in names  # that is the student itself
    assert names["same"].policy.module.widths == (64, 64)
    assert names["5 layers"].policy.module.widths == (64,) * 4
    assert len({imitation.policy for imitation in names.values()}) == len(names)
    images = architectures(Imitation(conv_policy((4, 4, 1), 2, channels=(3, 4)), labels="hard"))
    assert images["double width"].policy.module.channels == (6, 8)
    assert images["deeper"].labels == "hard"


def test_refusals():
    with pytest.raises(UserError, match="divisor"):
        Protocol(8, 2, ensembles=3)
    with pytest.raises(UserError, match="only discrete"):
        Ensemble(POLICY, sample=True)
    with pytest.raises(UserError, match="no softmax"):
        student_actor(POLICY, sample=True)


@pytest.mark.optimised
@pytest.mark.tier2
def test_sixteen_pairs_swing_the_pendulum_up():
    """With either optimiser; trained by SGD, the random pairs that distillation starts from teach next to nothing."""
    env, policy = Pendulum(), mlp_policy((3,), 1)
    expert = actors.Expert(env)
    parts = [
        rollout.flatten(rollout.collect(env, actors.Noisy(expert, env, rate), None, jax.random.key(i), 16))
        for i, rate in enumerate((0.0, 0.15, 0.3, 0.5))
    ]
    seen = np.concatenate([part["observations"] for part in parts])
    scale, imitation = scaling(seen), Imitation(policy)
    pairs = make_pairs(policy, scale(seen), np.asarray(jax.vmap(env.expert)(jnp.asarray(seen))))
    order = np.random.default_rng(0).permutation(len(seen))
    real, held_out = take(pairs, order[2000:]), take(pairs, order[:2000])
    start = start_from(real, np.arange(16), policy)
    driver: Driver = make_driver("bptt", policy, students=6, anneal=600)
    bounds = jnp.min(real.observations, axis=0), jnp.max(real.observations, axis=0)
    state = distill(driver, jax.random.key(0), start, real, held_out, 600, bounds=bounds)
    for name, recipe in RECIPES.items():
        best, first = (
            student_scores(env, imitation, recipe, imitation.pairs(syn), jax.random.key(1), REFERENCE, scaling=scale)
            for syn in (state.best, start)
        )
        assert best.mean() >= 60
        if name == "sgd100":
            assert first.mean() <= 15
