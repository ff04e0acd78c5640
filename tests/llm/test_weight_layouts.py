"""Weights as people store them: each layout is read as what it means, or refused by name; nothing is ignored."""

import json

import gguf
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from fixtures.small_tokenizers import byte_level_bpe
from safetensors.numpy import load_file, save_file

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import gguf_file, gguf_tokenizer, hf_config, model, rope, weights
from jaxrl_suite.llm.transformer.sampler import TransformerSampler

CONFIG = lm_config.preset("0.1M", vocab_size=64, tied=False)
PARAMS = model.init(CONFIG, jax.random.key(0))
TENSORS = {name: np.asarray(value) for name, value in weights.to_tensors(CONFIG, PARAMS)}
TOKENS = jnp.asarray([[1, 5, 9, 7, 3]])
FORWARD = jax.jit(model.forward, static_argnums=0)
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def folder(path, tensors=None, without=(), **config):
    """A model folder as the hub has it."""
    path.mkdir(exist_ok=True)
    described = {**hf_config.to_hf(CONFIG), **config}
    (path / "config.json").write_text(json.dumps({k: v for k, v in described.items() if k not in without}))
    save_file(TENSORS if tensors is None else tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


def logits(where):
    loaded = weights.load(where)
    return np.asarray(FORWARD(loaded.config, loaded.params, TOKENS))


@pytest.fixture(scope="module")
def expected():
    return np.asarray(FORWARD(CONFIG, PARAMS, TOKENS))


def refused(where, word):
    with pytest.raises(UserError, match=word) as caught:
        weights.load(where)
    assert "\n" not in str(caught.value)


QUANTISED = {
    "bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "quantised by bitsandbytes"),
    "gptq": ({"quant_method": "gptq", "bits": 4}, "quantised by gptq"),
    "awq": ({"quant_method": "awq"}, "quantised by awq"),
    "compressed-tensors": (
        {"quant_method": "compressed-tensors", "format": "float-quantized"},
        "by compressed-tensors",
    ),
}


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_folders_are_refused_by_method(tmp_path, name):
    settings, word = QUANTISED[name]
    refused(folder(tmp_path, quantization_config=settings), word)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, ml_dtypes.float8_e4m3fn])
def test_numbers_that_are_no_weights_are_refused_by_tensor(tmp_path, kind):
    name = "model.layers.1.mlp.down_proj.weight"
    with jax.enable_x64(True):
        refused(folder(tmp_path, {**TENSORS, name: TENSORS[name].astype(kind)}), f"{name} of .* quantised")


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.q_proj.SCB", "model.layers.0.self_attn.q_proj.lora_A.weight", "score.weight"]
)
def test_a_tensor_that_is_not_understood_is_named(tmp_path, name):
    refused(
        folder(tmp_path, {**TENSORS, name: np.ones(3, np.float32)}), f"have a tensor {name}, which is not understood"
    )


def test_what_is_computed_from_the_config_may_be_there(tmp_path, expected):
    more = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    np.testing.assert_array_equal(logits(folder(tmp_path, {**TENSORS, **more})), expected)


def test_a_head_of_its_own_is_used_whatever_the_config_says(tmp_path, expected):
    np.testing.assert_array_equal(logits(folder(tmp_path, tie_word_embeddings=True)), expected)


def test_a_tied_pair_is_found_under_either_name_and_twice(tmp_path):
    table = TENSORS[EMBEDDING]
    one = {name: value for name, value in TENSORS.items() if name not in (HEAD, EMBEDDING)}
    found = []
    for number, pair in enumerate(({EMBEDDING: table}, {HEAD: table}, {HEAD: table, EMBEDDING: table})):
        where = folder(tmp_path / str(number), {**one, **pair}, tie_word_embeddings=True)
        assert weights.load(where).config.tied
        found.append(logits(where))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    refused(folder(tmp_path / "untied", {**one, EMBEDDING: table}), "no tensor lm_head")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"attention_multiplier": 0.5}, "attention_multiplier = 0.5, which is not understood"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding-window"),
        ({"attention_bias": True}, "biases"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"model_type": "mixtral"}, "mixtral"),
        ({"hidden_size": "64"}, "whole number"),
        ({"num_attention_heads": 4.0}, "whole number"),
    ],
)
def test_a_key_that_is_not_understood_is_named(tmp_path, changes, word):
    refused(folder(tmp_path, **changes), word)


