"""Training: the loss against numpy, accumulation and devices against the big batch, chunks against their sum."""

import functools
import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_suite.core import devices
from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import model, next_token, train

CONFIG = lm_config.LMConfig(
    vocab_size=13, width=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8, hidden=24, context=16
)
SMALL = dict(steps=40, batch=8, warmup=4, learning_rate=1e-2)
TRAIN = train.TrainConfig(**SMALL)


def source(key, step):
    """Rows whose second half repeats the first; the rows of a batch have very different numbers of masked tokens."""
    half = jax.random.randint(key, (8, 5), 0, 12)
    tokens = jnp.concatenate([half, half], axis=1)
    first = jnp.array([9, 9, 9, 8, 8, 5, 5, 5])[:, None]
    return next_token.Batch(tokens.astype(jnp.int32), jnp.arange(10)[None] >= first)


def make(config, source=None, **options):
    init = functools.partial(model.init, CONFIG)
    return train.make_trainer(next_token.next_token_loss(CONFIG), config, source, init_params=init, **options)


def run(config=TRAIN, *, chunk=5, updates=1, mesh=None, batches=None, params=None, source=source):
    trainer = make(config, source, chunk=chunk, mesh=mesh)
    state = trainer.init(jax.random.key(3), params)
    losses = []
    for _ in range(updates):
        state, metrics = trainer.update(state, batches)
        losses.append(np.asarray(metrics.loss))
    return jax.device_get(state._replace(key=jax.random.key_data(state.key))), np.concatenate(losses)


@functools.cache
def plain():
    """Five steps as they are: one device, the whole batch, float32."""
    return run()


def assert_close(one, other, atol=2e-5):
    chex.assert_trees_all_close(one, other, atol=atol, rtol=1e-4)


def test_the_loss_is_the_mean_over_masked_tokens_of_the_whole_batch():
    params = model.init(CONFIG, jax.random.key(0))
    batch = source(jax.random.key(1), 0)
    logits = np.asarray(model.forward(CONFIG, params, batch.tokens), np.float64)
    logprobs = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    picked = np.take_along_axis(logprobs[:, :-1], np.asarray(batch.tokens)[:, 1:, None], axis=-1)[..., 0]
    mask = np.asarray(batch.mask)[:, 1:]
    assert float(next_token.mean_loss(CONFIG, params, batch)) == pytest.approx(-picked[mask].mean(), rel=1e-5)
    assert -picked[mask].mean() != pytest.approx(
        -np.mean([p[m].mean() for p, m in zip(picked, mask, strict=True)]), rel=1e-3
    )
    sums = next_token.token_loss(CONFIG, params, batch)
    hits = logits[:, :-1].argmax(-1) == np.asarray(batch.tokens)[:, 1:]
    assert (int(sums.weight), int(sums.metrics["accuracy"])) == (mask.sum(), hits[mask].sum())


def test_unmasked_tokens_and_the_first_are_never_predicted():
    params = model.init(CONFIG, jax.random.key(0))
    tokens, mask = source(jax.random.key(1), 0)
    open_end = mask.at[:, -1].set(False)
    loss = next_token.mean_loss(CONFIG, params, next_token.Batch(tokens, open_end))
    other = next_token.mean_loss(CONFIG, params, next_token.Batch(tokens.at[:, -1].set(12), open_end))
    assert float(loss) == float(other)
    first = next_token.mean_loss(CONFIG, params, next_token.Batch(tokens, open_end.at[:, 0].set(True)))
    assert float(first) == float(loss)
    assert float(next_token.mean_loss(CONFIG, params, next_token.Batch(tokens.at[:, -1].set(12), mask))) != float(loss)


def test_accumulation_equals_the_big_batch():
    whole, losses = plain()
    for parts in (2, 8):  # the masks of the parts differ in size, so a mean of means would not do
        accumulated, parts_losses = run(train.TrainConfig(**SMALL, accumulate=parts))
        assert_close(whole.params, accumulated.params)
        np.testing.assert_allclose(losses, parts_losses, rtol=1e-5)


def test_two_devices_equal_one():
    one, losses = plain()
    two, two_losses = run(mesh=devices.mesh(2))
    assert_close(one.params, two.params)
    np.testing.assert_allclose(losses, two_losses, rtol=1e-5)


EIGHT = """
import sys
import jax, numpy as np
sys.path.insert(0, sys.argv[1])
import test_train as t
from jaxrl_suite.core import devices
assert jax.device_count() == 8
one, losses = t.run(updates=2)
eight, eight_losses = t.run(updates=2, mesh=devices.mesh(8))
t.assert_close(one.params, eight.params)
np.testing.assert_allclose(losses, eight_losses, rtol=1e-5)
"""


