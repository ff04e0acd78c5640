"""Tokens in front of a prompt that steer a small model, as instructions do a large one: styles, a hint, and noise.

A prefix is learned by hindsight: a row of training is labelled with what its answer does, now and then, so that the
label means "answer in this way". Noise is put in front of any row and means nothing.

    style    one of the task's ways to begin an answer (`Prefixes.styles`), or none
    hint     the first tokens of an answer, between two marks
    noise    tokens that say nothing

They follow on the task's own vocabulary: style i is `first + i`, then comes the noise, then the mark of a hint.

Shapes: `P` longest prefix, `S` tokens of a hint, `T` tokens of a row.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.tasks.tokens import Example

NOISE = 8  # different tokens that say nothing
MOST_NOISE = 2  # of them in front of a row


class Prefixes(NamedTuple):
    """The prefix tokens of a task."""

    first: int  # token of style 0
    styles: tuple[str, ...]  # names
    hint: int  # S, tokens of a hint; 0 if the task has none

    @property
    def noise(self) -> int:
        """The first token of noise."""
        return self.first + len(self.styles)

    @property
    def mark(self) -> int:
        """The token in front of a hint."""
        return self.noise + NOISE

    @property
    def vocab_size(self) -> int:
        return self.mark + 1

    @property
    def longest(self) -> int:
        """P: noise, a style, a hint with its mark."""
        return MOST_NOISE + 1 + (self.hint + 1 if self.hint else 0)


def prepend(prefixes: Prefixes, key: jax.Array, row: Example, style: jax.Array, hint: jax.Array, pad: int) -> Example:
    """A row of training with a random prefix: none with probability one half.

    Else each part is there or not: the style with probability .5, the hint .25, one or two tokens of noise .5.

    Args:
      prefixes: of the task.
      key: consumed.
      row: int32[T], bool[T].
      style: int32[], the style of the answer; none of its styles below 0.
      hint: int32[S], the first tokens of the answer.
      pad: fills the row up.

    Returns:
      int32[P + T], bool[P + T].
    """
    keys = jax.random.split(key, 6)
    any_part = jax.random.bernoulli(keys[0], 0.5)
    noise = jax.random.randint(keys[1], (MOST_NOISE,), prefixes.noise, prefixes.noise + NOISE)
    amount = jnp.where(jax.random.bernoulli(keys[2], 0.5), jax.random.randint(keys[3], (), 1, MOST_NOISE + 1), 0)
    styled = jax.random.bernoulli(keys[4], 0.5) & (style >= 0)
    parts = [noise, (prefixes.first + jnp.maximum(style, 0))[None]]
    there = [jnp.arange(MOST_NOISE) < amount, styled[None]]
    if prefixes.hint:
        hinted = jax.random.bernoulli(keys[5], 0.25)
        parts += [jnp.full(1, prefixes.mark), hint]
        there += [jnp.broadcast_to(hinted, (prefixes.hint + 1,))]
    tokens, there = jnp.concatenate(parts), jnp.concatenate(there) & any_part
    tokens = tokens[jnp.argsort(~there, stable=True)]
    length = jnp.sum(there)
    places = jnp.arange(len(tokens) + len(row.tokens))
    after = jnp.clip(places - length, 0, len(row.tokens) - 1)
    inside = (places >= length) & (places - length < len(row.tokens))
    moved = jnp.where(inside, row.tokens[after], pad)
    return Example(
        jnp.where(places < length, tokens[jnp.minimum(places, len(tokens) - 1)], moved).astype(jnp.int32),
        inside & row.mask[after],
    )
