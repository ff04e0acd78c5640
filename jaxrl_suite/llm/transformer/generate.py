"""Generation as a function: prompts and keys in, tokens and log-probabilities out, inside anybody's jit.

It is what a training step that samples needs: no queue, no strings, no state on the host. `TransformerSampler` is the
other face of the same prefill and decoding, for requests of many shapes, texts and stop strings; the same key draws the
same tokens with both.

Shapes: `B` prompts, `P` prompt slots, `G` draws of a prompt, `N` the most new tokens, `S` tokens of a whole sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding
from jaxrl_suite.llm.transformer import decode, model
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params


class Prompts(NamedTuple):
    """Token rows of different lengths."""

    tokens: jax.Array  # int32[B, P], left-aligned; what stands behind a prompt is not looked at
    length: jax.Array  # int32[B], 1 to P


class Generated(NamedTuple):
    """Draws; the axis G is there only if the keys have it."""

    tokens: jax.Array  # int32[B, (G,) N], a stop token included; 0 behind the end
    logprobs: jax.Array  # float32[B, (G,) N], of each under the distribution that it was drawn from; 0 behind the end
    length: jax.Array  # int32[B, (G)], tokens drawn
    finished: jax.Array  # bool[B, (G)], ended by a stop token; else by `max_tokens`


def generate(config: LMConfig, params: Params, prompts: Prompts, keys: jax.Array, decoding: Decoding) -> Generated:
    """Continues prompts. Pure: jit it with `config` and `decoding` static.

        tokens, logprobs, length, finished = generate(config, params, prompts, jax.random.split(key, B), decoding)

    A row follows from its prompt and its key alone, whatever else is in the batch (up to rounding, where two
    batches differ in size).

    Args:
      config: of the model.
      params: its weights.
      prompts: B rows.
      keys: [B], or [B, G] for G draws of each prompt, which is then computed once; token t is drawn with
        `fold_in(key, t)`.
      decoding: `max_tokens` is N; `stop_tokens` end a row (there are no others: name the model's end of text here).

    Raises:
      UserError: if a sequence would exceed the model's context, the keys do not fit, or stop strings are asked for.
    """
    (B, P), N = prompts.tokens.shape, decoding.max_tokens
    if decoding.stop:
        raise UserError("generate works on token ids: use stop_tokens, or a TransformerSampler for stop strings")
    if config.context < P + N:
        raise UserError(
            f"prompts of {P} slots and {N} new tokens exceed the model's context of {config.context}: "
            "shorten the prompts or lower max_tokens"
        )
    if keys.ndim not in (1, 2) or keys.shape[0] != B or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        raise UserError(f"give a typed key for each of {B} prompts, [{B}] or [{B}, G], got {keys.dtype}{keys.shape}")
    repeats, draws = max(1, keys.size // B), keys.size
    take = jnp.arange(draws) // repeats
    past = model.empty_cache(config, B, P)
    cache, hidden = decode.prefill(config, params, past, jnp.zeros(B, jnp.int32), prompts.tokens, prompts.length)
    rows = decode.Rows(
        keys=keys.reshape(-1) if decoding.temperature else None,
        length=prompts.length[take],
        limit=jnp.full(draws, N, jnp.int32),
        stop=jnp.tile(jnp.asarray([decoding.stop_tokens or (-1,)], jnp.int32), (draws, 1)),
        temperature=jnp.full(draws, decoding.temperature, jnp.float32),
        top_k=jnp.full(draws, decoding.top_k, jnp.int32) if decoding.top_k else None,
        top_p=jnp.full(draws, decoding.top_p, jnp.float32) if decoding.top_p < 1 else None,
    )
    state = decode.begin(config, params, cache, hidden, take, rows, N)
    state = decode.advance(config, params, state, rows, jnp.int32(N))
    last = jnp.take_along_axis(state.tokens, state.count[:, None] - 1, axis=1)
    result = Generated(state.tokens, state.logprobs, state.count, jnp.any(last == rows.stop, axis=1))
    return jax.tree.map(lambda x: x.reshape(*keys.shape, *x.shape[1:]), result)


def score(config: LMConfig, params: Params, tokens: jax.Array) -> jax.Array:
    """Log-probabilities float32[B, S - 1] at temperature 1 of each token of int32[B, S] after the first."""
    lines = model.forward(config, params, tokens[:, :-1])
    return -optax.losses.softmax_cross_entropy_with_integer_labels(lines, tokens[:, 1:])
