"""Descent on a replay equals plain steps on the batches that its keys draw."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.strategist.learners import replay_buffer as replay


def loss(params, batch):
    return jnp.mean((batch["x"] @ params - batch["y"]) ** 2)


def test_descent_is_a_loop_over_drawn_batches():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 2)).astype(np.float32)
    kept = replay.empty({"x": jax.ShapeDtypeStruct((2,), jnp.float32), "y": jax.ShapeDtypeStruct((), jnp.float32)}, 8)
    kept = replay.add(kept, {"x": jnp.asarray(x), "y": jnp.asarray(x @ np.array([1.0, -2.0], np.float32))})
    optimiser, start, key = optax.sgd(0.1, momentum=0.5), jnp.zeros(2), jax.random.key(3)
    params, memory, mean = replay.descend(loss, optimiser, start, optimiser.init(start), kept, key, steps=4, batch=5)
    expected, speed, losses = np.zeros(2), np.zeros(2), []
    for k in jax.random.split(key, 4):
        batch = jax.device_get(replay.draw(kept, k, 5))
        error = batch["x"] @ expected - batch["y"]
        losses.append(np.mean(error**2))
        speed = 0.5 * speed + 2 * batch["x"].T @ error / 5
        expected = expected - 0.1 * speed
    np.testing.assert_allclose(params, expected, rtol=1e-4)
    np.testing.assert_allclose(mean, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(jax.tree.leaves(memory)[0], speed, rtol=1e-4)
