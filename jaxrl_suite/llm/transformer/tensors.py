"""A model as named tensors, as Hugging Face calls them, and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params

if TYPE_CHECKING:
    from jaxrl_suite.llm.transformer.tokenizer import Tokenizer


Read = Callable[[str], np.ndarray]  # the tensor of a name; KeyError if there is none


_COMPUTED = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")  # from the config, here as there
_DERIVED = ("lm_head.weight",)  # a copy of the embedding where the head is tied, which the loader checks


class Model(NamedTuple):
    """A model that was loaded."""

    config: LMConfig
    params: Params
    tokenizer: Tokenizer | None  # None if none lies beside the weights
    name: str
    eos: tuple[int, ...] = ()  # ids that end a reply, also where the tokenizer is not known


def from_tensors(config: LMConfig, read: Read, source: str, names: Collection[str] = ()) -> Params:
    """The weights of `model`, from tensors with the names and layout of the Hugging Face hub.

    Args:
      config: the shape; weights are converted to its dtype.
      read: gives the tensor of a name.
      source: for error messages.
      names: of all tensors there are; one that is not asked for is refused.

    Raises:
      UserError: if a tensor is missing, is not understood, or has another shape than the config says.
    """
    asked: set[str] = set(_DERIVED)
    H, K, d, D, F = config.num_heads, config.num_kv_heads, config.head_dim, config.width, config.hidden

    def get(name: str, *shape: int) -> np.ndarray:
        asked.add(name)
        try:
            tensor = read(name)
        except KeyError:
            raise UserError(f"the weights of {source} have no tensor {name}: the model is not whole") from None
        if tensor.shape != shape:
            raise UserError(f"tensor {name} of {source} has shape {tensor.shape}, and its config says {shape}")
        return tensor

    def put(*parts: np.ndarray) -> Any:
        return jnp.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1), dtype=config.dtype)

    def projections(prefix: str, parts: dict[str, int], inputs: int) -> Any:
        """One kernel of several projections `[out, in]` of the same input."""
        return put(*(get(f"{prefix}{part}.weight", outputs, inputs).T for part, outputs in parts.items()))

    params: dict[str, Any] = {
        "embed": {"embedding": put(get("model.embed_tokens.weight", config.vocab_size, D))},
        "norm": {"scale": put(get("model.norm.weight", D))},
    }
    for i in range(config.num_layers):
        layer, attention = f"model.layers.{i}.", f"model.layers.{i}.self_attn."
        parts = {"q_proj": H * d, "k_proj": K * d, "v_proj": K * d}
        qkv = {"kernel": projections(attention, parts, D)}
        if config.qkv_bias:
            qkv["bias"] = put(*(get(f"{attention}{part}.bias", outputs) for part, outputs in parts.items()))
        norms = {
            f"{x}_norm": {"scale": put(get(f"{attention}{x}_norm.weight", d))} for x in ("qk" if config.qk_norm else "")
        }
        params[f"layers_{i}"] = {
            "attention_norm": {"scale": put(get(f"{layer}input_layernorm.weight", D))},
            "attention": {**norms, "qkv": qkv, "out": {"kernel": projections(attention, {"o_proj": D}, H * d)}},
            "mlp_norm": {"scale": put(get(f"{layer}post_attention_layernorm.weight", D))},
            "mlp": {
                "gate_up": {"kernel": projections(f"{layer}mlp.", {"gate_proj": F, "up_proj": F}, D)},
                "down": {"kernel": projections(f"{layer}mlp.", {"down_proj": D}, F)},
            },
        }
    if not config.tied:
        params["head"] = {"kernel": put(get("lm_head.weight", config.vocab_size, D).T)}
    if config.value_head:
        params["value"] = {
            "kernel": put(get("value_head.weight", 1, D).T),
            "bias": put(get("value_head.bias", 1)),
        }
    odd = sorted(name for name in names if name not in asked and not name.endswith(_COMPUTED))
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise UserError(
            f"the weights of {source} have a tensor {odd[0]}{more}, which is not understood: nothing is ignored"
        )
    return params


def to_tensors(config: LMConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """The inverse of `from_tensors`: names and tensors."""
    H, K, d = config.num_heads, config.num_kv_heads, config.head_dim
    cuts = [H * d, (H + K) * d]
    flat = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}

    def split(kernel: np.ndarray, names: tuple[str, ...], at: Any) -> Iterator[tuple[str, np.ndarray]]:
        for name, part in zip(names, np.split(kernel, at, axis=-1), strict=True):
            yield name, np.ascontiguousarray(part.T)

    for i in range(config.num_layers):
        ours, layer, attention = f"layers_{i}/", f"model.layers.{i}.", f"model.layers.{i}.self_attn."
        qkv = tuple(f"{attention}{x}_proj" for x in "qkv")
        yield f"{layer}input_layernorm.weight", flat[f"{ours}attention_norm/scale"]
        yield from split(flat[f"{ours}attention/qkv/kernel"], tuple(f"{x}.weight" for x in qkv), cuts)
        if config.qkv_bias:
            yield from split(flat[f"{ours}attention/qkv/bias"], tuple(f"{x}.bias" for x in qkv), cuts)
        for x in "qk" if config.qk_norm else "":
            yield f"{attention}{x}_norm.weight", flat[f"{ours}attention/{x}_norm/scale"]
        yield from split(flat[f"{ours}attention/out/kernel"], (f"{attention}o_proj.weight",), 1)
        yield f"{layer}post_attention_layernorm.weight", flat[f"{ours}mlp_norm/scale"]
        gate_up = (f"{layer}mlp.gate_proj.weight", f"{layer}mlp.up_proj.weight")
        yield from split(flat[f"{ours}mlp/gate_up/kernel"], gate_up, 2)
        yield from split(flat[f"{ours}mlp/down/kernel"], (f"{layer}mlp.down_proj.weight",), 1)
    yield "model.embed_tokens.weight", flat["embed/embedding"]
    yield "model.norm.weight", flat["norm/scale"]
    if not config.tied:
        yield "lm_head.weight", np.ascontiguousarray(flat["head/kernel"].T)
    if config.value_head:
        yield "value_head.weight", np.ascontiguousarray(flat["value/kernel"].T)
        yield "value_head.bias", flat["value/bias"]
