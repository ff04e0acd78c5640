"""The shape of a decoder-only transformer: presets from 0.1M parameters up."""

from __future__ import annotations

import dataclasses
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
    """A decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU, as in Llama, Qwen2 and Qwen3.

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
      qk_norm: whether each head's queries and keys are normalised before they are rotated (Qwen3).
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
    qk_norm: bool = False
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
        if self.qkv_bias and self.qk_norm:
            raise UserError("no known model has both qkv_bias and qk_norm: set one of them")
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(f"dtype must be float32 or bfloat16, got {self.dtype!r}")
        if not (self.rope_theta > 0 and self.norm_eps > 0):
            raise UserError(f"rope_theta and norm_eps must be above 0, got {self.rope_theta} and {self.norm_eps}")

    @property
    def num_params(self) -> int:
        """Weights and biases, the value head included."""
        qkv = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        layer = self.width * (qkv + self.num_heads * self.head_dim + 3 * self.hidden + 2)
        layer += (qkv if self.qkv_bias else 0) + (2 * self.head_dim if self.qk_norm else 0)
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
