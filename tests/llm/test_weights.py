"""Weights on disk: what is written is read back bit for bit, GGUF against its own quantiser, and damaged files."""

import json

import gguf
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from fixtures.small_tokenizers import byte_level_bpe

from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import gguf_file, hf_config, model, tokenizer, weights

KEY = jax.random.key(0)


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: x.dtype == y.dtype and bool(jnp.array_equal(x, y)), a, b))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("changes", [{}, dict(tied=False, qkv_bias=True, value_head=True)])
def test_safetensors_keep_every_bit(tmp_path, dtype, changes):
    config = lm_config.preset("0.1M", vocab_size=40, dtype=dtype, **changes)
    params = jax.tree.map(lambda x: x + jnp.asarray(0.5, x.dtype), model.init(config, KEY))
    weights.save_safetensors(tmp_path / "model", config, params)
    loaded = weights.load(tmp_path / "model", dtype)
    assert loaded.config == config
    assert equal(loaded.params, params)
    assert loaded.tokenizer is None
    assert not list(tmp_path.glob("model/.*"))


def test_weights_in_several_files(tmp_path):
    from safetensors.numpy import save_file

    config = lm_config.preset("0.1M", vocab_size=40)
    params = model.init(config, KEY)
    tensors = dict(weights.to_tensors(config, params))
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, members in parts.items():
        save_file({name: tensors[name] for name in members}, tmp_path / file)
    where = {name: file for file, members in parts.items() for name in members}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps(hf_config.to_hf(config)))
    assert equal(weights.load(tmp_path).params, params)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no b\.safetensors"):
        weights.load(tmp_path)


def damage(folder, how):
    path = folder / "model.safetensors"
    data = json.loads((folder / "config.json").read_text())
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "missing tensor":
        data["num_hidden_layers"] = 3
    elif how == "wrong shape":
        data["intermediate_size"] = 100
    elif how == "no weights":
        path.unlink()
    if how == "not json":
        (folder / "config.json").write_text("{")
    elif how == "no config":
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("truncated", "download them again"),
        ("empty", "download them again"),
        ("missing tensor", r"no tensor model\.layers\.2"),
        ("wrong shape", r"gate_proj.*shape"),
        ("no weights", "not whole"),
        ("not json", "not JSON"),
        ("no config", r"cannot read .*config\.json"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(tmp_path, how, word):
    config = lm_config.preset("0.1M", vocab_size=40)
    weights.save_safetensors(tmp_path, config, model.init(config, KEY))
    damage(tmp_path, how)
    with pytest.raises(ValueError, match=word) as caught:
        weights.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_names_that_are_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="Did you mean smollm2"):
        weights.load("smolm2")
    with pytest.raises(ValueError, match="run `jaxrl-suite fetch smollm2`"):
        weights.load("smollm2")


