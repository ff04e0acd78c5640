"""Kernel ridge beside its primal form, finite differences, the solution of a linear problem, and the pool's ages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.distill.kernel_ridge import KernelRidge, features, ridge_predict
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import conv_policy, mlp_policy

RNG = np.random.default_rng(0)


def test_dual_equals_primal():
    with jax.enable_x64(True):
        x, y, w, queries = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 2)), RNG.uniform(0.5, 2, 6), np.ones((3, 4))
        penalty = 0.1 * np.mean(np.sum(w[:, None] * x * x, axis=1))
        theta = np.linalg.solve(x.T @ (w[:, None] * x) + penalty * np.eye(4), x.T @ (w[:, None] * y))
        np.testing.assert_allclose(ridge_predict(*map(jnp.asarray, (x, y, w, queries)), 0.1), queries @ theta)


@pytest.mark.parametrize("discrete", [False, True])
def test_gradient_equals_finite_differences(discrete):
    with jax.enable_x64(True):
        policy = mlp_policy((3,), 2, discrete, widths=(8,), activation="tanh")
        objective = KernelRidge(Imitation(policy), ridge=0.01)
        state = objective.init(jax.random.key(0), None)
        batch = Pairs(jnp.asarray(RNG.normal(size=(7, 3))), jnp.asarray(RNG.dirichlet(np.ones(2), 7)), jnp.ones(7))
        syn = Distilled(*(jnp.asarray(RNG.normal(size=shape)) for shape in ((4, 3), (4, 2), (4,), ())))
        loss = jax.jit(lambda syn: objective.loss(syn, batch, state, jax.random.key(1))[0])
        slope = jax.grad(loss)(syn)
        for name in ("observations", "labels", "log_weights"):
            base = np.asarray(getattr(syn, name))
            for place in np.ndindex(base.shape):
                shift = np.zeros_like(base)
                shift[place] = 1e-5
                up, down = (float(loss(syn._replace(**{name: jnp.asarray(base + s * shift)}))) for s in (1, -1))
                np.testing.assert_allclose(getattr(slope, name)[place], (up - down) / 2e-5, rtol=1e-5, atol=1e-8)


def test_linear_problem_has_the_known_solution():
    """With features [x, 1] and next to no ridge, labels on the least-squares fit of the real pairs are stationary."""
    with jax.enable_x64(True):
        policy = mlp_policy((2,), 1, widths=(), squash=False)
        objective = KernelRidge(Imitation(policy), ridge=1e-12)
        state = objective.init(jax.random.key(0), None)
        x, y = RNG.normal(size=(40, 2)), RNG.normal(size=(40, 1))
        rows = np.concatenate([x, np.ones((40, 1))], axis=1)
        best = np.linalg.lstsq(rows, y, rcond=None)[0]
        ours = RNG.normal(size=(3, 2))
        labels = np.concatenate([ours, np.ones((3, 1))], axis=1) @ best
        syn = Distilled(jnp.asarray(ours), jnp.asarray(labels), jnp.zeros(3), jnp.zeros(()))
        batch = Pairs(jnp.asarray(x), jnp.asarray(y), jnp.ones(40))
        look = jax.jit(jax.value_and_grad(lambda syn: objective.loss(syn, batch, state, jax.random.key(1))[0]))
        value, slope = look(syn)
        np.testing.assert_allclose(value, np.mean((rows @ best - y) ** 2), rtol=1e-6)
        np.testing.assert_allclose(slope.labels, 0, atol=1e-6)
        worse = look(syn._replace(labels=syn.labels + 0.1))[0]
        assert worse > value


def test_features_are_what_the_last_layer_reads():
    for policy in (mlp_policy((3,), 2, widths=(5, 4)), conv_policy((4, 4, 2), 2, channels=(3,), widths=(4,))):
        params = policy.init(jax.random.key(0))
        x = jnp.asarray(RNG.normal(size=(6, *policy.observation_shape)), jnp.float32)
        found = features(policy, params, x)
        assert found.shape == (6, 5)
        last = params.get("dense", params)["head"]
        head = jnp.concatenate([last["kernel"], last["bias"][None]]) * jnp.sqrt(5.0)
        out = found @ head
        np.testing.assert_allclose(
            policy.apply(params, x), out if policy.discrete else jnp.tanh(out), rtol=1e-5, atol=1e-6
        )


def test_networks_age_and_start_anew():
    policy = mlp_policy((2,), 1, widths=(4,))
    imitation = Imitation(policy)
    objective = KernelRidge(imitation, inner=Recipe("sgd", 0.1, 2), max_age=3)
    syn = Distilled(jnp.ones((3, 2)), jnp.ones((3, 1)), jnp.zeros(3), jnp.zeros(()))
    state = objective.init(jax.random.key(0), None)._replace(age=jnp.int32(0))
    update, ages, losses = jax.jit(objective.update), [], []
    for step in range(4):
        state = update(syn, state, jax.random.key(step))
        ages.append(int(state.age))
        losses.append(float(imitation.mean_loss(state.params, imitation.pairs(syn))))
    assert ages == [1, 2, 0, 1]
    assert losses[1] < losses[0]
    chex.assert_trees_all_equal_shapes(policy.init(jax.random.key(2)), state.params)
    start = {int(objective.init(jax.random.key(seed), None).age) for seed in range(20)}
    assert start == {0, 1, 2}


def test_refusals():
    with pytest.raises(UserError, match="batch out"):
        KernelRidge(Imitation(mlp_policy((2,), 1)), inner=Recipe(batch=2))
    with pytest.raises(ValueError, match="ridge must be"):
        KernelRidge(Imitation(mlp_policy((2,), 1)), ridge=0.0)
