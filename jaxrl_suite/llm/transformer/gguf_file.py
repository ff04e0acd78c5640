"""GGUF files, as llama.cpp writes them: weights (F32, F16, Q8_0, Q4_1, ...), config and tokenizer in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.tensors import Model, from_tensors
from jaxrl_suite.llm.transformer.tokenizer import Tokenizer, byte_level_bpe

_LAYER = {  # name on the hub to name in a GGUF file, inside a layer
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_SPECIAL = 3  # token_type of control tokens


def load(path: Path, dtype: str = "float32") -> Model:
    """The model in a GGUF file.

    Args:
      path: the file.
      dtype: of the weights in memory; they are dequantised.

    Raises:
      UserError: if the file is damaged, or its model is neither Llama nor Qwen2.
    """
    import gguf

    path = Path(path)
    try:
        reader = gguf.GGUFReader(path)
        data = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # the reader has no error class of its own
        raise UserError(f"{path} is not a whole GGUF file ({type(error).__name__}): download it again") from None
    config = _config(data, tensors, dtype, path)

    def read(name: str) -> np.ndarray:
        tensor = tensors[_gguf_name(name)]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if data["general.architecture"] == "llama" and (".q_proj." in name or ".k_proj." in name):
            heads = config.num_heads if ".q_proj." in name else config.num_kv_heads
            values = unpermute(values, heads)
        return values

    params = from_tensors(config, read, path.name)
    return Model(config, params, _tokenizer(data), str(data.get("general.name") or path.stem))


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection `[heads d, D]`, from llama.cpp's order to the usual one.

    In each head it keeps the coordinates that turn together, i and i + d/2, next to each other.
    """
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{kind}"
    index, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{index}.{_LAYER[part]}.{kind}"


def _config(data: dict[str, Any], tensors: dict[str, Any], dtype: str, path: Path) -> LMConfig:
    kind = data.get("general.architecture")
    if kind not in ("llama", "qwen2"):
        raise UserError(f"{path.name} holds a model of type {kind!r}: only llama and qwen2 can be loaded")
    scaling = data.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in tensors:
        raise UserError(f"{path.name} has scaled rotary positions, which are read from safetensors only: load those")
    if kind == "llama" and "blk.0.attn_q.bias" in tensors:
        raise UserError(f"{path.name} is a Llama model with biases, which cannot be loaded: choose one without")
    try:
        width, heads = data[f"{kind}.embedding_length"], data[f"{kind}.attention.head_count"]
        return LMConfig(
            vocab_size=int(tensors["token_embd.weight"].shape[1]),
            width=width,
            num_layers=data[f"{kind}.block_count"],
            num_heads=heads,
            num_kv_heads=data.get(f"{kind}.attention.head_count_kv", heads),
            head_dim=data.get(f"{kind}.attention.key_length", width // heads),
            hidden=data[f"{kind}.feed_forward_length"],
            context=data[f"{kind}.context_length"],
            rope_theta=float(data.get(f"{kind}.rope.freq_base", 10_000.0)),
            norm_eps=float(str(np.float32(data[f"{kind}.attention.layer_norm_rms_epsilon"]))),  # 1e-05, not its float32
            tied="output.weight" not in tensors,
            qkv_bias="blk.0.attn_q.bias" in tensors,
            dtype=dtype,  # pyright: ignore[reportArgumentType]  (LMConfig checks it)
        )
    except KeyError as missing:
        raise UserError(f"{path.name} has no {missing}: the file is not whole") from None


def _tokenizer(data: dict[str, Any]) -> Tokenizer | None:
    """The file's own tokenizer; None for kinds whose way of splitting text is not known here."""
    if data.get("tokenizer.ggml.model") != "gpt2" or data.get("tokenizer.ggml.pre") != "smollm":
        return None
    tokens, types = data["tokenizer.ggml.tokens"], data["tokenizer.ggml.token_type"]
    return byte_level_bpe(
        tokens,
        data["tokenizer.ggml.merges"],
        special=[token for token, kind in zip(tokens, types, strict=True) if kind == _SPECIAL],
        eos=(data["tokenizer.ggml.eos_token_id"],),
        bos=data["tokenizer.ggml.bos_token_id"] if data.get("tokenizer.ggml.add_bos_token") else None,
        chat_template=data.get("tokenizer.chat_template"),
    )
