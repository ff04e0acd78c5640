"""Decoding on the device: prefill once, then a jitted loop over a cache of fixed size.

A row's cache has P slots for its prompt, left-aligned, and N for what it generates. Prompts of a batch differ in
length, yet all rows write token t into slot P + t: attention does not care for the order of slots, only rotary
positions are a row's own. So a step updates the cache in place with one slice.

Shapes: `B` rows, `S` prompt tokens to compute, `P` prompt slots, `N` slots for new tokens, `E` stop tokens, `V`
vocabulary.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxrl_suite.llm.transformer import model
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Cache, Params
from jaxrl_suite.llm.transformer.sampling import draw_tokens, filtered_logprobs, token_key


class Rows(NamedTuple):
    """Constants of how each row is drawn."""

    keys: jax.Array | None  # [B], of the draws; None if all rows are greedy, which spares the drawing
    length: jax.Array  # int32[B], prompt tokens
    limit: jax.Array  # int32[B], most tokens to generate
    stop: jax.Array  # int32[B, E], tokens that end the row; -1 is none
    temperature: jax.Array  # float32[B]
    top_k: jax.Array | None  # int32[B]; None if no row uses it, which spares a sort
    top_p: jax.Array | None  # float32[B]


class Decoded(NamedTuple):
    """Rows in progress."""

    cache: Cache  # P + N slots
    tokens: jax.Array  # int32[B, N], drawn so far
    logprobs: jax.Array  # float32[B, N], of each under the distribution that it was drawn from
    count: jax.Array  # int32[B], tokens drawn
    done: jax.Array  # bool[B]
    step: jax.Array  # int32[], tokens drawn in every row that is not done


def prefill(
    config: LMConfig, params: Params, past: Cache, start: jax.Array, tokens: jax.Array, length: jax.Array
) -> tuple[Cache, jax.Array]:
    """Computes prompts, or what is new in them.

    Args:
      config: of the model.
      params: its weights.
      past: P slots, of which the first `start` are filled.
      start: int32[B], prompt tokens in `past`.
      tokens: int32[B, S], those that follow, padded at the end.
      length: int32[B], how many of them are no padding; start + length is at most P.

    Returns:
      The cache with all of them, and the last hidden state [B, D].
    """
    chex.assert_rank([tokens, start, length], [2, 1, 1])
    chex.assert_equal_shape_prefix([tokens, start, length, past.keys[0]], 1)
    slots = past.keys[0].shape[2]
    positions = start[:, None] + jnp.arange(tokens.shape[1])[None]
    source = jnp.arange(slots)[None] - start[:, None]  # the new token that belongs in a slot
    fresh = (source >= 0) & (source < length[:, None])
    source = jnp.clip(source, 0, tokens.shape[1] - 1)

    def write(old: jax.Array, new: jax.Array) -> jax.Array:
        placed = jnp.take_along_axis(new, source[:, None, :, None], axis=2)
        return jnp.where(fresh[:, None, :, None], placed, old)

    mask = jnp.arange(slots)[None, None] <= positions[:, :, None]
    hidden, cache = model.hidden_states(config, params, tokens, positions, mask, past, write)
    assert cache is not None
    last = jnp.take_along_axis(hidden, (length - 1)[:, None, None], axis=1)[:, 0]
    return cache, last


def begin(
    config: LMConfig, params: Params, prompts: Cache, hidden: jax.Array, take: jax.Array, rows: Rows, slots: int
) -> Decoded:
    """Draws the first token of each row.

    Args:
      config: of the model.
      params: its weights.
      prompts: caches of prompts, P slots.
      hidden: [prompts, D], their last hidden states.
      take: int32[B], the prompt of each row; several rows may continue one.
      rows: how they are drawn.
      slots: N.
    """
    room = ((0, 0), (0, 0), (0, slots), (0, 0))
    cache = jax.tree.map(lambda leaf: jnp.pad(leaf[take], room), prompts)
    batch = take.shape[0]
    state = Decoded(
        cache,
        tokens=jnp.zeros((batch, slots), jnp.int32),
        logprobs=jnp.zeros((batch, slots), jnp.float32),
        count=jnp.zeros(batch, jnp.int32),
        done=rows.limit <= 0,
        step=jnp.int32(0),
    )
    return _draw(state, model.logits(config, params, hidden[take]), rows)


def advance(config: LMConfig, params: Params, state: Decoded, rows: Rows, until: jax.Array) -> Decoded:
    """Draws tokens until every row is done or has `until` of them.

    Args:
      config: of the model.
      params: its weights.
      state: from `begin`, `advance` or `take_rows`.
      rows: how they are drawn.
      until: int32[].
    """
    prompt_slots = state.cache.keys[0].shape[2] - state.tokens.shape[1]
    slot = jnp.arange(state.cache.keys[0].shape[2])[None]

    def unfinished(state: Decoded) -> jax.Array:
        return (state.step < until) & ~jnp.all(state.done)

    def body(state: Decoded) -> Decoded:
        place = prompt_slots + state.step - 1  # of the token drawn last, which now enters the cache
        token = jax.lax.dynamic_slice_in_dim(state.tokens, state.step - 1, 1, axis=1)
        seen = (slot < rows.length[:, None]) | ((slot >= prompt_slots) & (slot <= place))

        def write(old: jax.Array, new: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(old, new, place, axis=2)

        positions = (rows.length + state.step - 1)[:, None]
        hidden, cache = model.hidden_states(config, params, token, positions, seen[:, None], state.cache, write)
        assert cache is not None
        return _draw(state._replace(cache=cache), model.logits(config, params, hidden[:, 0]), rows)

    return jax.lax.while_loop(unfinished, body, state)


def take_rows(state: Decoded, rows: Rows, keep: jax.Array) -> tuple[Decoded, Rows]:
    """The rows `keep` int32[b] of a batch."""
    step = state.step
    kept, rows = jax.tree.map(lambda leaf: leaf[keep], (state._replace(step=state.done), rows))
    return kept._replace(step=step), rows


def _draw(state: Decoded, logits: jax.Array, rows: Rows) -> Decoded:
    """Adds token number `state.step` to every row that is not done."""
    if rows.keys is None:
        token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        logprob = jnp.zeros(token.shape, jnp.float32)
    else:
        logprobs = filtered_logprobs(logits, rows.temperature, rows.top_k, rows.top_p)
        token, logprob = draw_tokens(jax.vmap(token_key, (0, None))(rows.keys, state.step), logprobs)
    token, logprob = jnp.where(state.done, 0, token), jnp.where(state.done, 0.0, logprob)
    count = state.count + ~state.done
    ended = jnp.any(token[:, None] == rows.stop, axis=1) | (count >= rows.limit)
    return Decoded(
        cache=state.cache,
        tokens=jax.lax.dynamic_update_slice_in_dim(state.tokens, token[:, None], state.step, axis=1),
        logprobs=jax.lax.dynamic_update_slice_in_dim(state.logprobs, logprob[:, None], state.step, axis=1),
        count=count,
        done=state.done | ended,
        step=state.step + 1,
    )


# One compiled program for each config and set of shapes. The cache of a batch in progress is given up to the next call.
prefill_jit = functools.partial(jax.jit, static_argnums=0, donate_argnums=2)(prefill)
begin_jit = functools.partial(jax.jit, static_argnums=(0, 6))(begin)
advance_jit = functools.partial(jax.jit, static_argnums=0, donate_argnums=2)(advance)
take_rows_jit = jax.jit(take_rows)
