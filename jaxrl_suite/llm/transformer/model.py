"""A decoder-only transformer of `flax.linen` modules: RMSNorm, RoPE, grouped-query attention, SwiGLU.

The cache is an argument and a result, so that it can be gathered and forked. Layers are unrolled and projections of
one input are one matrix, `[in, out]`: on a CPU a decoding step then reads each weight once, where a scan over stacked
layers would copy it first.

Shapes: `B` batch, `S` new tokens, `T` key slots, `L` layers, `D` width, `H` query heads, `K` key and value heads, `d`
size of a head, `F` hidden, `V` vocabulary.

Reference: Touvron et al., "LLaMA" (2023); Su et al., "RoFormer" (2021); Ainslie et al., "GQA" (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.rope import rotate, rotation
from jaxrl_suite.networks.apply import apply

Params: TypeAlias = Any  # a `chex.ArrayTree`, of dicts
"""The `params` of a `Transformer`: `embed/embedding` [V, D]; `norm/scale` [D]; `head/kernel` [D, V] unless tied;
`value/kernel` [D, 1] and `value/bias` [1] if there is a value head; of each layer `layers_0`, ...:
`attention_norm/scale` [D], `attention/qkv/kernel` [D, (H + 2 K) d], with a `bias` if it has one,
`attention/{q_norm,k_norm}/scale` [d] if there are such, `attention/out/kernel` [H d, D], `mlp_norm/scale` [D],
`mlp/gate_up/kernel` [D, 2 F], `mlp/down/kernel` [F, D]."""

Write: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""`(old [B, K, T, d], new [B, K, S, d]) -> [B, K, T, d]`: how new keys and values enter the cache."""


class Cache(NamedTuple):
    """Keys (rotated) and values of tokens seen, for each layer."""

    keys: tuple[jax.Array, ...]  # L arrays [B, K, T, d]
    values: tuple[jax.Array, ...]  # L arrays [B, K, T, d]


