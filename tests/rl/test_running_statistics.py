"""Running statistics beside numpy on all rows at once."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.rl import running_statistics


def test_merged_batches_equal_all_rows_at_once():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, size=(n, 5, 2)).astype(np.float32) * np.array([1, 100]) for n in (7, 1, 40, 13)]
    merged = running_statistics.init((2,))
    for batch in batches:
        merged = jax.jit(running_statistics.update)(merged, jnp.asarray(batch))
    rows = np.concatenate([batch.reshape(-1, 2) for batch in batches])
    assert float(merged.count) == len(rows)
    np.testing.assert_allclose(merged.mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(running_statistics.deviation(merged), rows.std(axis=0), rtol=1e-5)
    scaled = running_statistics.normalise(merged, jnp.asarray(rows))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)


def test_far_from_zero_no_digits_are_lost():
    rng = np.random.default_rng(1)
    rows = rng.normal(1000.0, 0.5, size=(50, 64, 1)).astype(np.float32)
    merged = running_statistics.init((1,))
    for batch in rows:
        merged = running_statistics.update(merged, jnp.asarray(batch))
    assert abs(float(running_statistics.deviation(merged)[0]) - rows.astype(np.float64).std()) < 2e-3


def test_before_any_observation_nothing_changes_and_a_constant_becomes_zero():
    nothing = running_statistics.init((3,))
    x = jnp.array([1.0, -4.0, 30.0])
    assert running_statistics.normalise(nothing, x).tolist() == [1, -4, 30]
    constant = running_statistics.update(nothing, jnp.full((6, 3), 7.0))
    assert running_statistics.normalise(constant, jnp.full(3, 7.0)).tolist() == [0, 0, 0]
    assert running_statistics.normalise(constant, jnp.array([7.0, 8.0, 6.0])).tolist() == [0, 10, -10]
