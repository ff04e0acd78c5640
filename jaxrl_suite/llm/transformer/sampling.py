"""From logits to tokens: temperature, top-k, top-p, and keys that belong to a draw and not to a batch.

Shapes: `B` rows, `V` vocabulary; leading axes `...` are free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 256  # tokens


def draw_keys(seed: int, draws: Iterable[tuple[tuple[int, ...], int]]) -> jax.Array:
    """The keys [B] of draws, each from the seed, its path and its number alone.

    Args:
      seed: of the sampler.
      draws: (path, number) of each, see `Request`.
    """
    words = [
        np.frombuffer(hashlib.blake2b(repr((int(seed), path, draw)).encode(), digest_size=8).digest(), "<u4")
        for path, draw in draws
    ]
    return jax.random.wrap_key_data(jnp.asarray(np.stack(words)), impl="threefry2x32")


def draw_key(seed: int, path: tuple[int, ...], draw: int) -> jax.Array:
    """The key of one draw; token t of it is drawn with `token_key(key, t)`."""
    return draw_keys(seed, [(path, draw)])[0]


def token_key(key: jax.Array, t: jax.Array | int) -> jax.Array:
    return jax.random.fold_in(key, t)


def filtered_logprobs(
    logits: jax.Array, temperature: jax.Array, top_k: jax.Array | None = None, top_p: jax.Array | None = None
) -> jax.Array:
    """Log-probabilities of the distribution that tokens are drawn from.

    Temperature comes first, then top-k, then top-p on what is left, as in most servers. Of equal logits the one with
    the lower index is kept first.

    Args:
      logits: float32[..., V].
      temperature: float32[...]; 0 puts everything on the likeliest token.
      top_k: int32[...], keep that many; 0 keeps all. None for none, which spares a sort.
      top_p: float32[...], keep the fewest tokens whose probabilities reach it; 1 keeps all.

    Returns:
      float32[..., V]; -inf where a token was dropped.
    """
    greedy = (temperature == 0)[..., None]
    # Beyond these bounds nothing but greedy or uniform is left, and float32 would overflow to nan.
    scaled = logits / jnp.where(greedy, 1.0, jnp.clip(temperature, 1e-30, 1e30)[..., None])
    if top_k is not None or top_p is not None:
        scaled = jnp.where(_kept(scaled, top_k, top_p), scaled, -jnp.inf)
    best = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=bool)
    scaled = jnp.where(greedy, jnp.where(best, 0.0, -jnp.inf), scaled)
    return jax.nn.log_softmax(scaled, axis=-1)


def draw_tokens(keys: jax.Array, logprobs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A token for each row, with its log-probability.

    The distribution function is inverted at one uniform number a row, first among blocks of tokens and then in the
    block: a random number for each token would cost more than all else in a small model's step.

    Args:
      keys: [B], consumed.
      logprobs: float32[B, V], from `filtered_logprobs`.

    Returns:
      int32[B] and float32[B].
    """
    batch, size = logprobs.shape
    blocks = jnp.pad(jnp.exp(logprobs), ((0, 0), (0, -size % _BLOCK))).reshape(batch, -1, _BLOCK)
    sums = jnp.sum(blocks, axis=-1)
    upto = jnp.cumsum(sums, axis=-1)
    # uniform() is below 1, so that every token has its share; rounding may still put a draw past the last one.
    draw = jax.vmap(jax.random.uniform)(keys) * upto[:, -1]
    block = _first_above(upto, sums, draw)
    before = jnp.take_along_axis(upto - sums, block[:, None], axis=-1)[:, 0]
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    tokens = block * _BLOCK + _first_above(jnp.cumsum(inside, axis=-1), inside, draw - before)
    return tokens, jnp.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]


def _first_above(upto: jax.Array, parts: jax.Array, draw: jax.Array) -> jax.Array:
    """int32[B], the first of float32[B, n] `parts` above 0 whose cumulative sum `upto` exceeds float32[B] `draw`.

    A cumulative sum may round up where nothing is added, hence "above 0"; if none is left, the last part above 0.
    """
    above = (upto > draw[:, None]) & (parts > 0)
    last = parts.shape[-1] - 1 - jnp.argmax(parts[:, ::-1] > 0, axis=-1)
    return jnp.where(jnp.any(above, axis=-1), jnp.argmax(above, axis=-1), last).astype(jnp.int32)


def _kept(scaled: jax.Array, top_k: jax.Array | None, top_p: jax.Array | None) -> jax.Array:
    """bool[..., V], the tokens that top-k and then top-p leave."""
    size = scaled.shape[-1]
    order = jnp.argsort(-scaled, axis=-1, stable=True)
    ranked = jnp.take_along_axis(scaled, order, axis=-1)
    rank = jnp.arange(size).reshape((1,) * (scaled.ndim - 1) + (size,))
    allowed = jnp.ones(scaled.shape, bool)
    if top_k is not None:
        allowed &= (rank < top_k[..., None]) | (top_k[..., None] == 0)
    if top_p is not None:
        probabilities = jax.nn.softmax(jnp.where(allowed, ranked, -jnp.inf), axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        allowed &= (before < top_p[..., None]) | (top_p[..., None] >= 1) | (rank == 0)  # top_p may round to 0
    return jnp.put_along_axis(jnp.zeros(scaled.shape, bool), order, allowed, axis=-1, inplace=False)