class RMSNorm(nn.Module):
    """Root mean square normalisation, computed in float32.

    Args:
      eps: added to the mean square.
      dtype: of the scale.
    """

    eps: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D], for inputs [..., D]."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.dtype(self.dtype))
        wide = x.astype(jnp.float32)
        normal = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (normal * scale.astype(jnp.float32)[(None,) * (x.ndim - 1)]).astype(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions.

    Args:
      config: of the model.
    """

    config: LMConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        angles: tuple[jax.Array, jax.Array],
        mask: jax.Array,
        past: tuple[jax.Array, jax.Array] | None,
        write: Write | None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """[B, S, D], and keys and values with the new ones; arguments as in `Transformer`."""
        H, K, d = self.config.num_heads, self.config.num_kv_heads, self.config.head_dim
        qkv = _dense(self.config, (H + 2 * K) * d, "qkv", bias=self.config.qkv_bias)(x)
        heads = qkv.reshape(*x.shape[:2], H + 2 * K, d)
        v = heads[:, :, H + K :].swapaxes(1, 2)
        if self.config.qk_norm:
            eps, dtype, cuts = self.config.norm_eps, self.config.dtype, [H, H + K]
            q, k, _ = jnp.split(heads, cuts, axis=2)
            heads = jnp.concatenate([RMSNorm(eps, dtype, name="q_norm")(q), RMSNorm(eps, dtype, name="k_norm")(k)], 2)
        rotated = rotate(heads[:, :, : H + K], angles)
        q, k = rotated[:, :, :H], rotated[:, :, H:].swapaxes(1, 2)
        if past is not None:
            assert write is not None, "a cache needs `write`"
            k, v = write(past[0], k), write(past[1], v)
        return _dense(self.config, x.shape[-1], "out", deep=True)(_attend(self.config, q, k, v, mask)), (k, v)


class SwiGLU(nn.Module):
    """The feed-forward layer, gated by a sigmoid linear unit.

    Args:
      config: of the model.
    """

    config: LMConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D], for inputs [..., D]."""
        gate, up = jnp.split(_dense(self.config, 2 * self.config.hidden, "gate_up")(x), 2, axis=-1)
        return _dense(self.config, x.shape[-1], "down", deep=True)(jax.nn.silu(gate) * up)


class Block(nn.Module):
    """A layer: attention and a feed-forward layer, each added to what it reads normalised.

    Args:
      config: of the model.
    """

    config: LMConfig

    @nn.compact
    def __call__(self, x: jax.Array, *attention: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """[B, S, D], and keys and values; further arguments are those of `Attention`."""
        config = self.config
        normed = RMSNorm(config.norm_eps, config.dtype, name="attention_norm")(x)
        attended, kept = Attention(config, name="attention")(normed, *attention)
        x = x + attended
        return x + SwiGLU(config, name="mlp")(RMSNorm(config.norm_eps, config.dtype, name="mlp_norm")(x)), kept


class Unembed(nn.Module):
    """An output layer of its own, where it is not the embedding; logits are float32 whatever the weights are.

    Args:
      vocab_size: V.
      dtype: of the kernel.
    """

    vocab_size: int
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """float32[..., V], for hidden states [..., D]."""
        start = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        kernel = self.param("kernel", start, (hidden.shape[-1], self.vocab_size), jnp.dtype(self.dtype))
        return jnp.einsum("...d,dv->...v", hidden, kernel, preferred_element_type=jnp.float32)


class Transformer(nn.Module):
    """The model of a config; `hidden_states`, `logits` and `values` below apply its methods to parameters."""

    config: LMConfig

    def setup(self):
        config = self.config
        dtype = jnp.dtype(config.dtype)
        start = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=-1, out_axis=-2)
        self.embed = nn.Embed(config.vocab_size, config.width, dtype=dtype, param_dtype=dtype, embedding_init=start)
        self.layers = [Block(config) for _ in range(config.num_layers)]
        self.norm = RMSNorm(config.norm_eps, config.dtype)
        if not config.tied:
            self.head = Unembed(config.vocab_size, config.dtype)
        if config.value_head:
            self.value = nn.Dense(1, dtype=dtype, param_dtype=dtype, kernel_init=nn.initializers.zeros)

    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        mask: jax.Array | None = None,
        cache: Cache | None = None,
        write: Write | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        """The last hidden state of every token, normalised, and the cache; arguments as in `hidden_states`."""
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        if mask is None:
            mask = jnp.tril(jnp.ones((1, tokens.shape[1], tokens.shape[1]), bool))
        angles = rotation(self.config, positions)
        # Out-of-range ids would be clamped by the gather on some backends: callers check them on the host.
        x = self.embed.embedding[tokens]
        kept = []
        for index, layer in enumerate(self.layers):
            past = None if cache is None else (cache.keys[index], cache.values[index])
            x, pair = layer(x, angles, mask, past, write)
            kept.append(pair)
        if cache is not None:
            cache = Cache(tuple(k for k, _ in kept), tuple(v for _, v in kept))
        return self.norm(x), cache

    def logits(self, hidden: jax.Array) -> jax.Array:
        """float32[..., V] from hidden states [..., D]."""
        if self.config.tied:
            table = self.embed.embedding
            return jnp.einsum("...d,vd->...v", hidden, table, preferred_element_type=jnp.float32)
        return self.head(hidden)

    def values(self, hidden: jax.Array) -> jax.Array:
        """float32[...], the scalar head on hidden states [..., D]."""
        return self.value(hidden)[..., 0].astype(jnp.float32)

    def everything(self, tokens: jax.Array) -> tuple[jax.Array, ...]:
        """Logits, and values if there is a value head: calls every submodule once."""
        hidden, _ = self(tokens)
        return (self.logits(hidden), *([self.values(hidden)] if self.config.value_head else []))


def init(config: LMConfig, key: chex.PRNGKey) -> Params:
    """Random weights, variance 1 / fan-in, the layers' outputs scaled down by the square root of their number.

    Args:
      config: the shape.
      key: consumed.
    """
    return Transformer(config).init(key, jnp.zeros((1, 1), jnp.int32), method="everything")["params"]


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
    write: Write | None = None,
) -> tuple[jax.Array, Cache | None]:
    """The last hidden state of every token, normalised.

    Args:
      config: the shape.
      params: the weights.
      tokens: int32[B, S].
      positions: int32[B, S], place of each token in its sequence; 0 to S - 1 by default.
      mask: bool[B, S, T] (axes of size 1 are broadcast), the key slots that a token attends to; causal by default.
      cache: keys and values that came before. Without it T = S and the new tokens attend to each other.
      write: how new keys and values enter the cache.

    Returns:
      [B, S, D], and the cache with the new tokens.
    """
    chex.assert_rank(tokens, 2)
    chex.assert_type(tokens, int)
    if positions is not None:
        chex.assert_equal_shape([tokens, positions])
    return apply(Transformer(config), params, tokens, positions, mask, cache, write)


def logits(config: LMConfig, params: Params, hidden: jax.Array) -> jax.Array:
    """float32[..., V] from hidden states [..., D]."""
    return apply(Transformer(config), params, hidden, method="logits")


def values(config: LMConfig, params: Params, hidden: jax.Array) -> jax.Array:
    """float32[...], the scalar head on hidden states [..., D]."""
    return apply(Transformer(config), params, hidden, method="values")


def forward(config: LMConfig, params: Params, tokens: jax.Array) -> jax.Array:
    """Logits float32[B, S, V] of whole sequences int32[B, S]; what follows a token does not change its logits."""
    return logits(config, params, hidden_states(config, params, tokens)[0])


def _dense(config: LMConfig, outputs: int, name: str, *, bias: bool = False, deep: bool = False) -> nn.Dense:
    """A projection with weights of variance 1 / fan-in, less by twice the depth for what is added to the stream."""
    dtype = jnp.dtype(config.dtype)
    start = nn.initializers.variance_scaling(1 / (2 * config.num_layers) if deep else 1.0, "fan_in", "normal")
    return nn.Dense(outputs, use_bias=bias, dtype=dtype, param_dtype=dtype, kernel_init=start, name=name)


def _attend(config: LMConfig, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """[B, S, H d]; a token that may attend to nothing (padding) gets the mean of all values."""
    B, S = q.shape[:2]
    K, G = config.num_kv_heads, config.num_heads // config.num_kv_heads
    if S == 1 and G > 1:  # where heads share keys, a fused loop on a CPU is twice as fast as tiny matrix products
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
