"""A decoder-only transformer as pure functions on a pytree of weights: RMSNorm, RoPE, grouped-query attention, SwiGLU.

Layers are unrolled and projections of one input are one matrix, `[in, out]`: on a CPU a decoding step then reads each
weight once, where a scan over stacked layers would copy it first.

Shapes: `B` batch, `S` new tokens, `T` key slots, `L` layers, `D` width, `H` query heads, `K` key and value heads, `d`
size of a head, `F` hidden, `V` vocabulary.

Reference: Touvron et al., "LLaMA" (2023); Su et al., "RoFormer" (2021); Ainslie et al., "GQA" (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.llm.transformer.config import LMConfig, RopeScaling

Params: TypeAlias = Any
"""`embed` [V, D]; `norm` [D]; `head` [D, V] unless tied; `value` {`weight` [D], `bias` []} if there is one; `layers`, a
tuple of L dicts: `norm_attention` [D], `qkv` [D, (H + 2 K) d], `qkv_bias` [(H + 2 K) d] if there is one,
`out` [H d, D], `norm_mlp` [D], `gate_up` [D, 2 F], `down` [F, D]."""


class Cache(NamedTuple):
    """Keys (rotated) and values of tokens seen, for each layer."""

    keys: tuple[jax.Array, ...]  # L arrays [B, K, T, d]
    values: tuple[jax.Array, ...]  # L arrays [B, K, T, d]


def init(config: LMConfig, key: jax.Array) -> Params:
    """Random weights, variance 1 / fan-in, the layers' outputs scaled down by the square root of their number.

    Args:
      config: the shape.
      key: consumed.
    """
    D, F, heads = config.width, config.hidden, config.num_heads + 2 * config.num_kv_heads
    dtype = jnp.dtype(config.dtype)
    keys = iter(jax.random.split(key, 4 * config.num_layers + 2))

    def normal(rows: int, columns: int, scale: float = 1.0) -> jax.Array:
        return (jax.random.normal(next(keys), (rows, columns)) * scale / math.sqrt(rows)).astype(dtype)

    depth = 1 / math.sqrt(2 * config.num_layers)
    layers = []
    for _ in range(config.num_layers):
        layer = {
            "norm_attention": jnp.ones(D, dtype),
            "qkv": normal(D, heads * config.head_dim),
            "out": normal(config.num_heads * config.head_dim, D, depth),
            "norm_mlp": jnp.ones(D, dtype),
            "gate_up": normal(D, 2 * F),
            "down": normal(F, D, depth),
        }
        if config.qkv_bias:
            layer["qkv_bias"] = jnp.zeros(heads * config.head_dim, dtype)
        layers.append(layer)
    embed = (jax.random.normal(next(keys), (config.vocab_size, D)) / math.sqrt(D)).astype(dtype)
    params = {"embed": embed, "layers": tuple(layers), "norm": jnp.ones(D, dtype)}
    if not config.tied:
        params["head"] = normal(D, config.vocab_size)
    if config.value_head:
        params["value"] = {"weight": jnp.zeros(D, dtype), "bias": jnp.zeros((), dtype)}
    return params


def empty_cache(config: LMConfig, batch: int, slots: int) -> Cache:
    """A cache of zeros, `[batch, K, slots, d]` a layer."""
    shape = (batch, config.num_kv_heads, slots, config.head_dim)
    zeros = tuple(jnp.zeros(shape, config.dtype) for _ in range(config.num_layers))
    return Cache(zeros, tuple(jnp.zeros_like(x) for x in zeros))


def hidden_states(
    config: LMConfig,
    params: Params,
    tokens: jax.Array,
    positions: jax.Array | None = None,
    mask: jax.Array | None = None,
    cache: Cache | None = None,
    write: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, Cache | None]:
    """The last hidden state of every token, normalised.

    Args:
      config: the shape.
      params: the weights.
      tokens: int32[B, S].
      positions: int32[B, S], place of each token in its sequence; 0 to S - 1 by default.
      mask: bool[B, S, T] (axes of size 1 are broadcast), the key slots that a token attends to; causal by default.
      cache: keys and values that came before. Without it T = S and the new tokens attend to each other.
      write: `(old [B, K, T, d], new [B, K, S, d]) -> [B, K, T, d]`, how new keys and values enter the cache.

    Returns:
      [B, S, D], and the cache with the new tokens.
    """
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    if mask is None:
        mask = jnp.tril(jnp.ones((1, tokens.shape[1], tokens.shape[1]), bool))
    rotation = _rotation(config, positions)
    # Out-of-range ids would be clamped by the gather on some backends: callers check them on the host.
    x = params["embed"][tokens]
    keys, values = [], []
    for index, layer in enumerate(params["layers"]):
        q, k, v = _project(config, layer, _rms_norm(x, layer["norm_attention"], config.norm_eps), rotation)
        if cache is not None:
            assert write is not None, "a cache needs `write`"
            k, v = write(cache.keys[index], k), write(cache.values[index], v)
        keys.append(k)
        values.append(v)
        x = x + _attend(config, q, k, v, mask) @ layer["out"]
        gate, up = jnp.split(_rms_norm(x, layer["norm_mlp"], config.norm_eps) @ layer["gate_up"], 2, axis=-1)
        x = x + (jax.nn.silu(gate) * up) @ layer["down"]
    out = _rms_norm(x, params["norm"], config.norm_eps)
    return out, None if cache is None else Cache(tuple(keys), tuple(values))


def logits(params: Params, hidden: jax.Array) -> jax.Array:
    """float32[..., V] from hidden states [..., D]."""
    if "head" in params:
        return jnp.einsum("...d,dv->...v", hidden, params["head"], preferred_element_type=jnp.float32)
    return jnp.einsum("...d,vd->...v", hidden, params["embed"], preferred_element_type=jnp.float32)


def values(params: Params, hidden: jax.Array) -> jax.Array:
    """float32[...], the scalar head on hidden states [..., D]."""
    head = params["value"]
    return (hidden @ head["weight"] + head["bias"]).astype(jnp.float32)


def forward(config: LMConfig, params: Params, tokens: jax.Array) -> jax.Array:
    """Logits float32[B, S, V] of whole sequences int32[B, S]; what follows a token does not change its logits."""
    return logits(params, hidden_states(config, params, tokens)[0])


def _rms_norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    wide = x.astype(jnp.float32)
    normal = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return (normal * weight.astype(jnp.float32)[None, None]).astype(x.dtype)


def inverse_wavelengths(head_dim: int, theta: float, scaling: RopeScaling | None) -> np.ndarray:
    """float32[d / 2], the angle of each pair of coordinates per position."""
    angles = theta ** -(np.arange(0, head_dim, 2) / head_dim)
    if scaling is not None:
        turns = scaling.context * angles / (2 * np.pi)  # within the context first trained on
        blend = np.clip((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
        angles = angles * (blend + (1 - blend) / scaling.factor)
    return angles.astype(np.float32)


def _rotation(config: LMConfig, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine float32[B, S, 1, d / 2] of the rotary angles."""
    inverse = jnp.asarray(inverse_wavelengths(config.head_dim, config.rope_theta, config.rope_scaling))
    angles = positions[..., None, None].astype(jnp.float32) * inverse[None, None, None]
    return jnp.cos(angles), jnp.sin(angles)