def interleave(rows, heads):
    """llama.cpp's order of query and key rows, written as a loop over coordinates: i and i + d/2 side by side."""
    d = rows.shape[0] // heads
    out = np.empty_like(rows)
    for head in range(heads):
        for i in range(d // 2):
            for half in range(2):
                out[head * d + 2 * i + half] = rows[head * d + half * d // 2 + i]
    return out


def write_gguf(path, config, params, kind="llama", quant=None, **extra):
    names = {v: k for k, v in gguf_file._LAYER.items()}
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    for key, value in extra.items():
        writer.add_string(key, value)
    tensors = dict(weights.to_tensors(config, params))
    for name, value in tensors.items():
        value = np.asarray(value, np.float32)
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            value = interleave(value, config.num_heads if "q_proj" in name else config.num_kv_heads)
        target = gguf_file._gguf_name(name)
        assert target.split(".")[-2] in names or not target.startswith("blk")
        if quant is None or value.ndim == 1:
            writer.add_tensor(target, value)
        else:
            writer.add_tensor(target, gguf.quants.quantize(value, quant), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_gguf_with_plain_floats(tmp_path, kind):
    config = lm_config.preset("0.1M", vocab_size=64, tied=kind == "llama", qkv_bias=kind == "qwen2")
    params = model.init(config, KEY)
    write_gguf(tmp_path / "m.gguf", config, params, kind)
    loaded = weights.load(tmp_path / "m.gguf")
    assert loaded.config == config
    assert equal(loaded.params, params)


@pytest.mark.parametrize(("quant", "bits"), [("Q4_1", 4), ("Q8_0", 8), ("F16", 11)])
def test_gguf_with_few_bits(tmp_path, quant, bits):
    config = lm_config.preset("0.1M", vocab_size=64, width=96, hidden=160, num_heads=4, head_dim=24)
    params = model.init(config, KEY)
    write_gguf(tmp_path / "m.gguf", config, params, quant=getattr(gguf.GGMLQuantizationType, quant))
    loaded = weights.load(tmp_path / "m.gguf", "bfloat16").params
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(ml_dtypes.bfloat16)}
    loaded = weights.load(tmp_path / "m.gguf").params
    for got, exact in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        error, size = np.abs(got - exact).max(), np.abs(exact).max()
        assert error <= size * 2.0 ** (1 - bits)
    assert not equal(loaded, params)


def test_damaged_gguf_is_refused(tmp_path):
    config = lm_config.preset("0.1M", vocab_size=64)
    write_gguf(tmp_path / "m.gguf", config, model.init(config, KEY))
    whole = (tmp_path / "m.gguf").read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "head": whole[:50],
        "empty": b"",
        "text": b"hello" * 99,
    }.items():
        (tmp_path / f"{name}.gguf").write_bytes(content)
        with pytest.raises(ValueError, match="not a whole GGUF file"):
            weights.load(tmp_path / f"{name}.gguf")
    write_gguf(tmp_path / "g.gguf", config, model.init(config, KEY), kind="gemma")
    with pytest.raises(ValueError, match="gemma"):
        weights.load(tmp_path / "g.gguf")
    write_gguf(tmp_path / "r.gguf", config, model.init(config, KEY), **{"llama.rope.scaling.type": "yarn"})
    with pytest.raises(ValueError, match="rotary"):
        weights.load(tmp_path / "r.gguf")


def test_a_llama_gguf_with_biases_is_refused(tmp_path, monkeypatch):
    config = lm_config.preset("0.1M", vocab_size=64, qkv_bias=True)
    monkeypatch.setitem(globals(), "interleave", lambda rows, heads: rows)
    write_gguf(tmp_path / "m.gguf", config, model.init(config, KEY))
    with pytest.raises(ValueError, match="a Llama model with biases"):
        weights.load(tmp_path / "m.gguf")


def test_unpermute_is_the_inverse_of_interleaving():
    rows = np.arange(24 * 3).reshape(24, 3)
    np.testing.assert_array_equal(gguf_file.unpermute(interleave(rows, 2), 2), rows)


def small_tokenizer(**changes):
    letters = ["<eos>", "<s>", *sorted("abcdefghijklmnopqrstuvwxyz0123456789.,?!"), "Ġ", "Ċ", "Ã", "©"]
    merges = ["t h", "th e", "Ġ the"]
    options = dict(special=["<eos>", "<s>"], eos=(0,), bos=None, chat_template=None) | changes
    return byte_level_bpe([*letters, "th", "the", "Ġthe"], merges, **options)


def test_tokens_of_a_small_vocabulary():
    t = small_tokenizer()
    ids = t.encode("the the 12é<eos>")
    assert [t.backend.id_to_token(i) for i in ids] == ["the", "Ġthe", "Ġ", "1", "2", "Ã", "©", "<eos>"]
    assert t.decode(ids) == "the the 12é"
    assert t.decode(ids[:-2]) == "the the 12\ufffd"
    assert small_tokenizer(bos=1).encode("the") == (1, t.encode("the")[0])


def test_chats_go_through_the_template():
    from jaxrl_suite.llm.protocol import Message

    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a.{% endif %}"
    )
    t = small_tokenizer(chat_template=source)
    asked = (Message("user", "the"),)
    assert t.render(asked) == "the\na."
    assert t.render((*asked, Message("assistant", "th"))) == "the\na.th"
    assert t.prefix_ids(asked) == t.encode("the\na.")
    assert t.prefix_ids((5, 6)) == (5, 6)
    with pytest.raises(ValueError, match="no system"):
        t.render((Message("system", "x"), *asked))
    with pytest.raises(ValueError, match="no chat template"):
        small_tokenizer().prefix_ids(asked)
    evil = small_tokenizer(chat_template="{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(ValueError, match="refuses"):
        evil.render(asked)


def test_templates_know_the_tokens_that_begin_and_end():
    from jaxrl_suite.llm.protocol import Message

    source = "{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    asked = (Message("user", "the"),)
    assert small_tokenizer(chat_template=source).render(asked) == "the<eos>"
    t = small_tokenizer(chat_template=source, bos=1)
    assert t.prefix_ids(asked) == (1, *t.encode("the")[1:], 0)


def test_a_tokenizer_that_begins_every_text_by_itself(tmp_path):
    """What tokenizer.json puts before a text counts, as in transformers 5, whatever the settings say beside it."""
    from tokenizers.processors import TemplateProcessing

    backend = small_tokenizer().backend
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"eos_token_id": [2, 0]}')
    cases = [({}, 1), ({"add_bos_token": False}, 1), ({"add_bos_token": True, "bos_token": "<eos>"}, 1)]
    for settings, bos in cases:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>", **settings}))
        loaded = tokenizer.from_folder(tmp_path)
        assert (loaded.bos, loaded.eos) == (bos, (0, 2))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is not JSON .*: download it again"):
        tokenizer.from_folder(tmp_path)


def test_tokenizer_beside_the_weights(tmp_path):
    config = lm_config.preset("0.1M", vocab_size=64)
    weights.save_safetensors(tmp_path, config, model.init(config, KEY))
    t = small_tokenizer()
    t.backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="eos_token_id"):
        weights.load(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    loaded = weights.load(tmp_path).tokenizer
    assert loaded.eos == (0, 1)
    assert loaded.encode("the 12") == t.encode("the 12")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cannot read .*tokenizer\.json") as caught:
        weights.load(tmp_path)
    assert "\n" not in str(caught.value)
