"""The shape of a decoder-only transformer: presets from 0.1M parameters up, and the ones that model files describe."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jaxrl_suite.errors import UserError, suggest


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """The stretched wavelengths of Llama 3.1 and later.

    Args:
      factor: by which long wavelengths are stretched.
      low: wavelengths longer than `context / low` are stretched in full.
      high: wavelengths shorter than `context / high` are left alone; in between, both are blended.
      context: tokens the model was first trained on.
    """

    factor: float
    low: float
    high: float
    context: int


@dataclasses.dataclass(frozen=True)
class LMConfig:
    """A decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU, as in Llama and Qwen2.

    Args:
      vocab_size: V, tokens.
      width: D, of the residual stream.
      num_layers: L.
      num_heads: H, query heads.
      num_kv_heads: K, key and value heads; divides H.
      head_dim: d, even.
      hidden: F, of the feed-forward layer.
      context: longest sequence, in tokens.
      rope_theta: base of the rotary wavelengths.
      rope_scaling: how they are stretched, if they are.
      norm_eps: added to the mean square in RMSNorm.
      tied: whether the output layer is the embedding.
      qkv_bias: whether queries, keys and values have a bias (Qwen2).
      value_head: whether there is a scalar head on the last hidden state.
      dtype: of the weights and of all but norms, softmax and logits, which are float32.

    Raises:
      UserError: if a size is out of range or does not divide another.
    """

    vocab_size: int
    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 16
    hidden: int = 176
    context: int = 64
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tied: bool = True
    qkv_bias: bool = False
    value_head: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        for name in ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "head_dim", "hidden", "context"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_heads % self.num_kv_heads:
            raise UserError(f"num_kv_heads must divide num_heads, got {self.num_kv_heads} and {self.num_heads}")
        if self.head_dim % 2:
            raise UserError(f"head_dim must be even, for rotary positions, got {self.head_dim}")
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(f"dtype must be float32 or bfloat16, got {self.dtype!r}")
        if not (self.rope_theta > 0 and self.norm_eps > 0):
            raise UserError(f"rope_theta and norm_eps must be above 0, got {self.rope_theta} and {self.norm_eps}")

    @property
    def num_params(self) -> int:
        """Weights and biases, the value head included."""
        qkv = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        layer = self.width * (qkv + self.num_heads * self.head_dim + 3 * self.hidden + 2)
        layer += qkv if self.qkv_bias else 0
        tables = self.vocab_size * self.width * (1 if self.tied else 2)
        return self.num_layers * layer + tables + self.width + (self.width + 1 if self.value_head else 0)

    @property
    def flops_per_token(self) -> int:
        """Multiplications and additions of one decoded token, attention over the context left out."""
        tables = self.vocab_size * self.width * (0 if self.tied else 1)
        return 2 * (self.num_params - tables)


_SHAPES: dict[str, dict[str, Any]] = {
    # name: sizes; those below 2M are for a CPU and take the vocabulary of their task
    "0.1M": dict(width=64, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16, hidden=176),
    "0.35M": dict(width=96, num_layers=3, num_heads=6, num_kv_heads=3, head_dim=16, hidden=256),
    "0.8M": dict(width=128, num_layers=4, num_heads=8, num_kv_heads=4, head_dim=16, hidden=344),
    "1.1M": dict(width=160, num_layers=4, num_heads=8, num_kv_heads=4, head_dim=20, hidden=432),
    "smollm2-135m": dict(
        vocab_size=49_152, width=576, num_layers=30, num_heads=9, num_kv_heads=3, head_dim=64, hidden=1536,
        context=8192, rope_theta=100_000.0,
    ),
    "qwen2.5-0.5b": dict(
        vocab_size=151_936, width=896, num_layers=24, num_heads=14, num_kv_heads=2, head_dim=64, hidden=4864,
        context=32_768, rope_theta=1_000_000.0, norm_eps=1e-6, qkv_bias=True,
    ),
    "llama-3.2-1b": dict(
        vocab_size=128_256, width=2048, num_layers=16, num_heads=32, num_kv_heads=8, head_dim=64, hidden=8192,
        context=131_072, rope_theta=500_000.0, rope_scaling=RopeScaling(32.0, 1.0, 4.0, 8192),
    ),
    "qwen2.5-7b": dict(
        vocab_size=152_064, width=3584, num_layers=28, num_heads=28, num_kv_heads=4, head_dim=128, hidden=18_944,
        context=32_768, rope_theta=1_000_000.0, norm_eps=1e-6, qkv_bias=True, tied=False,
    ),
    "llama-3.1-8b": dict(
        vocab_size=128_256, width=4096, num_layers=32, num_heads=32, num_kv_heads=8, head_dim=128, hidden=14_336,
        context=131_072, rope_theta=500_000.0, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192), tied=False,
    ),
}  # fmt: skip


def preset(name: str, **changes: Any) -> LMConfig:
    """The config called `name`, with fields changed; the small ones need `vocab_size=`.

    Raises:
      UserError: if there is none of that name, or a field is missing or out of range.
    """
    if name not in _SHAPES:
        raise UserError(f"unknown model preset {name!r}{suggest(name, _SHAPES)}")
    sizes = {**_SHAPES[name], **changes}
    if "vocab_size" not in sizes:
        raise UserError(f"the preset {name!r} takes the vocabulary of its task: give vocab_size=")
    return LMConfig(**sizes)


def presets() -> tuple[str, ...]:
    """The names that `preset` knows, smallest first."""
    return tuple(_SHAPES)


def from_hf(data: Mapping[str, Any], **changes: Any) -> LMConfig:
    """The config that a `config.json` of the Hugging Face hub describes, for Llama and Qwen2 models.

    Raises:
      UserError: if the model is of another kind, or uses a feature that is not here.
    """
    kind = data.get("model_type")
    if kind not in ("llama", "qwen2"):
        raise UserError(f"models of type {kind!r} cannot be loaded: only llama and qwen2 can")
    if data.get("hidden_act", "silu") != "silu":
        raise UserError(f"the activation {data['hidden_act']!r} cannot be loaded: only silu can")
    if kind == "qwen2" and data.get("use_sliding_window"):
        raise UserError("sliding-window attention cannot be loaded: choose a model without it")
    if data.get("mlp_bias") or (kind == "llama" and data.get("attention_bias")):
        raise UserError("a Llama model with biases cannot be loaded: choose one without")
    rope = {**(data.get("rope_scaling") or {}), **(data.get("rope_parameters") or {})}
    try:
        sizes = dict(
            vocab_size=data["vocab_size"],
            width=data["hidden_size"],
            num_layers=data["num_hidden_layers"],
            num_heads=data["num_attention_heads"],
            num_kv_heads=data.get("num_key_value_heads") or data["num_attention_heads"],
            head_dim=data.get("head_dim") or data["hidden_size"] // data["num_attention_heads"],
            hidden=data["intermediate_size"],
            context=data.get("max_position_embeddings", 2048),
            rope_theta=float(rope.get("rope_theta") or data.get("rope_theta") or 10_000.0),
            rope_scaling=_rope_scaling(rope),
            norm_eps=float(data.get("rms_norm_eps", 1e-6)),
            tied=bool(data.get("tie_word_embeddings", False)),
            qkv_bias=kind == "qwen2",
        )
    except KeyError as missing:
        raise UserError(f"the model's config.json has no {missing}: it is not whole") from None
    return LMConfig(**{**sizes, **changes})


def to_hf(config: LMConfig) -> dict[str, Any]:
    """A `config.json` that describes this config; `from_hf` is its inverse, but for the value head and dtype."""
    kind = "qwen2" if config.qkv_bias else "llama"
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
        "architectures": ["Qwen2ForCausalLM" if kind == "qwen2" else "LlamaForCausalLM"],
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
    except ValueError as error:
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
