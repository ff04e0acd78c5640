"""Low-rank adapters: a small pytree that is trained in place of the weights, and added to them.

    adapter = lora.init(base, rank=8, key=key)
    trainer = make_trainer(loss_fn, train, source, assemble=functools.partial(lora.assemble, scale=2.0))
    state = trainer.init(key, adapter)
    state, metrics = trainer.update(state, frozen=base)
    tuned = lora.merge(base, state.params, scale=2.0)

A weight `W` [I, O] becomes `W + scale * a @ b`. `b` starts at zero, so the first merged model is the base, bit for bit;
with the rank of the smaller side of `W` any update can be written so.

Shapes: `I` inputs and `O` outputs of a weight, `R` rank.

Reference: Hu et al., "LoRA: low-rank adaptation of large language models" (2021), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.transformer.model import Params

TARGETS = ("qkv", "out", "gate_up", "down")  # the modules that hold all matrices of a layer


class Pair(NamedTuple):
    """The update of one weight."""

    a: jax.Array  # float32[I, R]
    b: jax.Array  # float32[R, O]


Adapter: TypeAlias = dict[str, Pair]  # by the kernel's path in the tree, such as "layers_0/attention/qkv/kernel"


def init(params: Params, rank: int, key: jax.Array, targets: Sequence[str] = TARGETS) -> Adapter:
    """An adapter that changes nothing yet.

    Args:
      params: the weights it is for.
      rank: R; more than the smaller side of a weight says nothing more.
      key: consumed.
      targets: names of the modules whose kernels are adapted.

    Raises:
      UserError: if the rank is below 1, or a target is no matrix of `params`.
    """
    weights = _targets(params, rank, targets)
    keys = jax.random.split(key, len(weights))
    start = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    return {
        path: Pair(
            start(key, (weight.shape[0], rank)),
            jnp.zeros((rank, weight.shape[1])),
        )
        for (path, weight), key in zip(weights.items(), keys, strict=True)
    }


def merge(params: Params, adapter: Adapter, scale: float = 1.0) -> Params:
    """The weights with the adapter added, in their own dtypes; what has no pair is returned as it is.

    Args:
      params: the weights, unchanged.
      adapter: from `init`, `fit` or training.
      scale: of the update, often written alpha / R.

    Raises:
      UserError: if the adapter belongs to other weights.
    """
    weights = _weights(params)
    for path, pair in adapter.items():
        shape = (pair.a.shape[0], pair.b.shape[1])
        if path not in weights or weights[path].shape != shape:
            raise UserError(f"the adapter has an update {shape} of {path!r}, which these weights do not have")
        weights[path] = weights[path] + (scale * (pair.a @ pair.b)).astype(weights[path].dtype)
    return traverse_util.unflatten_dict(weights, sep="/")


def assemble(adapter: Adapter, params: Params, scale: float = 1.0) -> Params:
    """`merge` with its arguments as `train.make_trainer` passes them: what is trained, then what is frozen."""
    return merge(params, adapter, scale)


def fit(params: Params, tuned: Params, rank: int, targets: Sequence[str] = TARGETS, scale: float = 1.0) -> Adapter:
    """The adapter of a given rank that brings `params` closest to `tuned`, in the sum of squares of each target.

    Args:
      params: the weights it is for.
      tuned: weights of the same shapes.
      rank: R; with the smaller side of a weight the update is exact up to rounding.
      targets: names of the modules whose kernels are adapted; differences elsewhere are left out.
      scale: with which it will be merged.

    Raises:
      UserError: if the rank is below 1, or a target is no matrix of `params`.
    """
    adapter = {}
    after = _weights(tuned)
    for path, weight in _targets(params, rank, targets).items():
        delta = (after[path].astype(jnp.float32) - weight.astype(jnp.float32)) / scale
        u, s, v = jnp.linalg.svd(delta, full_matrices=False)
        root = jnp.sqrt(s[:rank])
        short = max(0, rank - len(s))
        a, b = u[:, :rank] * root[None], root[:, None] * v[:rank]
        adapter[path] = Pair(jnp.pad(a, ((0, 0), (0, short))), jnp.pad(b, ((0, short), (0, 0))))
    return adapter


def num_params(adapter: Adapter) -> int:
    """Numbers in an adapter."""
    return sum(x.size for x in jax.tree.leaves(adapter))


def _weights(params: Params) -> dict[str, jax.Array]:
    flat: Any = traverse_util.flatten_dict(params, sep="/")
    return flat


def _targets(params: Params, rank: int, targets: Sequence[str]) -> dict[str, jax.Array]:
    """The matrices of the modules called as in `targets`, by path."""
    if rank < 1:
        raise UserError(f"rank must be at least 1, got {rank}")
    matrices = {path: weight for path, weight in _weights(params).items() if weight.ndim == 2}
    names = {_module(path) for path in matrices}
    for target in targets:
        if target not in names:
            raise UserError(f"no matrix of the model is called {target!r}{suggest(target, names)}")
    return {path: weight for path, weight in matrices.items() if _module(path) in targets}


def _module(path: str) -> str:
    """The name of the module that a matrix belongs to: the last part of its path but for what Flax calls them all."""
    parts = path.split("/")
    return parts[-2] if parts[-1] in ("kernel", "embedding") and len(parts) > 1 else parts[-1]
