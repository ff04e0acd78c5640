"""The outer loop: what it learns, students as a loop, resume, runs side by side, and choice by held-out loss."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_suite.core import checkpoint
from jaxrl_suite.distill.driver import Driver, distill, run_chunk
from jaxrl_suite.distill.gradient_matching import GradientMatching
from jaxrl_suite.distill.kernel_ridge import KernelRidge
from jaxrl_suite.distill.objective import Mean
from jaxrl_suite.distill.pairs import LEARNABLE, Imitation, make_pairs, start_from
from jaxrl_suite.distill.sampling import UniformBatches
from jaxrl_suite.distill.unrolled import Unrolled
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import mlp_policy

RNG = np.random.default_rng(0)
POLICY = mlp_policy((3,), 1, widths=(6,))
X = RNG.normal(size=(64, 3)).astype(np.float32)
PAIRS = make_pairs(POLICY, X, np.tanh(X @ np.array([[1.0], [-1.0], [0.5]])).astype(np.float32))
START = start_from(PAIRS, np.arange(5), POLICY)
SHORT = Recipe("sgd", 0.1, 4)
DRIVER = Driver(
    Unrolled(Imitation(POLICY), SHORT),
    UniformBatches(8),
    students=3,
    judges=2,
    recipes=(SHORT, Recipe("adam", 1e-2, 3)),
)


def close(a, b, **options):
    def raw(x):  # keys as numbers, of which chex can tell whether they are close
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    chex.assert_trees_all_close(jax.tree.map(raw, a), jax.tree.map(raw, b), **{"rtol": 1e-7, **options})


@pytest.mark.parametrize("clip", [float("inf"), 0.02])
def test_students_vmap_as_a_loop(clip):
    driver = dataclasses.replace(DRIVER, learn=LEARNABLE[:3], clip=clip)
    table, key = driver.sampler.prepare(PAIRS), jax.random.key(0)
    state = driver.init(key, START)
    together, (loss, norm, aux) = jax.jit(driver.gradient)(START, table, state.objective, key)

    @jax.jit
    @jax.value_and_grad
    def alone(syn, key):
        draw_key, loss_key = jax.random.split(key)
        return DRIVER.objective.loss(syn, DRIVER.sampler.draw(table, draw_key), (), loss_key)[0]

    found = [alone(START, k) for k in jax.random.split(key, 3)]
    np.testing.assert_allclose(loss, np.mean([loss for loss, _ in found]), rtol=1e-5)
    assert len({float(loss) for loss, _ in found}) == 3
    slopes = [slope._replace(raw_rate=jnp.zeros(())) for _, slope in found]
    norms = [float(optax.global_norm(slope)) for slope in slopes]
    np.testing.assert_allclose(norm, np.mean(norms), rtol=1e-5)
    assert aux["exploded"] == 0
    assert min(norms) > 0.02
    slopes = [jax.tree.map(lambda x, n=n: x * min(1, clip / n), slope) for slope, n in zip(slopes, norms, strict=True)]
    close(together, jax.tree.map(lambda *leaves: sum(leaves) / 3, *slopes), rtol=1e-4, atol=1e-7)


def test_a_student_that_explodes_has_no_vote_and_is_counted():
    table, key = DRIVER.sampler.prepare(PAIRS), jax.random.key(0)

    @dataclasses.dataclass(frozen=True)
    class Fragile:
        """Student 1 overflows."""

        inner: Any
        imitation: Any

        def init(self, key, teacher):
            return jax.random.uniform(key)

        def loss(self, syn, batch, state, key):
            loss, aux = self.inner.loss(syn, batch, (), key)
            return loss * jnp.where(state > 0.5, jnp.exp(1000 * state), 1.0), aux

        def update(self, syn, state, key):
            return state

    driver = dataclasses.replace(DRIVER, objective=Fragile(DRIVER.objective, DRIVER.objective.imitation), clip=0.5)
    states = jnp.array([0.0, 1.0, 0.0])
    found, (loss, norm, aux) = jax.jit(driver.gradient)(START, table, states, key)
    assert aux["exploded"] == pytest.approx(1 / 3)
    assert np.isfinite(loss)
    assert np.isfinite(norm)
    assert 0 < optax.global_norm(found) <= 0.5
    _, (loss, _, aux) = jax.jit(driver.gradient)(START, table, jnp.ones(3), key)
    assert aux["exploded"] == 1
    assert np.isnan(loss)


def test_one_step_is_clip_adam_and_average():
    table = DRIVER.sampler.prepare(PAIRS)
    driver = dataclasses.replace(DRIVER, learn=("labels",), clip=1e-3, decay=0.9)
    state = driver.init(jax.random.key(0), START)
    after, (loss, norm, _) = jax.jit(driver.update)(state, table)
    loss_key = jax.random.split(state.key, 3)[1]
    slope, (value, whole, _) = driver.gradient(START, table, state.objective, loss_key)
    np.testing.assert_allclose(loss, value, rtol=1e-5)
    np.testing.assert_allclose(norm, whole, rtol=1e-5)
    assert whole > 1e-3
    assert optax.global_norm(slope) <= 1e-3 * (1 + 1e-5)
    adam = optax.adam(driver.learning_rate)
    updates, _ = adam.update(slope.labels, adam.init(START.labels))
    np.testing.assert_allclose(after.syn.labels, START.labels + np.asarray(updates), rtol=1e-5)
    np.testing.assert_array_equal(after.syn.observations, START.observations)  # not learned
    np.testing.assert_allclose(after.average.labels, 0.9 * START.labels + 0.1 * after.syn.labels, rtol=1e-5)


@pytest.mark.tier2
def test_resumed_equals_uninterrupted(tmp_path):
    table = DRIVER.sampler.prepare(PAIRS)
    driver = dataclasses.replace(DRIVER, objective=Mean((DRIVER.objective, KernelRidge(Imitation(POLICY), max_age=3))))
    state = driver.init(jax.random.key(0), START)
    for chunk in range(2):
        state, metrics = run_chunk(driver, state, table, PAIRS, 4)
        if chunk == 0:
            checkpoint.save(tmp_path, 1, state, {})
    again = checkpoint.restore(tmp_path, driver.init(jax.random.key(5), START)).tree
    again, repeated = run_chunk(driver, again, table, PAIRS, 4)
    close(state, again, rtol=0, atol=0)
    close(metrics, repeated, rtol=0, atol=0)
    assert state.step == 8
    assert metrics.aux["part1"].shape == (4,)


@pytest.mark.tier2
def test_runs_side_by_side_equal_runs_alone():
    table = DRIVER.sampler.prepare(PAIRS)
    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.vmap(lambda key: DRIVER.init(key, START))(keys)
    many, metrics = run_chunk(DRIVER, many, table, PAIRS, 4, runs=True)
    for i in range(2):
        alone, one = run_chunk(DRIVER, DRIVER.init(keys[i], START), table, PAIRS, 4)
        close(jax.tree.map(lambda leaf, i=i: leaf[i], many.best), alone.best, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(metrics.loss[i], one.loss, rtol=1e-4)
    assert not np.allclose(metrics.loss[0], metrics.loss[1])


def test_best_is_the_average_with_the_smallest_held_out_loss():
    driver = dataclasses.replace(DRIVER, learning_rate=0.05, decay=0.0)
    held_out = PAIRS._replace(targets=-PAIRS.targets)  # the better the fit, the worse the judges do
    table, losses, sets = driver.sampler.prepare(PAIRS), [], []
    state = driver.init(jax.random.key(0), START)
    for _ in range(6):
        state, metrics = run_chunk(driver, state, table, held_out, 2)
        losses.append(float(metrics.held_out))
        sets.append(np.asarray(state.average.observations))
        np.testing.assert_allclose(state.best_loss, min(losses), rtol=1e-6)
        np.testing.assert_array_equal(state.best.observations, sets[int(np.argmin(losses))])
    assert int(np.argmin(losses)) < 5  # the last set was not the best


def test_observations_stay_between_bounds():
    driver = dataclasses.replace(DRIVER, learning_rate=1.0)
    low, high = jnp.array([-0.5, -1.0, -2.0]), jnp.array([0.5, 1.0, 2.0])
    state = driver.init(jax.random.key(0), START, bounds=(low, high))
    state, _ = jax.jit(driver.update)(state, driver.sampler.prepare(PAIRS))
    found = np.asarray(state.syn.observations)
    assert np.all((found >= np.asarray(low)) & (found <= np.asarray(high)))
    assert np.any(found == np.asarray(high))


def test_gradient_matching_on_fresh_students_with_soft_labels():
    policy = mlp_policy((3,), 3, discrete=True, widths=(5,))
    pairs = make_pairs(policy, X, np.argmax(X, axis=1).astype(np.int32))
    start = start_from(pairs, np.arange(4), policy)
    learn = ("observations", "labels", "log_weights")
    driver = Driver(GradientMatching(Imitation(policy), "cosine", advance=3), UniformBatches(32), 2, learn, judges=2)
    state = distill(driver, jax.random.key(0), start, pairs, pairs, 10, chunk=10)
    for name in learn:
        assert np.any(getattr(state.syn, name) != getattr(start, name)), name


def test_a_loss_that_is_not_finite_is_an_error():
    driver = dataclasses.replace(
        DRIVER, objective=Unrolled(Imitation(mlp_policy((3,), 1, widths=(), squash=False)), Recipe("sgd", 1e3, 60))
    )
    with pytest.raises(UserError, match="not finite"):
        distill(driver, jax.random.key(0), START, PAIRS, PAIRS, 2, chunk=2)


def test_refusals():
    with pytest.raises(UserError, match="learn must name"):
        dataclasses.replace(DRIVER, learn=("pixels",))
    hard = Unrolled(Imitation(mlp_policy((3,), 2, discrete=True), labels="hard"))
    with pytest.raises(UserError, match="hard labels"):
        Driver(hard)
    for message, change in {
        "leave raw_rate out": dict(learn=("labels", "raw_rate")),
        "unknown optimiser 'adamm'. Did you mean adam": dict(optimiser="adamm"),
        "decay of 1": dict(decay=1.0),
        "clip must be above 0": dict(clip=float("nan")),
    }.items():
        with pytest.raises(UserError, match=message):
            dataclasses.replace(DRIVER, **change)
    for steps, chunk in ((0, 5), (5, 0)):
        with pytest.raises(UserError, match="at least 1"):
            distill(DRIVER, jax.random.key(0), START, PAIRS, PAIRS, steps, chunk=chunk)
    with pytest.raises(UserError, match="same way"):
        Mean((Unrolled(Imitation(POLICY)), hard))
