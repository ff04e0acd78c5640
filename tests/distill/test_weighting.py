"""Weights of real pairs: densities that are known, ranks, and the teacher's answers."""

import jax
import numpy as np
import pytest

from jaxrl_suite.distill.weighting import density_weights, teacher_targets, value_weights
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.policies import mlp_policy


def test_reciprocal_density_of_two_boxes():
    """Twice as many points in a box of a quarter of the area: 8 times the density."""
    rng = np.random.default_rng(0)
    dense, sparse = rng.uniform(0, 1, (2000, 2)), rng.uniform(0, 2, (1000, 2)) + 10
    weights = density_weights(np.concatenate([dense, sparse]), neighbours=20)
    np.testing.assert_allclose(np.median(weights[2000:]) / np.median(weights[:2000]), 8, rtol=0.15)
    np.testing.assert_allclose(weights.mean(), 1)
    equal = density_weights(dense, power=0.0)
    np.testing.assert_allclose(equal, 1)


def test_dimension_is_that_of_the_curve():
    """On a curve in space half the points have half the density, where 3 dimensions would make it an eighth."""
    rng = np.random.default_rng(0)
    angle = np.concatenate([rng.uniform(0, 1, 1600), rng.uniform(2, 3, 800)])
    curve = np.stack([np.cos(angle), np.sin(angle), angle], axis=1)
    for dimension in (None, 1.0):
        weights = density_weights(curve, neighbours=8, dimension=dimension)
        np.testing.assert_allclose(np.median(weights[1600:]) / np.median(weights[:1600]), 2, rtol=0.1)


@pytest.mark.parametrize("neighbours", [2, 3, 20])
def test_dimension_needs_few_neighbours(neighbours):
    points = np.random.default_rng(0).normal(size=(2000, 2))
    estimated, given = (density_weights(points, neighbours=neighbours, dimension=d) for d in (None, 2.0))
    lead = np.log(given) - np.log(np.median(given)) > 0.5  # what is cut at the limit tells nothing
    lead &= given < 0.9 * given.max()
    ratio = np.log(estimated / np.median(estimated))[lead] / np.log(given / np.median(given))[lead]
    np.testing.assert_allclose(ratio, 1.0, atol=0.06)


def test_limit_cuts_what_is_alone():
    points = np.concatenate([np.random.default_rng(0).normal(size=(200, 2)), [[1e4, 0.0]]])
    weights = density_weights(points, limit=5.0)
    np.testing.assert_allclose(weights[-1] / np.median(weights), 5, rtol=1e-6)


def test_copies_of_a_state_still_count():
    points = np.random.default_rng(0).normal(size=(400, 2))
    plain, all_of_them = density_weights(points), density_weights(np.concatenate([np.full((30, 2), 10.0), points]))
    copies, others = all_of_them[:30], all_of_them[30:]
    np.testing.assert_allclose(copies / np.median(all_of_them), 1 / 20, rtol=1e-3)
    uncut = others < 0.99 * others.max()
    np.testing.assert_allclose((others / plain)[uncut], others[0] / plain[0])  # the dimension is not moved by copies
    np.testing.assert_allclose(density_weights(np.zeros((30, 2))), 1)


def test_value_weights():
    q = np.array([-1.0, 3.0, 1.0, 3.0])
    np.testing.assert_allclose(value_weights(q, "shift"), np.array([0, 4, 2, 4]) / 2.5)
    np.testing.assert_allclose(value_weights(q, "rank"), np.array([1, 3.5, 2, 3.5]) / 2.5)
    soft = value_weights(q, "softmax", temperature=2.0)
    expected = np.exp(q / (2 * q.std()))
    np.testing.assert_allclose(soft, expected / expected.mean())
    np.testing.assert_allclose(value_weights(np.array([10.0, 50.0]), "published"), [0.2, 1.0])
    np.testing.assert_allclose(value_weights(np.full(3, 2.0), "shift"), 1)
    with pytest.raises(UserError, match="negative"):
        value_weights(q, "published")
    with pytest.raises(UserError, match=r"unknown weights 'ranks'\. Did you mean rank"):
        value_weights(q, "ranks")
    with pytest.raises(UserError, match="neighbours"):
        density_weights(np.zeros((3, 2)))
    with pytest.raises(UserError, match="must be finite"):
        density_weights(np.full((30, 2), np.nan))


@pytest.mark.parametrize("discrete", [False, True])
def test_teacher_answers_in_batches(discrete):
    policy = mlp_policy((3,), 2, discrete)
    params = policy.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    out = policy.apply(params, x)
    expected = jax.nn.softmax(out) if discrete else out
    np.testing.assert_allclose(teacher_targets(policy, params, x, batch=4), expected, rtol=1e-5, atol=1e-6)