def test_keys_without_effect_are_read_over(tmp_path, expected):
    where = folder(tmp_path, use_cache=True, initializer_range=0.02, transformers_version="5", foo=None, bar=False)
    np.testing.assert_array_equal(logits(where), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_layout_in_memory_is_written_row_by_row(tmp_path, dtype):
    from jax.experimental.layout import Format, Layout

    def turned(x):
        if x.ndim != 2:
            return x
        return jax.device_put(x, Format(Layout(major_to_minor=(1, 0)), x.sharding))

    config = lm_config.preset("0.1M", vocab_size=64, tied=False, dtype=dtype)
    params = model.init(config, jax.random.key(1))
    layouts = {
        "columns": jax.tree.map(turned, params),
        "numpy": jax.tree.map(lambda x: np.asfortranarray(np.asarray(x)), params),
        "views": jax.tree.map(lambda x: np.ascontiguousarray(np.asarray(x).T).T, params),
    }
    for name, tree in layouts.items():
        weights.save_safetensors(tmp_path / name, config, tree)
        loaded = weights.load(tmp_path / name, dtype)
        assert jax.tree.all(jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), loaded.params, params)), name
        stored = load_file(tmp_path / name / "model.safetensors")
        np.testing.assert_array_equal(stored[EMBEDDING], np.asarray(params["embed"]["embedding"]))


# GGUF.


def interleave(rows, heads):
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def write_gguf(
    path, config=CONFIG, params=PARAMS, kind="llama", keep=lambda name: True, more=lambda writer: None, **sizes
):
    writer = gguf.GGUFWriter(path, kind)
    size = dict(heads=config.num_heads, kv=config.num_kv_heads, hidden=config.hidden) | sizes
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(size["hidden"])
    writer.add_head_count(size["heads"])
    writer.add_head_count_kv(size["kv"])
    writer.add_key_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    if more is not None:
        more(writer)
    for name, value in weights.to_tensors(config, params):
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            value = interleave(value, config.num_heads if "q_proj" in name else config.num_kv_heads)
        if keep is None or keep(name):
            writer.add_tensor(gguf_file._gguf_name(name), np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_sizes_a_layer_that_agree_are_one_size(tmp_path, expected):
    per_layer = dict(heads=[4, 4], kv=[2, 2], hidden=[176, 176])
    np.testing.assert_array_equal(logits(write_gguf(tmp_path / "m.gguf", **per_layer)), expected)
    refused(write_gguf(tmp_path / "n.gguf", hidden=[176, 88]), "different feed_forward_length: .88, 176.")


def test_parts_of_a_file_are_read_together(tmp_path, expected):
    first, second = (tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2))

    def split(number):
        def add(writer):
            writer.add_uint16("split.count", 2)
            writer.add_uint16("split.no", number)

        return add

    write_gguf(first, keep=lambda name: "layers.1" not in name, more=split(0))
    refused(first, "m-00002-of-00002.gguf is not beside it")
    write_gguf(second, keep=lambda name: "layers.1" in name, more=split(1))
    np.testing.assert_array_equal(logits(first), expected)
    np.testing.assert_array_equal(logits(second), expected)
    alone = first.rename(tmp_path / "renamed.gguf")
    refused(alone, "one of 2 parts")


def test_stretched_positions_are_read_from_their_table(tmp_path):
    scaling = lm_config.RopeScaling(4.0, 1.0, 4.0, 64)
    config = lm_config.preset("0.1M", vocab_size=64, tied=False, rope_scaling=scaling, rope_theta=500.0)
    plain = rope.inverse_wavelengths(config.head_dim, config.rope_theta, None)
    table = (plain / rope.inverse_wavelengths(config.head_dim, config.rope_theta, scaling)).astype(np.float32)

    def add(writer, table=table):
        writer.add_tensor("rope_freqs.weight", table)
        writer.add_uint32("llama.rope.scaling.original_context_length", 64)

    assert weights.load(write_gguf(tmp_path / "m.gguf", config, more=add)).config == config
    odd = write_gguf(tmp_path / "n.gguf", config, more=lambda writer: add(writer, table[::-1].copy()))
    refused(odd, "no known rule")
    linear = write_gguf(tmp_path / "l.gguf", more=lambda writer: writer.add_float32("llama.rope.scale_linear", 2.0))
    refused(linear, "rotary positions scaled")
    factor = write_gguf(tmp_path / "f.gguf", more=lambda writer: writer.add_float32("llama.rope.scaling.factor", 2.0))
    refused(factor, "factor alone")


def test_qwen3_has_its_norms(tmp_path):
    config = lm_config.preset("0.1M", vocab_size=64, qk_norm=True)
    params = jax.tree.map(lambda x: x * 1.1, model.init(config, jax.random.key(3)))
    loaded = weights.load(write_gguf(tmp_path / "m.gguf", config, params, "qwen3"))
    assert loaded.config == config
    assert jax.tree.all(jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), loaded.params, params))


