"""Adapters: nothing changes at first, the full rank says everything, and only the adapter is trained."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import lora, model, next_token, train

CONFIG = lm_config.LMConfig(
    vocab_size=11, width=8, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=4, hidden=12, context=16
)


@pytest.fixture(scope="module")
def base():
    return model.init(CONFIG, jax.random.key(0))


def flat(params) -> Any:
    """Leaves by path."""
    return traverse_util.flatten_dict(params, sep="/")


def noise(params, key):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return tree.unflatten([x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_first_merged_model_is_the_base_bit_for_bit(base, dtype):
    base = jax.tree.map(lambda x: x.astype(dtype), base)
    adapter = lora.init(base, 4, jax.random.key(1))
    chex.assert_trees_all_equal(lora.merge(base, adapter, 3.0), base, strict=True)


def test_targets_shapes_and_counts(base):
    adapter = lora.init(base, 3, jax.random.key(1), ("qkv", "down"))
    assert sorted(adapter) == [
        "layers_0/attention/qkv/kernel",
        "layers_0/mlp/down/kernel",
        "layers_1/attention/qkv/kernel",
        "layers_1/mlp/down/kernel",
    ]
    assert adapter["layers_1/attention/qkv/kernel"].a.shape == (8, 3)
    assert adapter["layers_1/attention/qkv/kernel"].b.shape == (3, 16)
    assert lora.num_params(adapter) == 2 * 3 * (8 + 16 + 12 + 8)
    whole = lora.init(base, 1, jax.random.key(1), ("embed", *lora.TARGETS))
    assert "embed/embedding" in whole
    assert len(whole) == 9


def test_the_spread_of_a_is_that_of_fresh_weights():
    wide = {"w": jnp.zeros((400, 300))}
    a = lora.init(wide, 200, jax.random.key(1), ("w",))["w"].a
    assert float(jnp.std(a)) == pytest.approx(400**-0.5, rel=0.02)


def test_rank_equal_to_the_width_represents_the_full_update(base):
    tuned = noise(base, jax.random.key(2))
    adapter = lora.fit(base, tuned, rank=CONFIG.width, scale=0.5)
    merged = lora.merge(base, adapter, scale=0.5)
    before, after, wanted = (flat(tree) for tree in (base, merged, tuned))
    for path in adapter:
        np.testing.assert_allclose(after[path], wanted[path], atol=2e-6)
        assert float(jnp.max(jnp.abs(after[path] - before[path]))) > 0.1
    assert len(adapter) == len(lora.TARGETS) * CONFIG.num_layers
    for layer in range(CONFIG.num_layers):
        norm = f"layers_{layer}/mlp_norm/scale"
        np.testing.assert_array_equal(after[norm], before[norm])


def test_a_lower_rank_is_the_best_one_and_a_higher_one_adds_nothing(base):
    tuned = noise(base, jax.random.key(2))
    path = "layers_0/attention/qkv/kernel"
    before, after = (flat(tree)[path] for tree in (base, tuned))
    singular = np.linalg.svd(np.asarray(after - before), compute_uv=False)
    for rank in (1, 3, 20):
        pair = lora.fit(base, tuned, rank)[path]
        assert pair.a.shape == (8, rank)
        error = np.linalg.norm(np.asarray(after - before - pair.a @ pair.b))
        assert error == pytest.approx(np.sqrt(np.sum(singular[rank:] ** 2)), abs=1e-5)


def test_gradients_follow_the_chain_rule_and_finite_differences(base):
    adapter = jax.tree.map(lambda x: x + 0.3, lora.init(base, 2, jax.random.key(3)))
    tokens = jax.random.randint(jax.random.key(4), (3, 7), 0, 11)
    batch = next_token.Batch(tokens, jnp.ones((3, 7), bool))
    scale = 0.7

    def loss(adapter):
        return next_token.mean_loss(CONFIG, lora.merge(base, adapter, scale), batch)

    found = jax.jit(jax.grad(loss))(adapter)
    merged = lora.merge(base, adapter, scale)
    full = jax.jit(jax.grad(lambda params: next_token.mean_loss(CONFIG, params, batch)))(merged)
    full = flat(full)
    for path, pair in adapter.items():
        g = full[path]
        np.testing.assert_allclose(found[path].a, scale * g @ pair.b.T, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[path].b, scale * pair.a.T @ g, rtol=1e-4, atol=1e-5)
    norm = float(optax.global_norm(found))
    step = 1e-2 / norm  # along the gradient, whose slope is its norm

    def along(s: float):
        return float(loss(jax.tree.map(lambda x, g: x + s * g, adapter, found)))

    assert (along(step) - along(-step)) / (2 * step) == pytest.approx(norm**2, rel=2e-2)


def test_training_moves_the_adapter_alone_and_fits(base):
    config = train.TrainConfig(steps=60, batch=8, warmup=2, learning_rate=3e-2, weight_decay=0.0)
    tokens = jax.random.randint(jax.random.key(5), (8, 7), 0, 11)
    batch = next_token.Batch(tokens, jnp.ones((8, 7), bool))
    loss, assemble = next_token.next_token_loss(CONFIG), functools.partial(lora.assemble, scale=2.0)
    trainer = train.make_trainer(loss, config, lambda key, step: batch, chunk=60, assemble=assemble)
    before = jax.tree.map(np.asarray, base)
    adapter = lora.init(base, 4, jax.random.key(6))
    state, metrics = trainer.update(trainer.init(jax.random.key(7), adapter), frozen=base)
    chex.assert_trees_all_equal(base, before, strict=True)
    assert jax.tree.structure(state.params) == jax.tree.structure(adapter)
    assert metrics.loss[0] == pytest.approx(float(next_token.mean_loss(CONFIG, base, batch)), rel=1e-5)
    assert metrics.loss[-1] < 0.5 * metrics.loss[0]
    merged = lora.merge(base, state.params, 2.0)
    np.testing.assert_array_equal(merged["embed"]["embedding"], base["embed"]["embedding"])
    assert float(next_token.mean_loss(CONFIG, merged, batch)) < 0.5 * float(metrics.loss[0])


def test_refuses_what_does_not_fit(base):
    with pytest.raises(ValueError, match="rank must be at least 1"):
        lora.init(base, 0, jax.random.key(0))
    with pytest.raises(ValueError, match="Did you mean qkv"):
        lora.init(base, 2, jax.random.key(0), ("qkvs",))
    with pytest.raises(ValueError, match="no matrix of the model is called 'norm'"):
        lora.init(base, 2, jax.random.key(0), ("norm",))
    adapter = lora.init(base, 2, jax.random.key(0))
    small = {name: part for name, part in base.items() if name != "layers_1"}
    with pytest.raises(ValueError, match="of 'layers_1/mlp/down/kernel', which these weights do not have"):
        lora.merge(small, {"layers_1/mlp/down/kernel": adapter["layers_1/mlp/down/kernel"]})
