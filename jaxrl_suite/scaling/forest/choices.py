"""Choices among a few tokens by a model's own next-token distribution: directions of a model that has no words.

A request is answered with every choice, likeliest first, and their log-probabilities. It costs one request, its prompt
and one output token: what reading one distribution takes.

Shapes: `C` choices, `B` requests, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Capabilities, Completion, Prefix, Reply, Request, Sampler, Usage
from jaxrl_suite.llm.transformer import model
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.prefix_cache import bucket

Reader = Callable[[Sequence[tuple[int, ...]]], np.ndarray]
"""Prefixes to float32[B, V], the log-probabilities of the next token at temperature 1."""


class ChoiceSampler:
    """A sampler of one distribution over a few tokens.

    Args:
      sampler: the model, for its name, and for its scores where there is no faster reader.
      choices: token ids, at least one.
      read: reads the distributions of a batch.
    """

    capabilities = Capabilities(prefix=True, logprobs=True, seed=True, fork=True, tokens=True, text=False)

    def __init__(self, sampler: Sampler, choices: Sequence[int], read: Reader | None = None):
        if not choices:
            raise UserError("there is nothing to choose from: give at least one token")
        self.choices, self.name = tuple(choices), f"choices of {sampler.name}"
        self._sampler, self._read = sampler, read

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers each request with all choices.

        Raises:
          UserError: if a prefix is not made of tokens.
        """
        prefixes: list[tuple[int, ...]] = []
        for request in requests:
            tokens = tuple(token for token in request.prefix if isinstance(token, int))
            if len(tokens) < len(request.prefix):
                raise UserError("choices among tokens follow a prefix of token ids: encode the text first")
            prefixes.append(tokens)
        table = self._table(prefixes)
        replies = []
        for prefix, row in zip(prefixes, table, strict=True):
            order = np.argsort(-row, kind="stable")
            tokens, logprobs = np.asarray(self.choices, np.int32)[order], row[order].astype(np.float32)
            usage = Usage(samples=1, requests=1, prompt_tokens=len(prefix), output_tokens=1)
            replies.append(Reply((Completion(None, tokens, logprobs, "length", 1),), usage, usage))
        return replies

    def score(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[np.ndarray]:
        return self._sampler.score(pairs)

    def _table(self, prefixes: Sequence[tuple[int, ...]]) -> np.ndarray:
        """float32[B, C]."""
        if self._read is not None:
            return self._read(prefixes)[:, list(self.choices)]
        pairs = [(prefix, (choice,)) for prefix in prefixes for choice in self.choices]
        return np.concatenate(self._sampler.score(pairs)).reshape(len(prefixes), len(self.choices))


def transformer_reader(config: LMConfig, params: model.Params, rows: int = 64) -> Reader:
    """A reader of a transformer by forward passes of exactly `rows` prefixes of one size, padded.

    What a prefix gets is so the same bits whatever is beside it, and few programs are compiled.
    """

    @jax.jit
    def last(params: model.Params, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        hidden, _ = model.hidden_states(config, params, tokens)
        row = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
        return jax.nn.log_softmax(model.logits(config, params, row).astype(jnp.float32), axis=-1)

    def read(prefixes: Sequence[tuple[int, ...]]) -> np.ndarray:
        table = np.zeros((len(prefixes), config.vocab_size), np.float32)
        sizes = [bucket(len(prefix)) for prefix in prefixes]
        for size in sorted(set(sizes)):
            ours = [i for i, other in enumerate(sizes) if other == size]
            for first in range(0, len(ours), rows):
                chunk = ours[first : first + rows]
                tokens, lengths = np.zeros((rows, size), np.int32), np.ones(rows, np.int32)
                for row, i in enumerate(chunk):
                    tokens[row, : len(prefixes[i])], lengths[row] = prefixes[i], len(prefixes[i])
                table[chunk] = np.asarray(last(params, tokens, lengths))[: len(chunk)]
        return table

    return read


Chooser = Callable[[np.ndarray], int]
"""An index drawn from float64[C] probabilities."""


def draw_choices(logits: np.ndarray, count: int, choose: Chooser, *, repeat: bool) -> list[int]:
    """`count` indices drawn one after the other.

    Args:
      logits: float[C]; -inf for what cannot be chosen.
      count: draws; fewer come where there is nothing left.
      choose: draws one.
      repeat: whether what was drawn may come again; else the draws are successive sampling without replacement.
    """
    weights = np.asarray(logits, np.float64).copy()
    drawn: list[int] = []
    while len(drawn) < count and np.isfinite(weights.max()):
        chances = np.exp(weights - weights.max())
        drawn.append(choose(chances / chances.sum()))
        if not repeat:
            weights[drawn[-1]] = -np.inf
    return drawn
