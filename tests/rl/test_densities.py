"""Densities and entropies beside plain numpy and beside drawn actions."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.rl import densities
from jaxrl_suite.rl.policies import mlp_policy

KEY = jax.random.key(0)


def test_densities_and_entropies():
    continuous, discrete = mlp_policy((3,), 2), mlp_policy((3,), 4, discrete=True)
    output, log_std = jnp.array([[0.2, -0.7], [0.0, 0.5]]), jnp.array([-0.3, 0.4])
    actions = jnp.array([[0.1, 0.9], [-1.2, 0.4]])
    gap = (np.asarray(actions) - np.asarray(output)) / np.exp(np.asarray(log_std))
    expected = np.log(np.exp(-0.5 * gap**2) / (np.sqrt(2 * np.pi) * np.exp(np.asarray(log_std)))).sum(axis=1)
    np.testing.assert_allclose(densities.log_density(continuous, output, log_std, actions), expected, rtol=1e-5)
    keys = jax.random.split(KEY, 50_000)
    drawn = jax.vmap(lambda key: densities.sample(continuous, jnp.zeros(2), log_std, key))(keys)
    sampled = -densities.log_density(continuous, jnp.zeros((50_000, 2)), log_std, drawn).mean()
    np.testing.assert_allclose(densities.entropy(continuous, output, log_std), sampled, atol=0.02)
    logits = jnp.array([[0.0, 1.0, -1.0, 3.0]])
    shares = np.exp(np.asarray(logits[0])) / np.exp(np.asarray(logits[0])).sum()
    np.testing.assert_allclose(
        densities.log_density(discrete, logits, log_std, jnp.array([1])), np.log(shares[1]), rtol=1e-5
    )
    np.testing.assert_allclose(
        densities.entropy(discrete, logits, log_std), -(shares * np.log(shares)).sum(), rtol=1e-5
    )
    drawn = jax.vmap(lambda key: densities.sample(discrete, logits[0], log_std, key))(jax.random.split(KEY, 20_000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, shares, atol=0.015)
