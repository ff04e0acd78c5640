"""`config.json` of the Hugging Face hub, in and out: Llama, Qwen2 and Qwen3 models; what is not understood is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer.config import LMConfig, RopeScaling

KINDS = ("llama", "qwen2", "qwen3")
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_READ = {
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "intermediate_size", "max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters",
    "rms_norm_eps", "tie_word_embeddings", "hidden_act", "mlp_bias", "attention_bias", "use_sliding_window",
    "quantization_config", "layer_types",
}  # fmt: skip
_WITHOUT_EFFECT = {  # on the logits of a whole model: names, training, generation, how other libraries run it
    "architectures", "auto_map", "_name_or_path", "name_or_path", "transformers_version", "torch_dtype", "dtype",
    "use_cache", "initializer_range", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop",
    "pretraining_tp", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id",
    "max_window_layers", "sliding_window", "_attn_implementation", "_attn_implementation_autoset", "output_attentions",
    "output_hidden_states", "return_dict", "task_specific_params", "id2label", "label2id", "problem_type",
    "finetuning_task", "chunk_size_feed_forward", "is_decoder", "is_encoder_decoder", "tokenizer_class", "prefix",
    "unsloth_version", "unsloth_fixed", "model_max_length", "max_length", "transformers.js_config",
    "gradient_checkpointing", "license",
}  # fmt: skip


def from_hf(data: Mapping[str, Any], **changes: Any) -> LMConfig:
    """The config that a `config.json` describes.

    Raises:
      UserError: if the model is of another kind, or a key says something that is not here.
    """
    kind = data.get("model_type")
    if kind not in KINDS:
        raise UserError(f"models of type {kind!r} cannot be loaded: only {', '.join(KINDS)} can")
    _check(data, kind)
    rope = {**(data.get("rope_scaling") or {}), **(data.get("rope_parameters") or {})}
    try:
        sizes = dict(
            vocab_size=data["vocab_size"],
            width=data["hidden_size"],
            num_layers=data["num_hidden_layers"],
            num_heads=data["num_attention_heads"],
            num_kv_heads=data.get("num_key_value_heads") or data["num_attention_heads"],
            head_dim=data.get("head_dim")
            or (128 if kind == "qwen3" else data["hidden_size"] // data["num_attention_heads"]),
            hidden=data["intermediate_size"],
            context=data.get("max_position_embeddings", 2048),
            rope_theta=float(rope.get("rope_theta") or data.get("rope_theta") or 10_000.0),
            rope_scaling=_rope_scaling(rope),
            norm_eps=float(data.get("rms_norm_eps", 1e-6)),
            tied=bool(data.get("tie_word_embeddings", False)),
            qkv_bias=kind == "qwen2",
            qk_norm=kind == "qwen3",
        )
    except KeyError as missing:
        raise UserError(f"the model's config.json has no {missing}: it is not whole") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"the model's config.json holds a value that is none ({error}): download it again") from None
    for name in ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "head_dim", "hidden", "context"):
        if not isinstance(sizes[name], int) or isinstance(sizes[name], bool):
            raise UserError(f"the model's config.json gives {sizes[name]!r} as its {name}: it must be a whole number")
    return LMConfig(**{**sizes, **changes})


def _check(data: Mapping[str, Any], kind: str) -> None:
    """Refuses what would change the logits and is not computed here."""
    if method := data.get("quantization_config"):
        name = method.get("quant_method", "quantised") if isinstance(method, dict) else method
        raise UserError(f"weights quantised by {name} cannot be loaded: take the model before quantisation, or a GGUF")
    if data.get("hidden_act", "silu") != "silu":
        raise UserError(f"the activation {data['hidden_act']!r} cannot be loaded: only silu can")
    layers = data.get("layer_types") or []
    if data.get("use_sliding_window") or any(layer != "full_attention" for layer in layers):
        raise UserError("sliding-window attention cannot be loaded: choose a model without it")
    if data.get("mlp_bias") or (kind != "qwen2" and data.get("attention_bias")):
        raise UserError(f"a {kind.title()} model with biases cannot be loaded: choose one without")
    for key, value in data.items():
        if key not in _READ | _WITHOUT_EFFECT and value not in (None, False, 0, "", [], {}):
            raise UserError(
                f"config.json says {key} = {json.dumps(value)[:60]}, which is not understood: take it out if the model "
                "computes the same without it"
            )


def to_hf(config: LMConfig) -> dict[str, Any]:
    """A `config.json` that describes this config; `from_hf` is its inverse, but for the value head and dtype."""
    kind = "qwen2" if config.qkv_bias else "qwen3" if config.qk_norm else "llama"
    scaling = config.rope_scaling
    rope = None
    if scaling is not None:
        rope = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low,
            "high_freq_factor": scaling.high,
            "original_max_position_embeddings": scaling.context,
        }
    return {
        "architectures": [_CLASSES[kind]],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "hidden_act": "silu",
        "torch_dtype": config.dtype,
    }


def read_json(path: Path) -> dict[str, Any]:
    """One of the JSON files that describe a model.

    Raises:
      UserError: if it cannot be read, or holds no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; the model is not whole") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): download it again") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a JSON object: download it again")
    return data


def _rope_scaling(rope: Mapping[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise UserError(f"rotary scaling of type {kind!r} cannot be loaded: only llama3 can")
    return RopeScaling(
        factor=float(rope["factor"]),
        low=float(rope["low_freq_factor"]),
        high=float(rope["high_freq_factor"]),
        context=int(rope["original_max_position_embeddings"]),
    )
