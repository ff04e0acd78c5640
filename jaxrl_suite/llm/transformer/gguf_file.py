"""GGUF files, as llama.cpp writes them: weights (F32, F16, Q8_0, Q4_1, ...), config, tokenizer, whole or in parts."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer.config import LMConfig, RopeScaling
from jaxrl_suite.llm.transformer.gguf_tokenizer import eos_ids, read_tokenizer
from jaxrl_suite.llm.transformer.hf_config import KINDS
from jaxrl_suite.llm.transformer.rope import inverse_wavelengths
from jaxrl_suite.llm.transformer.tensors import Model, from_tensors

_LAYER = {  # name on the hub to name in a GGUF file, inside a layer
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_HUB_LAYER = {value: key for key, value in _LAYER.items()}
_HUB_OUTSIDE = {value: key for key, value in _OUTSIDE.items()}
_FREQUENCIES = "rope_freqs.weight"  # what each rotary wavelength is stretched by
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_READ = {  # keys of an architecture that are read or checked, or that change nothing for these kinds
    "vocab_size", "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
    "rope.freq_base", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear",
    "rope.scaling.original_context_length", "rope.scaling.finetuned", "tensor_data_layout",
}  # fmt: skip
_log = logging.getLogger(__name__)


class _GGUFContent(NamedTuple):
    """All parts of a file."""

    fields: dict[str, Any]
    tensors: dict[str, Any]


def load(path: Path, dtype: str = "float32") -> Model:
    """The model in a GGUF file, or in the parts of one (`model-00001-of-00003.gguf`).

    Args:
      path: the file, or any part.
      dtype: of the weights in memory; they are dequantised.

    Raises:
      UserError: if the file is damaged, a part is missing, its model is of another kind, or something in it is not
        understood.
    """
    import gguf

    path = Path(path)
    content = _read(path)
    config = _config(content, dtype, path)
    kind, tensors = content.fields["general.architecture"], content.tensors

    def read(name: str) -> np.ndarray:
        tensor = tensors[_gguf_name(name)]
        try:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            raise UserError(
                f"{path.name} holds weights of {tensor.tensor_type.name}, which cannot be read: take Q8_0"
            ) from None
        if kind == "llama" and (".q_proj." in name or ".k_proj." in name):
            values = unpermute(values, config.num_heads if ".q_proj." in name else config.num_kv_heads)
        return values

    names = [name for name in tensors if name != _FREQUENCIES]
    params = from_tensors(config, read, path.name, [_hub_name(name) for name in names])
    tokenizer, eos = read_tokenizer(content.fields, path.name), eos_ids(content.fields)
    if tokenizer is None:
        pre = content.fields.get("tokenizer.ggml.pre", content.fields.get("tokenizer.ggml.model"))
        _log.warning(
            "%s splits text as %r does, which is not known here: give token ids, or load safetensors", path.name, pre
        )
    return Model(config, params, tokenizer, str(content.fields.get("general.name") or path.stem), eos)


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection `[heads d, D]`, from llama.cpp's order to the usual one.

    In each head it keeps the coordinates that turn together, i and i + d/2, next to each other.
    """
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _read(path: Path) -> _GGUFContent:
    """Fields of the first part, tensors of all."""
    import gguf

    part = _PART.search(path.name)
    files = [path]
    if part:
        files = [
            path.with_name(f"{path.name[: part.start()]}-{i:05d}-of-{part[2]}.gguf") for i in range(1, int(part[2]) + 1)
        ]
        if missing := [file.name for file in files if not file.exists()]:
            raise UserError(
                f"{path.name} is a part of a model whose part {missing[0]} is not beside it: download it too"
            )
    fields: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    for file in files:
        try:
            reader = gguf.GGUFReader(file)
            fields = {name: field.contents() for name, field in reader.fields.items()} | fields
            tensors |= {tensor.name: tensor for tensor in reader.tensors}
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from None
        except Exception as error:  # the reader has no error class of its own
            raise UserError(f"{file} is not a whole GGUF file ({type(error).__name__}): download it again") from None
    if (count := fields.get("split.count", 1)) not in (0, 1, len(files)):
        raise UserError(
            f"{path.name} is one of {count} parts of a model: name them NAME-00001-of-{count:05d}.gguf and so on"
        )
    return _GGUFContent(fields, tensors)


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{kind}"
    index, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{index}.{_LAYER[part]}.{kind}" if part in _LAYER else name


