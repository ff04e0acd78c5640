"""Behaviour cloning against closed forms and plain numpy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_suite.distill.pairs import make_pairs
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners import cloning
from jaxrl_suite.rl.learners.cloning import Recipe, cloning_loss, fit, fit_recipe, sample_losses
from jaxrl_suite.rl.policies import mlp_policy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = np.tanh(RNG.normal(size=(40, 2))).astype(np.float32)
W = RNG.uniform(0.1, 2.0, 40).astype(np.float32)
LINEAR = mlp_policy((3,), 2, widths=(), squash=False)


def test_losses_equal_numpy():
    logits = RNG.normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2], np.int32)
    onehot = np.eye(4)[labels]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = {
        "mse": ((logits - onehot) ** 2).mean(1),
        "mae": np.abs(logits - onehot).mean(1),
        "cross_entropy": -np.log(p[np.arange(5), labels]),
        "softmax_mse": ((p - onehot) ** 2).mean(1),
        "softmax_mae": np.abs(p - onehot).mean(1),
    }
    for kind, values in expected.items():
        hard = sample_losses(kind, jnp.asarray(logits), jnp.asarray(labels))
        np.testing.assert_allclose(hard, values, rtol=1e-5)
        np.testing.assert_allclose(sample_losses(kind, jnp.asarray(logits), jnp.asarray(onehot)), hard, rtol=1e-6)


def test_weighted_fit_reaches_weighted_least_squares():
    params, losses = fit(
        LINEAR, LINEAR.init(jax.random.key(0)), X, Y, W, optax.sgd(0.3), 600, jax.random.key(1), unroll=4
    )
    rows = np.concatenate([X, np.ones((40, 1))], 1)
    best = np.linalg.solve(rows.T @ (W[:, None] * rows), rows.T @ (W[:, None] * Y))
    np.testing.assert_allclose(params["head"]["kernel"], best[:3], atol=1e-4)
    np.testing.assert_allclose(params["head"]["bias"], best[3], atol=1e-4)
    start = (Y - X @ np.asarray(LINEAR.init(jax.random.key(0))["head"]["kernel"])) ** 2
    np.testing.assert_allclose(losses[0], np.average(start.mean(1), weights=W), rtol=1e-5)
    assert losses[-1] < losses[0]


def test_momentum_step_by_step():
    how = Recipe("sgd", 0.1, 3, momentum=0.5)
    params, _ = fit_recipe(LINEAR, LINEAR.init(jax.random.key(0)), X, Y, None, how, jax.random.key(1))
    w, b = np.asarray(LINEAR.init(jax.random.key(0))["head"]["kernel"]), np.zeros(2)
    mw = mb = 0.0
    for _ in range(3):
        gap = (X @ w + b - Y) / 40  # the mean over 2 dimensions takes the 2 of the square
        mw, mb = 0.5 * mw + X.T @ gap, 0.5 * mb + gap.sum(0)
        w, b = w - 0.1 * mw, b - 0.1 * mb
    np.testing.assert_allclose(params["head"]["kernel"], w, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(params["head"]["bias"], b, rtol=1e-4, atol=1e-6)


def test_students_vmap_as_a_loop():
    policy = mlp_policy((3,), 2, widths=(8,))
    keys = jax.random.split(jax.random.key(2), 3)
    params = jax.vmap(policy.init)(keys)
    how = Recipe("adam", 1e-2, 20, batch=8)

    def one(params, key):
        return fit_recipe(policy, params, X, Y, W, how, key)

    together, losses = jax.jit(jax.vmap(one))(params, keys)
    for i in range(3):
        alone, loss = jax.jit(one)(jax.tree.map(lambda leaf, i=i: leaf[i], params), keys[i])
        np.testing.assert_allclose(losses[i], loss, rtol=1e-4)
        row = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        chex.assert_trees_all_close(row, alone, rtol=1e-4, atol=1e-6)
    assert len(set(np.asarray(losses)[0].tolist())) > 1  # mini-batches differ from step to step


def test_rows_of_weight_zero_do_not_count():
    policy = mlp_policy((3,), 2, discrete=True)
    params = policy.init(jax.random.key(0))
    labels = RNG.integers(0, 2, 40).astype(np.int32)
    mask = (np.arange(40) < 11).astype(np.float32)
    part = cloning_loss(policy, params, X[:11], labels[:11])
    np.testing.assert_allclose(cloning_loss(policy, params, X, labels, mask), part, rtol=1e-5)
    assert cloning_loss(policy, params, X, labels, 0 * mask) == 0


def test_refusals():
    with pytest.raises(UserError, match="Did you mean sgd100"):
        cloning.recipe("sgd10")
    with pytest.raises(ValueError, match="steps must be"):
        Recipe(steps=0)
    with pytest.raises(UserError, match="batch"):
        Recipe(batch=0)
    with pytest.raises(UserError, match=r"unknown optimiser 'adma'\. Did you mean adam"):
        Recipe("adma")  # pyright: ignore[reportArgumentType]
    policy = mlp_policy((3,), 1)
    params, column = policy.init(jax.random.key(0)), np.asarray(Y)[:, :1]
    for targets, weights, kind, message in (
        (column[:, 0], None, None, r"targets \(40,\) do not fit outputs \(40, 1\): give \[N, A\]"),
        (column[:5], None, None, "do not fit outputs"),
        (column, np.ones(5), None, r"weights \(5,\) do not fit the losses \(40,\)"),
        (column, None, "mes", "unknown loss 'mes'. Did you mean mse"),
    ):
        with pytest.raises(UserError, match=message):
            cloning_loss(policy, params, X, targets, weights, kind)  # pyright: ignore[reportArgumentType]


def test_actions_beyond_what_a_tanh_answers_are_refused():
    policy, free = mlp_policy((3,), 2, widths=(8,)), mlp_policy((3,), 2, widths=(8,), squash=False)
    params, key = policy.init(jax.random.key(0)), jax.random.key(1)
    how = Recipe("adam", 1e-2, 2)
    with pytest.raises(ValueError, match=r"actions reach [\d.]+: learners act in \[-1, 1\].*rescale_actions"):
        fit_recipe(policy, params, X, 2 * Y, W, how, key)
    with pytest.raises(ValueError, match="learners act in"):
        make_pairs(policy, X, 2 * Y)
    fit_recipe(free, free.init(jax.random.key(0)), X, 2 * Y, W, how, key)
    make_pairs(free, X, 2 * Y)
    fit_recipe(policy, params, X, np.clip(2 * Y, -1, 1), W, how, key)


def test_a_loss_that_is_no_number_stops_with_its_step():
    policy = mlp_policy((3,), 2, widths=(8,), squash=False)
    params = policy.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"cloning loss is not finite from step \d+ on: lower the learning rate"):
        fit(policy, params, X, Y, None, optax.sgd(1e3), 100, jax.random.key(0))
    with pytest.raises(ValueError, match="from step 0 on"):
        fit(policy, params, X, Y * np.nan, None, optax.sgd(0.1), 3, jax.random.key(0))