def _rotate(x: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns pairs (i, i + d/2) of heads [B, S, heads, d]."""
    cos, sin = rotation
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)


def _project(
    config: LMConfig, layer: Any, x: jax.Array, rotation: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries [B, S, H, d], and keys and values [B, K, S, d]."""
    H, K = config.num_heads, config.num_kv_heads
    qkv = x @ layer["qkv"]
    if "qkv_bias" in layer:
        qkv = qkv + layer["qkv_bias"][None, None]
    heads = qkv.reshape(*x.shape[:2], H + 2 * K, config.head_dim)
    rotated = _rotate(heads[:, :, : H + K], rotation)
    return rotated[:, :, :H], rotated[:, :, H:].swapaxes(1, 2), heads[:, :, H + K :].swapaxes(1, 2)


def _attend(config: LMConfig, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """[B, S, H d]; a token that may attend to nothing (padding) gets the mean of all values."""
    B, S = q.shape[:2]
    K, G = config.num_kv_heads, config.num_heads // config.num_kv_heads
    if S == 1:  # sums of products: on a CPU a fused loop is twice as fast as many tiny matrix products
        q = q.reshape(B, K, G, 1, config.head_dim).astype(jnp.float32)
        scores = jnp.sum(q * k[:, :, None], axis=-1)
        weights = _attention_weights(config, scores, mask[:, None])
        return jnp.sum(weights[..., None] * v[:, :, None], axis=3).astype(v.dtype).reshape(B, 1, -1)
    q = q.reshape(B, S, K, G, config.head_dim)
    scores = jnp.einsum("bskgd,bktd->bkgst", q, k, preferred_element_type=jnp.float32)
    weights = _attention_weights(config, scores, mask[:, None, None]).astype(v.dtype)
    return jnp.einsum("bkgst,bktd->bskgd", weights, v).reshape(B, S, -1)


def _attention_weights(config: LMConfig, scores: jax.Array, mask: jax.Array) -> jax.Array:
    return jax.nn.softmax(jnp.where(mask, scores / math.sqrt(config.head_dim), -1e30), axis=-1)
