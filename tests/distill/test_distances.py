"""Distances of gradients: plain numpy, and derivatives where rows are zero."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.distill.distances import gradient_distance

RNG = np.random.default_rng(0)


def make(rng=RNG):
    return [
        {"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)},
        {"kernel": rng.normal(size=(3, 2)), "bias": np.ones(2)},
    ]


def test_distances_equal_numpy():
    a, b = make(), make()
    layers = [[np.concatenate([g["kernel"], g["bias"][None]]) for g in pair] for pair in zip(a, b, strict=True)]
    flat = sum(np.sum((x - y) ** 2) for x, y in layers)
    np.testing.assert_allclose(gradient_distance("l2", a, b), flat, rtol=1e-5)
    layer = sum(np.sum((x - y) ** 2) / np.sum(y**2) for x, y in layers)
    np.testing.assert_allclose(gradient_distance("layer", a, b), layer, rtol=1e-5)
    units = [(x[:, j], y[:, j]) for x, y in layers for j in range(x.shape[1])]
    cosine = sum(1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in units)
    np.testing.assert_allclose(gradient_distance("cosine", a, b), cosine, rtol=1e-5)


@pytest.mark.parametrize("kind", ["l2", "layer", "cosine"])
@pytest.mark.parametrize("zero", ["syn", "real", "both"])
def test_zero_rows_have_finite_derivatives(kind, zero):
    a, b = jax.tree.map(jnp.asarray, (make(), make()))
    if zero != "real":
        a[0] = jax.tree.map(lambda leaf: leaf.at[..., 1].set(0.0), a[0])
        a[1] = jax.tree.map(jnp.zeros_like, a[1])
    if zero != "syn":
        b[0] = jax.tree.map(lambda leaf: leaf.at[..., 1].set(0.0), b[0])
    value, slope = jax.value_and_grad(lambda a: gradient_distance(kind, a, b))(a)
    assert np.isfinite(value)
    chex.assert_tree_all_finite(slope)
    if kind == "cosine" and zero != "syn":  # a unit without a real gradient pulls nowhere
        np.testing.assert_array_equal(slope[0]["kernel"][:, 1], 0)


def test_cosine_ignores_scale_and_layer_ignores_units():
    a, b = make(), make()
    np.testing.assert_allclose(
        gradient_distance("cosine", jax.tree.map(lambda x: 7 * x, a), b), gradient_distance("cosine", a, b), rtol=1e-4
    )
    np.testing.assert_allclose(
        gradient_distance("layer", *jax.tree.map(lambda x: 7 * x, (a, b))), gradient_distance("layer", a, b), rtol=1e-4
    )
