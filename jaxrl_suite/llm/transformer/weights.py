"""Weights on disk: safetensors with the names of the Hugging Face hub, in and out, and any model by name or path.

Those files keep a projection as `[out, in]`, with queries, keys and values apart; in memory it is `[in, out]` and one
matrix. Arrays are read one at a time, so loading needs little more memory than the model.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.transformer import fetch, hf_config
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params
from jaxrl_suite.llm.transformer.tensors import Model, from_tensors, to_tensors

if TYPE_CHECKING:
    from jaxrl_suite.llm.transformer.tokenizer import Tokenizer

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
_KINDS = ("F64", "F32", "F16", "BF16")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def load(where: str | Path, dtype: str = "float32") -> Model:
    """A model from disk.

    Args:
      where: a name that `jaxrl-suite fetch` knows, a .gguf file, or a folder with config.json and safetensors.
      dtype: of the weights in memory, float32 or bfloat16.

    Raises:
      UserError: if it is not there, not whole, or of a kind that cannot be loaded.
    """
    path = find(where)
    if path.is_dir():
        return load_safetensors(path, dtype)
    from jaxrl_suite.llm.transformer import gguf_file

    return gguf_file.load(path, dtype)


def find(where: str | Path) -> Path:
    """The folder or the .gguf file of a model, as `load` takes it.

    Raises:
      UserError: if there is none.
    """
    path = fetch.locate(str(where)) if str(where) in fetch.MODELS else Path(where)
    if path.is_dir() and not (path / CONFIG).exists():
        raise UserError(f"no model at {where}: cannot read {path / CONFIG}; give a folder with it and safetensors")
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return path
    hint = suggest(str(where), fetch.MODELS)
    raise UserError(f"no model at {where}: give a .gguf file, a folder with safetensors, or a name{hint}")


def load_safetensors(folder: Path, dtype: str = "float32") -> Model:
    """A Llama, Qwen2 or Qwen3 model from a folder of the Hugging Face hub, or one that `save_safetensors` wrote.

    Raises:
      UserError: if a file or tensor is missing or damaged, or the model is of another kind.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    data = hf_config.read_json(folder / CONFIG)
    files = [folder / WEIGHTS]
    if not files[0].exists() and (folder / INDEX).exists():
        where = hf_config.read_json(folder / INDEX).get("weight_map")
        if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()):
            raise UserError(f"{folder / INDEX} names no files of weights: download it again")
        files = sorted({folder / name for name in where.values()})
    opened, home = [], {}
    try:
        for file in files:
            if not file.exists():
                raise UserError(f"{folder} has no {file.name}: the model is not whole")
            # "flax" reads bfloat16 too, which numpy alone does not know.
            opened.append(safe_open(file, framework="flax"))
            home |= dict.fromkeys(opened[-1].keys(), opened[-1])
        config = hf_config.from_hf(data, dtype=dtype, value_head="value_head.weight" in home)

        def read(name: str) -> np.ndarray:
            kind = home[name].get_slice(name).get_dtype()
            if kind not in _KINDS:
                what = f"tensor {name} of {folder.name} holds {kind}"
                raise UserError(f"{what}, which is quantised: take the model before quantisation")
            return np.asarray(home[name].get_tensor(name))

        if config.tied and HEAD in home:
            if EMBEDDING not in home:  # a tied pair is stored once, under either name
                home[EMBEDDING], read = home[HEAD], lambda name, read=read: read(HEAD if name == EMBEDDING else name)
            elif not np.array_equal(read(HEAD), read(EMBEDDING)):
                config = dataclasses.replace(config, tied=False)  # a head of its own, whatever config.json says
        params = from_tensors(config, read, folder.name, home.keys())
    except SafetensorError as error:
        raise UserError(f"cannot read the weights in {folder}: {error}; download them again") from None
    tokenizer = _tokenizer_beside(folder)
    return Model(config, params, tokenizer, folder.name, () if tokenizer is None else tokenizer.eos)


def save_safetensors(folder: Path, config: LMConfig, params: Params) -> None:
    """Writes config.json and model.safetensors, which `load_safetensors` and other libraries read.

    Raises:
      UserError: if the folder cannot be written.
    """
    from safetensors.flax import save_file

    folder = Path(folder)
    # Row by row in memory: the writer of safetensors takes the bytes of other layouts as they lie, without a word.
    tensors = {name: jnp.asarray(np.ascontiguousarray(value)) for name, value in to_tensors(config, params)}
    temporary = folder / f".{WEIGHTS}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata={"format": "pt"})
        os.replace(temporary, folder / WEIGHTS)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another folder") from None
    write_atomic(folder / CONFIG, json.dumps(hf_config.to_hf(config), indent=2) + "\n")


def _tokenizer_beside(folder: Path) -> Tokenizer | None:
    if not (folder / "tokenizer.json").exists():
        return None
    from jaxrl_suite.llm.transformer import tokenizer

    return tokenizer.from_folder(folder)
