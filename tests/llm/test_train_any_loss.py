"""A trainer on a loss and a batch that have nothing to do with tokens: regression on a nested pytree."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_suite.core import devices
from jaxrl_suite.llm.transformer import train

SMALL = dict(steps=60, batch=8, warmup=4, learning_rate=3e-2, weight_decay=0.0)


def source(key, step):
    """Rows [8, 3] with targets, a weight of their own, and keys."""
    inputs, weights, noise = jax.random.split(key, 3)
    x = jax.random.normal(inputs, (8, 3))
    y = {"sum": x.sum(axis=1), "first": 2 * x[:, :1]}
    return {"x": x, "targets": y, "weight": jax.random.uniform(weights, (8,)), "keys": jax.random.split(noise, 8)}


def init_params(key):
    return {"w": 0.1 * jax.random.normal(key, (3, 2)), "b": jnp.zeros(2)}


def errors(params, batch):
    out = batch["x"] @ params["w"] + params["b"][None]
    targets = jnp.stack([batch["targets"]["sum"], batch["targets"]["first"][:, 0]], axis=1)
    return jnp.sum((out - targets) ** 2, axis=1)


def mean_loss(params, batch, key):
    """(loss, metrics), means over rows."""
    each = errors(params, batch)
    return jnp.mean(each), {"largest input": jnp.mean(jnp.max(batch["x"], axis=1))}


def weighted_loss(params, batch, key):
    """`Sums`: rows weigh what the batch says."""
    each = errors(params, batch)
    return train.Sums(jnp.sum(each * batch["weight"]), jnp.sum(batch["weight"]), {"plain": jnp.sum(each)})


def noisy_loss(params, batch, key):
    """Draws for each row, from keys of the batch."""
    noise = jax.vmap(jax.random.normal)(batch["keys"])
    return jnp.mean(errors(params, batch) * jnp.exp(0.3 * noise)), {}


def keyed_loss(params, batch, key):
    """Draws for the whole micro-batch, from the key it is given."""
    return jnp.mean(errors(params, batch)), {"draw": jax.random.uniform(key)}


@functools.cache
def run(loss, *, accumulate=1, mesh=None, chunk=12, **changes):
    config = train.TrainConfig(**SMALL | changes, accumulate=accumulate)
    trainer = train.make_trainer(loss, config, source, init_params=init_params, chunk=chunk, mesh=mesh)
    state, metrics = trainer.update(trainer.init(jax.random.key(3)))
    return jax.device_get((state.params, metrics))


def assert_close(one, other):
    chex.assert_trees_all_close(one, other, rtol=1e-4, atol=1e-6)


def by_hand(loss, steps):
    """The same optimiser in a Python loop over whole batches."""
    weights, batches = jax.random.split(jax.random.key(3))
    params, adamw = init_params(weights), train.optimiser(train.TrainConfig(**SMALL))
    opt_state, losses = adamw.init(params), []
    for t in range(steps):
        batch = source(jax.random.fold_in(batches, t), t)
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, opt_state = adamw.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(value))
    return params, losses


def test_it_is_plain_gradient_descent_on_the_mean_over_rows():
    params, metrics = run(mean_loss)
    expected, losses = by_hand(lambda params, batch: mean_loss(params, batch, None)[0], 12)
    assert_close(params, expected)
    np.testing.assert_allclose(metrics.loss, losses, rtol=1e-4)
    assert metrics.weight.tolist() == [8.0] * 12
    assert metrics.means["largest input"].shape == (12,)


def test_rows_may_weigh_differently():
    params, metrics = run(weighted_loss)

    def whole(params, batch):
        return jnp.sum(errors(params, batch) * batch["weight"]) / jnp.sum(batch["weight"])

    expected, losses = by_hand(whole, 12)
    assert_close(params, expected)
    np.testing.assert_allclose(metrics.loss, losses, rtol=1e-4)


@pytest.mark.parametrize("loss", [mean_loss, weighted_loss, noisy_loss])
@pytest.mark.parametrize("accumulate", [2, 8])
def test_accumulation_equals_the_big_batch(loss, accumulate):
    assert_close(run(loss), run(loss, accumulate=accumulate))


@pytest.mark.parametrize("loss", [mean_loss, weighted_loss, noisy_loss])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_devices_equal_one(loss, accumulate):
    assert_close(run(loss), run(loss, accumulate=accumulate, mesh=devices.mesh(2)))


def test_every_step_and_every_part_of_it_draws_from_a_key_of_its_own():
    _, once = run(keyed_loss)
    _, parts = run(keyed_loss, accumulate=4)
    assert len(set(once.means["draw"].tolist())) == 12
    assert len({*parts.means["draw"].tolist(), *once.means["draw"].tolist()}) == 24  # means of 4 draws


def test_what_weighs_nothing_moves_nothing():
    def silent(params, batch, key):
        return train.Sums(jnp.sum(errors(params, batch)) * 0, jnp.float32(0), {})

    params, metrics = run(silent)
    assert metrics.loss.tolist() == [0.0] * 12
    assert_close(params, init_params(jax.random.split(jax.random.key(3))[0]))


def test_it_learns():
    params, metrics = run(mean_loss, chunk=60, learning_rate=0.2)
    assert metrics.loss[-1] < 0.05 * metrics.loss[0]
    np.testing.assert_allclose(params["w"], [[1, 2], [1, 0], [1, 0]], atol=0.2)