def _hub_name(name: str) -> str:
    """The inverse; names that are not known stay as they are."""
    stem, _, kind = name.rpartition(".")
    if stem in _HUB_OUTSIDE:
        return f"{_HUB_OUTSIDE[stem]}.{kind}"
    index, _, part = stem.removeprefix("blk.").partition(".")
    return f"model.layers.{index}.{_HUB_LAYER[part]}.{kind}" if part in _HUB_LAYER else name


def _config(content: _GGUFContent, dtype: str, path: Path) -> LMConfig:
    data, tensors = content
    kind = data.get("general.architecture")
    if kind not in KINDS:
        raise UserError(f"{path.name} holds a model of type {kind!r}: only {', '.join(KINDS)} can be loaded")
    own = {key.removeprefix(f"{kind}."): value for key, value in data.items() if key.startswith(f"{kind}.")}
    for key, value in own.items():
        if key not in _READ and not (isinstance(value, (int, float)) and not value):
            raise UserError(
                f"{path.name} says {kind}.{key} = {str(value)[:60]}, which is not understood: load safetensors"
            )
    if kind != "qwen2" and "blk.0.attn_q.bias" in tensors:
        raise UserError(
            f"{path.name} is a {kind.title()} model with biases, which cannot be loaded: choose one without"
        )
    try:
        width, heads = _one(own, "embedding_length", path), _one(own, "attention.head_count", path)
        head_dim = _one(own, "attention.key_length", path, width // heads)
        theta = float(own.get("rope.freq_base", 10_000.0))
        config = LMConfig(
            vocab_size=int(tensors["token_embd.weight"].shape[1]),
            width=width,
            num_layers=_one(own, "block_count", path),
            num_heads=heads,
            num_kv_heads=_one(own, "attention.head_count_kv", path, heads),
            head_dim=head_dim,
            hidden=_one(own, "feed_forward_length", path),
            context=_one(own, "context_length", path),
            rope_theta=theta,
            rope_scaling=_rope_scaling(content, own, head_dim, theta, path),
            norm_eps=float(str(np.float32(own["attention.layer_norm_rms_epsilon"]))),  # 1e-05, not its float32
            tied="output.weight" not in tensors,
            qkv_bias=kind == "qwen2",
            qk_norm=kind == "qwen3",
            dtype=dtype,  # pyright: ignore[reportArgumentType]  (LMConfig checks it)
        )
    except KeyError as missing:
        raise UserError(f"{path.name} has no {missing}: the file is not whole") from None
    except (TypeError, ZeroDivisionError) as error:
        raise UserError(f"{path.name} holds a size that is none ({error}): download it again") from None
    for name in ("rope.dimension_count", "attention.value_length"):
        if _one(own, name, path, head_dim) != head_dim:
            raise UserError(f"{path.name} says {name} = {own[name]} where heads have {head_dim}: it cannot be loaded")
    return config


def _one(own: Mapping[str, Any], name: str, path: Path, otherwise: int | None = None) -> int:
    """A size; where there is one a layer, they must agree."""
    value = own[name] if otherwise is None else own.get(name, otherwise)
    sizes = set(np.atleast_1d(np.asarray(value)).tolist())
    if len(sizes) != 1:
        raise UserError(
            f"{path.name} has layers with different {name}: {sorted(sizes)}; only equal layers can be loaded"
        )
    return int(sizes.pop())


def _rope_scaling(
    content: _GGUFContent, own: Mapping[str, Any], head_dim: int, theta: float, path: Path
) -> RopeScaling | None:
    """Stretched wavelengths: those of Llama 3.1 and later come as a table, which must be one that their rule makes."""
    kind, linear = own.get("rope.scaling.type", "none"), own.get("rope.scale_linear", 1.0)
    if kind not in ("none", "llama3") or float(linear) != 1.0:
        raise UserError(
            f"{path.name} has rotary positions scaled by {kind!r}, which cannot be loaded: only llama3's can"
        )
    if _FREQUENCIES not in content.tensors:
        if float(own.get("rope.scaling.factor", 1.0)) != 1.0:
            raise UserError(f"{path.name} scales rotary positions by a factor alone, which cannot be loaded")
        return None
    factors = np.asarray(content.tensors[_FREQUENCIES].data, np.float32).ravel()
    plain = inverse_wavelengths(head_dim, theta, None)
    original = int(own.get("rope.scaling.original_context_length", 8192))
    guess = RopeScaling(float(factors.max()), 1.0, 4.0, original)
    if factors.shape != plain.shape or not np.allclose(
        plain / factors, inverse_wavelengths(head_dim, theta, guess), rtol=1e-4
    ):
        raise UserError(f"{path.name} scales rotary positions by a table that no known rule makes: load safetensors")
    return guess
