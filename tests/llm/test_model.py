"""The transformer against `transformers` (golden arrays), and against its own symmetries."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import hf_config, model, weights

DATA = Path(__file__).parent.parent / "data"
KEY = jax.random.key(0)
FORWARD = jax.jit(model.forward, static_argnums=0)


def golden(name):
    """(config, params, tokens, logits) of a tiny random model of another library."""
    file = safe_open(DATA / f"lm_{name}.safetensors", framework="np")
    config = hf_config.from_hf(json.loads(file.metadata()["config"]))
    keys = set(file.keys())

    def read(key):
        if key not in keys:
            raise KeyError(key)
        return file.get_tensor(key)

    params = weights.from_tensors(config, read, name)
    return config, params, file.get_tensor("golden.tokens"), file.get_tensor("golden.logits")


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_logits_are_those_of_transformers(name):
    config, params, tokens, expected = golden(name)
    assert (config.tied, config.qkv_bias, config.qk_norm) == {
        "llama": (True, False, False),
        "qwen2": (False, True, False),
        "qwen3": (True, False, True),
    }[name]
    assert (config.rope_scaling is None) == (name != "llama")
    got = FORWARD(config, params, jnp.asarray(tokens, jnp.int32))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert np.abs(expected).max() > 1  # the comparison is not between zeros


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_golden_logits_see_every_weight(name):
    config, params, tokens, expected = golden(name)
    leaves, tree = jax.tree.flatten(params)
    for i, leaf in enumerate(leaves):
        other = tree.unflatten([*leaves[:i], leaf * 1.5, *leaves[i + 1 :]])
        moved = np.abs(FORWARD(config, other, jnp.asarray(tokens, jnp.int32)) - expected).max()
        assert moved > 1e-3, jax.tree.leaves_with_path(params)[i][0]


def test_a_token_sees_only_what_came_before():
    config = lm_config.preset("0.1M", vocab_size=40)
    params = model.init(config, KEY)
    tokens = jax.random.randint(KEY, (2, 12), 0, 40)
    changed = tokens.at[:, 7].set((tokens[:, 7] + 1) % 40)
    before, after = FORWARD(config, params, tokens), FORWARD(config, params, changed)
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert (np.abs(before[:, 7:] - after[:, 7:]).max(-1) > 1e-4).all()


def test_jit_and_vmap_change_nothing():
    config = lm_config.preset("0.1M", vocab_size=40)
    params = model.init(config, KEY)
    tokens = jax.random.randint(KEY, (3, 9), 0, 40)
    plain = model.forward(config, params, tokens)
    np.testing.assert_allclose(FORWARD(config, params, tokens), plain, atol=1e-5)
    rows = jax.vmap(lambda row: model.forward(config, params, row[None])[0])(tokens)
    np.testing.assert_allclose(rows, plain, atol=1e-5)


def test_only_relative_positions_count():
    """Rotary positions: moving a whole text along changes nothing but rounding."""
    config = lm_config.preset("0.1M", vocab_size=40)
    params = model.init(config, KEY)
    tokens = jax.random.randint(KEY, (1, 10), 0, 40)
    here = model.hidden_states(config, params, tokens)[0]
    there = model.hidden_states(config, params, tokens, jnp.arange(10)[None] + 23)[0]
    np.testing.assert_allclose(here, there, atol=2e-4)
    reversed_order = model.hidden_states(config, params, tokens, jnp.arange(10)[None, ::-1])[0]
    assert np.abs(here - reversed_order).max() > 0.01


@pytest.mark.parametrize("name", lm_config.presets())
@pytest.mark.parametrize("changes", [{}, {"value_head": True, "tied": False, "qkv_bias": True}])
def test_presets_count_their_weights(name, changes):
    config = lm_config.preset(name, **{"vocab_size": 40, **changes})
    shapes = jax.eval_shape(lambda key: model.init(config, key), KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == config.num_params
    if not changes and "-" not in name:
        assert config.num_params == pytest.approx(float(name[:-1]) * 1e6, rel=0.15)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("smollm2-135m", 134.5), ("qwen2.5-0.5b", 494.0), ("llama-3.2-1b", 1235.8), ("llama-3.1-8b", 8030.3)],
)
def test_presets_of_known_models_have_their_size(name, millions):
    assert lm_config.preset(name).num_params / 1e6 == pytest.approx(millions, abs=0.1)


def test_value_head_and_bfloat16():
    config = lm_config.preset("0.1M", vocab_size=40, value_head=True, dtype="bfloat16")
    params = model.init(config, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    tokens = jax.random.randint(KEY, (2, 6), 0, 40)
    hidden, _ = model.hidden_states(config, params, tokens)
    assert model.values(config, params, hidden).tolist() == np.zeros((2, 6)).tolist()  # it starts at zero
    params["value"] = {"kernel": jnp.ones((64, 1), jnp.bfloat16), "bias": jnp.ones(1, jnp.bfloat16)}
    np.testing.assert_allclose(
        model.values(config, params, hidden), hidden.astype(jnp.float32).sum(-1) + 1, rtol=0.05, atol=0.2
    )
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    exact = model.forward(lm_config.preset("0.1M", vocab_size=40, value_head=True), wide, tokens)
    assert np.abs(model.forward(config, params, tokens) - exact).max() < 0.15


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (dict(num_heads=4, num_kv_heads=3), "num_kv_heads"),
        (dict(head_dim=7), "head_dim"),
        (dict(width=0), "width"),
        (dict(rope_theta=0.0), "rope_theta"),
        (dict(dtype="float16"), "dtype"),
    ],
)
def test_refuses_impossible_shapes(changes, word):
    with pytest.raises(ValueError, match=word):
        lm_config.LMConfig(vocab_size=10, **changes)


def test_presets_are_found_by_name():
    with pytest.raises(ValueError, match="Did you mean smollm2-135m"):
        lm_config.preset("smollm2-135M")
    with pytest.raises(ValueError, match="vocab_size"):
        lm_config.preset("0.1M")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (dict(model_type="gemma"), "gemma"),
        (dict(hidden_act="gelu"), "gelu"),
        (dict(rope_scaling={"rope_type": "yarn", "factor": 2.0}), "yarn"),
        (dict(attention_bias=True), "bias"),
    ],
)
def test_refuses_models_that_it_would_get_wrong(changes, word):
    data = hf_config.to_hf(lm_config.preset("0.1M", vocab_size=40)) | changes
    with pytest.raises(ValueError, match=word):
        hf_config.from_hf(data)
    with pytest.raises(ValueError, match="hidden_size"):
        hf_config.from_hf({"model_type": "llama", "vocab_size": 4})


@pytest.mark.parametrize("name", ["0.1M", "qwen2.5-0.5b", "llama-3.2-1b", "llama-3.1-8b"])
def test_config_json_keeps_the_shape(name):
    config = lm_config.preset(name, vocab_size=40)
    assert hf_config.from_hf(json.loads(json.dumps(hf_config.to_hf(config)))) == config