def test_eight_devices_equal_one():
    done = subprocess.run(
        [sys.executable, "-c", EIGHT, os.path.dirname(__file__)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_chunks_add_up():
    long, losses = run(chunk=10)
    short, parts = run(updates=2)
    chex.assert_trees_all_equal(long, short)
    np.testing.assert_array_equal(losses, parts)


def test_updates_share_a_program_and_use_their_state_up(caplog):
    trainer = make(TRAIN, source, chunk=2, mesh=devices.mesh(2))
    state = first = trainer.init(jax.random.key(0))
    with jax.log_compiles():
        for _ in range(3):
            state, _ = trainer.update(state)
    assert int(state.step) == 6
    assert sum("Compiling jit(update)" in record.getMessage() for record in caplog.records) == 1
    assert all(x.is_deleted() for x in jax.tree.leaves(first.params))


def test_given_batches_are_those_that_are_trained_on():
    key = jax.random.split(jax.random.key(3))[1]  # as `init` does
    given = [source(jax.random.fold_in(key, t), t) for t in range(5)]
    batches = jax.tree.map(lambda *x: jnp.stack(x), *given)
    drawn, losses = plain()
    taken, given_losses = run(batches=batches, source=None)
    assert_close(drawn, taken, atol=1e-6)
    np.testing.assert_allclose(losses, given_losses, rtol=1e-6)


def test_given_weights_are_copied():
    params = model.init(CONFIG, jax.random.key(9))
    state, _ = run(params=params)
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))
    assert float(jnp.max(jnp.abs(state.params["embed"]["embedding"] - params["embed"]["embedding"]))) > 0


def test_it_learns():
    _, losses = run(train.TrainConfig(steps=300, batch=8, warmup=10, learning_rate=1e-2), chunk=300)
    assert losses[:5].mean() > 2.3  # log 12 is 2.48
    assert losses[-20:].mean() < 1.2


def test_half_precision_keeps_float32_weights():
    whole, losses = plain()
    half, half_losses = run(train.TrainConfig(**SMALL, dtype="bfloat16"))
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(half.params))
    np.testing.assert_allclose(losses, half_losses, atol=0.05)
    assert not np.array_equal(losses, half_losses)
    assert_close(whole.params, half.params, atol=0.05)


def test_computing_again_changes_no_number_that_matters():
    whole, losses = plain()
    again, again_losses = run(train.TrainConfig(**SMALL, remat=True))
    assert_close(whole.params, again.params)
    np.testing.assert_allclose(losses, again_losses, rtol=1e-5)


def test_the_schedule_warms_up_and_follows_a_cosine():
    rate = train.learning_rate(train.TrainConfig(steps=110, warmup=10, learning_rate=0.5, final=0.1))
    values = [float(rate(t)) for t in (0, 5, 10, 60, 110, 500)]
    assert values == pytest.approx([0.0, 0.25, 0.5, 0.275, 0.05, 0.05])
    assert float(train.learning_rate(train.TrainConfig(steps=5, warmup=0, learning_rate=0.5))(0)) == 0.5


def test_only_matrices_decay_and_an_empty_mask_moves_nothing_else():
    def silent(key, step):
        return source(key, step)._replace(mask=jnp.zeros((8, 10), bool))

    config = train.TrainConfig(steps=40, batch=8, warmup=0, final=1.0, learning_rate=0.1, weight_decay=0.5)
    params = model.init(CONFIG, jax.random.key(9))
    state, losses = run(config, chunk=1, params=params, source=silent)
    assert losses == [0.0]
    np.testing.assert_allclose(state.params["embed"]["embedding"], params["embed"]["embedding"] * 0.95, rtol=1e-5)
    np.testing.assert_array_equal(state.params["norm"]["scale"], params["norm"]["scale"])


def test_gradients_are_clipped_and_their_norm_is_told_before():
    params = model.init(CONFIG, jax.random.key(9))
    batch = jax.jit(source)(jax.random.key(1), 0)
    grads = jax.jit(jax.grad(lambda p: next_token.mean_loss(CONFIG, p, batch)))(params)
    norm = float(optax.global_norm(grads))
    trainer = make(TRAIN, chunk=1)
    _, metrics = trainer.update(trainer.init(jax.random.key(3), params), jax.tree.map(lambda x: x[None], batch))
    assert float(metrics.grad_norm[0]) == pytest.approx(norm, rel=1e-4)
    tight = train.optimiser(train.TrainConfig(**SMALL, clip=norm / 10))
    moments = optax.tree_utils.tree_get(tight.update(grads, tight.init(params), params)[1], "mu")
    assert float(optax.global_norm(moments)) == pytest.approx(0.1 * norm / 10, rel=1e-3)  # 1 - beta1 of the clipped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 3}, "accumulate must divide the batch of 8"),
        ({"warmup": 40}, "warmup must be below the 40 steps"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"steps": 0}, "steps must be"),
    ],
)
def test_refuses_a_config_that_cannot_be_run(changes, message):
    with pytest.raises(ValueError, match=message):
        train.TrainConfig(**{**SMALL, **changes})


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"set TrainConfig\.dtype"):
        next_token.next_token_loss(lm_config.LMConfig(vocab_size=13, dtype="bfloat16"))
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        make(TRAIN, chunk=0)
    with pytest.raises(ValueError, match="cannot be split over 2 devices"):
        make(train.TrainConfig(**SMALL, accumulate=8), mesh=devices.mesh(2))
    with pytest.raises(ValueError, match="no source"):
        run(source=None)
    with pytest.raises(ValueError, match="8 rows on its leading axis"):
        run(source=lambda key, step: jax.tree.map(lambda x: x[:4], source(key, step)))
    with pytest.raises(ValueError, match=r"one shape \[B, T\]"):
        run(source=lambda key, step: source(key, step)._replace(mask=jnp.ones((8, 9), bool)))
    with pytest.raises(ValueError, match="makes no parameters"):
        train.make_trainer(next_token.next_token_loss(CONFIG), TRAIN, source).init(jax.random.key(0))
    with pytest.raises(ValueError, match="must be float32, got bfloat16"):
        make(TRAIN, source).init(jax.random.key(0), {"w": jnp.ones(3, jnp.bfloat16)})
