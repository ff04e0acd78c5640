"""Random regressors: a set with the moments of the data has loss 0, and descent finds one."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.distill.driver import Driver, distill
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs, make_pairs
from jaxrl_suite.distill.random_regressors import RandomRegressors
from jaxrl_suite.distill.sampling import UniformBatches
from jaxrl_suite.rl.policies import mlp_policy

RNG = np.random.default_rng(0)
LINEAR = RandomRegressors(Imitation(mlp_policy((2,), 1, widths=(), squash=False)))


class Whole(UniformBatches):
    """The whole data as one batch."""

    def draw(self, table, key):
        return table


def moments(x, y):
    rows = np.concatenate([x, y, np.ones((len(x), 1))], axis=1)
    return rows.T @ rows / len(x)


def sigma_points(x, y):
    """2 L points of equal weight with the mean and covariance of [x, y]."""
    rows = np.concatenate([x, y], axis=1)
    root = np.linalg.cholesky(np.cov(rows.T, bias=True)) * np.sqrt(rows.shape[1])
    points = rows.mean(0) + np.concatenate([root.T, -root.T])
    return points[:, : x.shape[1]], points[:, x.shape[1] :]


def test_matching_moments_are_a_zero_of_the_loss():
    with jax.enable_x64(True):
        x, y = RNG.normal(size=(50, 2)) + 1, RNG.normal(size=(50, 1))
        sx, sy = sigma_points(x, y)
        np.testing.assert_allclose(moments(sx, sy), moments(x, y))
        syn = Distilled(jnp.asarray(sx), jnp.asarray(sy), jnp.zeros(6), jnp.zeros(()))
        batch = Pairs(jnp.asarray(x), jnp.asarray(y), jnp.ones(50))
        look = jax.jit(jax.value_and_grad(lambda syn: LINEAR.loss(syn, batch, (), jax.random.key(0))[0]))
        value, slope = look(syn)
        np.testing.assert_allclose(value, 0, atol=1e-20)
        np.testing.assert_allclose(slope.observations, 0, atol=1e-10)
        shifted = syn._replace(labels=syn.labels + 0.1)
        assert look(shifted)[0] > 1e-4


def test_descent_finds_the_moments():
    x = RNG.normal(size=(60, 2)).astype(np.float32)
    y = (x[:, :1] - 0.5 * x[:, 1:] + 0.3 * RNG.normal(size=(60, 1))).astype(np.float32)
    pairs = make_pairs(LINEAR.imitation.policy, x, y)
    syn = Distilled(
        *(jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((8, 2), (8, 1))), jnp.zeros(8), jnp.zeros(())
    )
    before = np.abs(moments(np.asarray(syn.observations), np.asarray(syn.labels)) - moments(x, y)).max()
    driver = Driver(LINEAR, Whole(), students=1, learning_rate=0.02, judges=2)
    state = distill(driver, jax.random.key(0), syn, pairs, pairs, 400, chunk=200)
    after = np.abs(moments(np.asarray(state.syn.observations), np.asarray(state.syn.labels)) - moments(x, y)).max()
    assert before > 0.3
    assert after < 0.02


def test_regressors_have_biases():
    params = LINEAR._draw(jax.random.key(0))
    assert np.all(np.asarray(params["head"]["bias"]) != 0)
