"""Weights on disk: safetensors with the names of the Hugging Face hub, in and out, and any model by name or path.

Those files keep a projection as `[out, in]`, with queries, keys and values apart; in memory it is `[in, out]` and one
matrix. Arrays are read one at a time, so loading needs little more memory than the model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core.config import UserError, suggest
from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.llm import fetch, lm_config
from jaxrl_suite.llm.lm_config import LMConfig
from jaxrl_suite.llm.model import Params

if TYPE_CHECKING:
    from jaxrl_suite.llm.tokenizer import Tokenizer

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
Read = Callable[[str], np.ndarray]  # the tensor of a name; KeyError if there is none


class Model(NamedTuple):
    """A model that was loaded."""

    config: LMConfig
    params: Params
    tokenizer: Tokenizer | None  # None if none lies beside the weights
    name: str


def load(where: str | Path, dtype: str = "float32") -> Model:
    """A model from disk.

    Args:
      where: a name that `jaxrl-suite fetch` knows, a .gguf file, or a folder with config.json and safetensors.
      dtype: of the weights in memory, float32 or bfloat16.

    Raises:
      ValueError: if it is not there, not whole, or of a kind that cannot be loaded.
    """
    path = fetch.locate(str(where)) if str(where) in fetch.MODELS else Path(where)
    if path.is_dir():
        return load_safetensors(path, dtype)
    if path.suffix == ".gguf" and path.is_file():
        from jaxrl_suite.llm import gguf_file

        return gguf_file.load(path, dtype)
    hint = suggest(str(where), fetch.MODELS)
    raise UserError(f"no model at {where}: give a .gguf file, a folder with safetensors, or a name{hint}")


def load_safetensors(folder: Path, dtype: str = "float32") -> Model:
    """A Llama or Qwen2 model from a folder as the Hugging Face hub lays it out, or as `save_safetensors` writes it.

    Raises:
      ValueError: if a file or tensor is missing or damaged, or the model is of another kind.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    data = lm_config.read_json(folder / CONFIG)
    files = [folder / WEIGHTS]
    if not files[0].exists() and (folder / INDEX).exists():
        files = sorted({folder / name for name in lm_config.read_json(folder / INDEX).get("weight_map", {}).values()})
    opened, home = [], {}
    try:
        for file in files:
            if not file.exists():
                raise UserError(f"{folder} has no {file.name}: the model is not whole")
            # "flax" reads bfloat16 too, which numpy alone does not know.
            opened.append(safe_open(file, framework="flax"))
            home |= dict.fromkeys(opened[-1].keys(), opened[-1])
        config = lm_config.from_hf(data, dtype=dtype, value_head="value_head.weight" in home)
        params = from_tensors(config, lambda name: np.asarray(home[name].get_tensor(name)), folder.name)
    except SafetensorError as error:
        raise UserError(f"cannot read the weights in {folder}: {error}; download them again") from None
    return Model(config, params, _tokenizer_beside(folder), folder.name)


def save_safetensors(folder: Path, config: LMConfig, params: Params) -> None:
    """Writes config.json and model.safetensors, which `load_safetensors` and other libraries read.

    Raises:
      ValueError: if the folder cannot be written.
    """
    from safetensors.flax import save_file

    folder = Path(folder)
    tensors = {name: jnp.asarray(value) for name, value in to_tensors(config, params)}
    temporary = folder / f".{WEIGHTS}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata={"format": "pt"})
        os.replace(temporary, folder / WEIGHTS)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another folder") from None
    write_atomic(folder / CONFIG, json.dumps(lm_config.to_hf(config), indent=2) + "\n")


def from_tensors(config: LMConfig, read: Read, source: str) -> Params:
    """The weights of `model`, from tensors with the names and layout of the Hugging Face hub.

    Args:
      config: the shape; weights are converted to its dtype.
      read: gives the tensor of a name.
      source: for error messages.

    Raises:
      ValueError: if a tensor is missing or has another shape than the config says.
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


def _tokenizer_beside(folder: Path) -> Tokenizer | None:
    if not (folder / "tokenizer.json").exists():
        return None
    from jaxrl_suite.llm import tokenizer

    return tokenizer.from_folder(folder)
