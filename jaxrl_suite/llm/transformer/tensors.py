"""A model as named tensors, as Hugging Face calls them, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params

if TYPE_CHECKING:
    from jaxrl_suite.llm.transformer.tokenizer import Tokenizer


Read = Callable[[str], np.ndarray]  # the tensor of a name; KeyError if there is none


class Model(NamedTuple):
    """A model that was loaded."""

    config: LMConfig
    params: Params
    tokenizer: Tokenizer | None  # None if none lies beside the weights
    name: str


def from_tensors(config: LMConfig, read: Read, source: str) -> Params:
    """The weights of `model`, from tensors with the names and layout of the Hugging Face hub.

    Args:
      config: the shape; weights are converted to its dtype.
      read: gives the tensor of a name.
      source: for error messages.

    Raises:
      UserError: if a tensor is missing or has another shape than the config says.
    """
    H, K, d, D, F = config.num_heads, config.num_kv_heads, config.head_dim, config.width, config.hidden

    def get(name: str, *shape: int) -> np.ndarray:
        try:
            tensor = read(name)
        except KeyError:
            raise UserError(f"the weights of {source} have no tensor {name}: the model is not whole") from None
        if tensor.shape != shape:
            raise UserError(f"tensor {name} of {source} has shape {tensor.shape}, and its config says {shape}")
        return tensor

    def put(*parts: np.ndarray) -> Any:
        return jnp.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1), dtype=config.dtype)

    layers = []
    for i in range(config.num_layers):
        at, mlp = f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
        layer = {
            "norm_attention": put(get(f"model.layers.{i}.input_layernorm.weight", D)),
            "qkv": put(*(get(f"{at}{x}_proj.weight", n * d, D).T for x, n in zip("qkv", (H, K, K), strict=True))),
            "out": put(get(f"{at}o_proj.weight", D, H * d).T),
            "norm_mlp": put(get(f"model.layers.{i}.post_attention_layernorm.weight", D)),
            "gate_up": put(*(get(f"{mlp}{x}_proj.weight", F, D).T for x in ("gate", "up"))),
            "down": put(get(f"{mlp}down_proj.weight", D, F).T),
        }
        if config.qkv_bias:
            layer["qkv_bias"] = put(*(get(f"{at}{x}_proj.bias", n * d) for x, n in zip("qkv", (H, K, K), strict=True)))
        layers.append(layer)
    params: dict[str, Any] = {
        "embed": put(get("model.embed_tokens.weight", config.vocab_size, D)),
        "layers": tuple(layers),
        "norm": put(get("model.norm.weight", D)),
    }
    if not config.tied:
        params["head"] = put(get("lm_head.weight", config.vocab_size, D).T)
    if config.value_head:
        params["value"] = {
            "weight": put(get("value_head.weight", 1, D)[0]),
            "bias": put(get("value_head.bias", 1)[0]),
        }
    return params


def to_tensors(config: LMConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """The inverse of `from_tensors`: names and tensors."""
    H, K, d = config.num_heads, config.num_kv_heads, config.head_dim
    cuts = [H * d, (H + K) * d]
    for i, layer in enumerate(params["layers"]):
        at, mlp = f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
        layer = {name: np.asarray(value) for name, value in layer.items()}
        yield f"model.layers.{i}.input_layernorm.weight", layer["norm_attention"]
        for x, part in zip("qkv", np.split(layer["qkv"], cuts, axis=-1), strict=True):
            yield f"{at}{x}_proj.weight", np.ascontiguousarray(part.T)
        if config.qkv_bias:
            for x, part in zip("qkv", np.split(layer["qkv_bias"], cuts), strict=True):
                yield f"{at}{x}_proj.bias", part
        yield f"{at}o_proj.weight", np.ascontiguousarray(layer["out"].T)
        yield f"model.layers.{i}.post_attention_layernorm.weight", layer["norm_mlp"]
        for x, part in zip(("gate", "up"), np.split(layer["gate_up"], 2, axis=-1), strict=True):
            yield f"{mlp}{x}_proj.weight", np.ascontiguousarray(part.T)
        yield f"{mlp}down_proj.weight", np.ascontiguousarray(layer["down"].T)
    yield "model.embed_tokens.weight", np.asarray(params["embed"])
    yield "model.norm.weight", np.asarray(params["norm"])
    if "head" in params:
        yield "lm_head.weight", np.ascontiguousarray(np.asarray(params["head"]).T)
    if "value" in params:
        yield "value_head.weight", np.asarray(params["value"]["weight"])[None]
        yield "value_head.bias", np.asarray(params["value"]["bias"])[None]