def test_keys_and_tensors_of_a_gguf_that_are_not_understood_are_named(tmp_path):
    refused(
        write_gguf(tmp_path / "a.gguf", more=lambda writer: writer.add_float32("llama.attention.scale", 0.1)),
        "llama.attention.scale = 0.1",
    )
    extra = write_gguf(
        tmp_path / "b.gguf", more=lambda writer: writer.add_tensor("blk.0.x.weight", np.ones(2, np.float32))
    )
    refused(extra, r"have a tensor blk\.0\.x\.weight, which is not understood")


@pytest.mark.parametrize(("pre", "known"), [("qwen2", True), ("llama-bpe", True), ("smollm", True), ("tekken", False)])
def test_the_end_tokens_of_a_gguf_are_kept(tmp_path, caplog, pre, known):
    letters = ["<eos>", "<eot>", *"abcdefghijklmnopqrstuvwxyz0123456789", "Ġ", "th", "the", "Ġthe"]

    def add(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list([*letters, *(f"t{i}" for i in range(64 - len(letters)))])
        writer.add_token_types([3, 3] + [1] * 62)
        writer.add_token_merges(["t h", "th e", "Ġ the", "q u"])  # the last makes a token that is not there
        writer.add_eos_token_id(0)
        writer.add_eot_token_id(1)

    loaded = weights.load(write_gguf(tmp_path / "m.gguf", more=add))
    assert loaded.eos == (0, 1)
    sampler = TransformerSampler(loaded.name, loaded.config, loaded.params, eos=loaded.eos, tokenizer=loaded.tokenizer)
    assert sampler.eos == (0, 1)
    if not known:
        assert loaded.tokenizer is None
        assert "'tekken'" in caplog.text
        return
    ids = loaded.tokenizer.encode("the the 123<eot>")
    assert loaded.tokenizer.decode(ids) == "the the 123"
    assert ids[-1] == 1
    assert loaded.tokenizer.eos == (0, 1)


def test_words_are_split_as_the_models_do():
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789'", "Ġ", "12", "123"]
    for pre, pieces in (("llama-bpe", ["123", "4"]), ("qwen2", ["1", "2", "3", "4"])):
        backend = gguf_tokenizer._backend(letters, [("1", "2"), ("12", "3")], pre, [], [])
        assert [backend.id_to_token(i) for i in backend.encode("1234").ids] == pieces


# Damaged files.

SMALL = lm_config.LMConfig(24, width=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, hidden=12, tied=False)


def mutate(data, rng, reach):
    """A file with a few bytes changed, taken out or doubled in its first `reach` bytes."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, min(reach, len(data))))
        match rng.integers(4):
            case 0:
                data[at] = int(rng.integers(256))
            case 1:
                del data[at : at + int(rng.integers(1, 9))]
            case 2:
                data[at:at] = data[at : at + int(rng.integers(1, 9))]
            case _:
                data = data[: at + int(rng.integers(1, 400))]
    return bytes(data)


def plain_tensors(where):
    """What a reader of the format alone gets from a file, as float32."""
    if where.suffix == ".gguf":
        reader = gguf.GGUFReader(where)
        return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    return {name: np.asarray(value, np.float32) for name, value in load_file(where / "model.safetensors").items()}


@pytest.mark.tier2
@pytest.mark.parametrize("kind", ["safetensors", "config", "gguf", "tokenizer"])
def test_mutated_files_are_refused_in_a_line_or_read_as_they_are(tmp_path, kind):
    """125 of each kind: no traceback, and what is accepted is what the file holds."""
    rng, params = np.random.default_rng(0), model.init(SMALL, jax.random.key(0))
    weights.save_safetensors(tmp_path / "m", SMALL, params)
    write_gguf(tmp_path / "m.gguf", SMALL, params)
    small = byte_level_bpe([*"<abcdefghijklmnopqrst>"], [], special=["<"], eos=(0,), bos=None, chat_template=None)
    small.backend.save(str(tmp_path / "m" / "tokenizer.json"))
    name = {"safetensors": "model.safetensors", "config": "config.json", "tokenizer": "tokenizer.json"}.get(kind)
    (tmp_path / "m" / "tokenizer_config.json").write_text('{"eos_token": "<"}')
    victim = tmp_path / "m.gguf" if name is None else tmp_path / "m" / name
    where, whole, accepted = victim if name is None else victim.parent, victim.read_bytes(), 0
    for _ in range(125):
        victim.write_bytes(mutate(whole, rng, 2000))
        try:
            loaded = weights.load(where)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        accepted += 1
        stored = plain_tensors(where)
        for key, value in weights.to_tensors(loaded.config, loaded.params):
            expected = stored[gguf_file._gguf_name(key) if kind == "gguf" else key]
            if kind == "gguf" and (".q_proj." in key or ".k_proj." in key):
                expected = gguf_file.unpermute(expected, loaded.config.num_heads if ".q_" in key else 1)
            np.testing.assert_array_equal(np.asarray(value), expected)
    assert accepted < 125
