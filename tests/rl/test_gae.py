"""Generalised advantage estimation beside sums written out for each step of each episode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.rl.learners.gae import gae


@pytest.mark.parametrize(("discount", "decay"), [(0.9, 0.8), (1.0, 1.0), (0.97, 0.0)])
def test_agrees_with_sums_over_each_episode(discount, decay):
    rng = np.random.default_rng(0)
    rewards, values, following = rng.normal(size=(3, 30, 4))
    terminated = rng.random((30, 4)) < 0.1
    truncated = (rng.random((30, 4)) < 0.1) & ~terminated
    assert terminated.any()
    assert truncated.any()
    expected = np.zeros((30, 4))
    for row in range(4):
        for start in range(30):
            for t in range(start, 30):
                follows = 0.0 if terminated[t, row] else following[t, row]
                error = rewards[t, row] + discount * follows - values[t, row]
                expected[start, row] += (discount * decay) ** (t - start) * error
                if terminated[t, row] or truncated[t, row]:
                    break
    arrays = [jnp.asarray(x) for x in (rewards, values, following, terminated, truncated)]
    np.testing.assert_allclose(jax.jit(gae)(*arrays, discount, decay), expected, rtol=1e-4, atol=1e-4)


def test_with_decay_1_the_targets_are_returns_to_go():
    """Bootstrapped where an episode was cut off and where the data end, and not where it terminated."""
    rewards = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])
    values, following = jnp.zeros(5), jnp.array([9.0, 9.0, 10.0, 9.0, 20.0])
    ends = jnp.array([False, True, False, False, False]), jnp.array([False, False, True, False, False])
    following = following.at[0].set(values[1]).at[3].set(values[4])
    targets = gae(rewards, values, following, *ends, 0.5, 1.0) + values
    assert targets.tolist() == [2.0, 2.0, 8.0, 11.5, 15.0]
