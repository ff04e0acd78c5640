"""Drivers by name: each method lowers its own loss, and the published mechanics with an action that is absent."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.distill.driver import distill
from jaxrl_suite.distill.pairs import make_pairs, start_from
from jaxrl_suite.distill.presets import METHODS, make_driver, paper_student, paper_teacher
from jaxrl_suite.distill.sampling import UniformBatches, balanced_rows
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.policies import conv_policy, mlp_policy

RNG = np.random.default_rng(0)
POLICY = mlp_policy((3,), 1, widths=(6,))
X = RNG.normal(size=(64, 3)).astype(np.float32)
PAIRS = make_pairs(POLICY, X, np.tanh(X @ np.array([[1.0], [-1.0], [0.5]])).astype(np.float32))
START = start_from(PAIRS, np.arange(5), POLICY)


@pytest.mark.parametrize("method", ["bptt-both", "gm-cosine", "kernel-ridge", "random-regressors"])
def test_every_method_lowers_its_loss(method):
    driver = make_driver(method, POLICY, students=2, sampler=UniformBatches(32), learning_rate=0.02)
    table, key = driver.sampler.prepare(PAIRS), jax.random.key(0)

    @jax.jit
    def run(key):
        state = driver.init(key, START)
        state, (losses, _, _) = jax.lax.scan(lambda s, _: driver.update(s, table), state, None, length=60)
        keys = jax.random.split(key, 8)  # the same students and batches for both sets
        mean = jax.vmap(lambda syn, key: driver.gradient(syn, table, state.objective, key)[1][0], (None, 0))
        return losses, jnp.mean(mean(START, keys)), jnp.mean(mean(state.syn, keys))

    losses, before, after = run(key)
    assert np.all(np.isfinite(losses))
    assert after < before


@pytest.mark.parametrize("make", [paper_teacher, paper_student])
def test_published_mechanics_with_an_absent_action(make):
    policy = conv_policy((4, 4, 1), 4, channels=(3,), widths=())
    labels = np.array([0, 1, 3] * 8, np.int32)  # action 2 is absent
    pairs = make_pairs(policy, RNG.uniform(0, 1, (24, 4, 4, 1)), labels)
    start = start_from(pairs, balanced_rows(jax.random.key(0), pairs, 7), policy)
    driver = make(policy, start, batch=5)
    assert driver.objective.classes == (0, 0, 0, 1, 1, 3, 3)
    assert driver.objective.imitation.kind == ("softmax_mse" if make is paper_teacher else "softmax_mae")
    teacher = policy.init(jax.random.key(1))
    state = distill(driver, jax.random.key(2), start, pairs, pairs, 4, chunk=4, teacher=teacher)
    assert np.all(np.isfinite(state.syn.observations))
    assert np.any(state.syn.observations != start.observations)
    np.testing.assert_array_equal(state.syn.labels, start.labels)
    if make is paper_teacher:
        chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[0], state.objective), teacher)


def test_names():
    for method in METHODS:
        assert make_driver(method, POLICY, students=7).students == 7
    with pytest.raises(UserError, match="Did you mean gm-cosine"):
        make_driver("gm-cosin", POLICY)
