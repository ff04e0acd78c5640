"""An exact language model: an automaton over a small vocabulary, whose probabilities are a table.

It samples as the transformer does, token by token with the keys of a draw, and everything about it can be computed:
scores, the distribution of completions, what an algorithm achieves on average. It is the oracle of the other samplers
and of the algorithms that use them.

Shapes: `S` states, `V` vocabulary, `B` draws, `T` tokens.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Prefix, Reply, Request, Usage
from jaxrl_suite.llm.transformer.sampling import draw_keys, draw_tokens, filtered_logprobs, token_key

MAX_ROWS = 4096  # draws in one device batch
MIN_SIZE = 16  # smallest number of rows and of tokens that is compiled for


class TabularSampler:
    """A Markov model of tokens: the state decides the next token, state and token decide the next state.

    The prefix is run through the automaton from the start state. Requests cost no seconds: the counts of a `Reply` are
    the same on every machine.

    Args:
      logits: float32[S, V], of the next token in each state; -inf for a token that cannot come.
      next_state: int32[S, V].
      eos: the token that ends a completion.
      start: the state before the first token of a prefix.
      seed: of all draws.

    Raises:
      UserError: if the tables do not fit together.
    """

    def __init__(self, logits: np.ndarray, next_state: np.ndarray, *, eos: int, start: int = 0, seed: int = 0):
        self.logits = np.array(logits, np.float32)
        self.next_state = np.array(next_state, np.int32)
        self.eos, self.start, self.seed = eos, start, seed
        if self.logits.ndim != 2 or self.logits.shape != self.next_state.shape:
            raise UserError(
                f"logits and next_state must both be [states, vocabulary], got {self.logits.shape} and "
                f"{self.next_state.shape}"
            )
        states, vocabulary = self.logits.shape
        if not (0 <= eos < vocabulary and 0 <= start < states):
            raise UserError(f"eos must be a token below {vocabulary} and start a state below {states}")
        if self.next_state.min() < 0 or self.next_state.max() >= states:
            raise UserError(f"next_state must hold states from 0 to {states - 1}")
        if np.isnan(self.logits).any() or not np.isfinite(self.logits.max(axis=1)).all():
            raise UserError("every state needs a token with a finite logit, and no logit may be nan or inf")
        data = self.logits.tobytes() + self.next_state.tobytes() + repr((self.logits.shape, eos, start)).encode()
        self._name = f"tabular-{hashlib.sha256(data).hexdigest()[:8]}-seed{seed}"
        self._table = functools.lru_cache(maxsize=16)(self._filtered)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(prefix=True, logprobs=True, seed=True, fork=True, tokens=True, text=False)

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers all requests; those with the same decoding share a device batch.

        Raises:
          UserError: if a prefix is not made of tokens of the vocabulary, or a stop string is given.
        """
        states = [self._state_after(request.prefix) for request in requests]
        groups: dict[tuple, list[tuple[int, int]]] = {}  # decoding to (request, draw)
        for i, request in enumerate(requests):
            decoding = request.decoding
            if decoding.stop:
                raise UserError("a tabular sampler has tokens, not text: use stop_tokens instead of stop")
            self._check(decoding.stop_tokens)
            draws = range(request.first_draw, request.first_draw + request.num_samples)
            how = (decoding.temperature, decoding.top_k, decoding.top_p, decoding.stop_tokens)
            groups.setdefault(how, []).extend((i, draw) for draw in draws)
        completions: list[list[Completion]] = [[] for _ in requests]
        for (temperature, top_k, top_p, stop_tokens), rows in groups.items():
            table, stops = self._table(temperature, top_k, top_p), [self.eos, *stop_tokens]
            for first in range(0, len(rows), MAX_ROWS):
                chunk = rows[first : first + MAX_ROWS]
                drawn = self._draw(table, stops, [(requests[i], states[i], draw) for i, draw in chunk])
                for (i, _), completion in zip(chunk, drawn, strict=True):
                    completions[i].append(completion)
        return [_reply(request, drawn) for request, drawn in zip(requests, completions, strict=True)]

    def score(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[np.ndarray]:
        """Log-probabilities float32[T] of given continuations at temperature 1; exact."""
        table, scores = self._table(1.0, 0, 1.0), []
        for prefix, tokens in pairs:
            state = self._state_after(prefix)
            self._check(tokens)
            by_prefix = []
            for token in tokens:
                by_prefix.append(table[state, token])
                state = self.next_state[state, token]
            scores.append(np.asarray(by_prefix, np.float32))
        return scores

    def probabilities(self, prefix: Prefix, decoding: Decoding, *, most: int = 100_000) -> dict[tuple[int, ...], float]:
        """Every completion that can be drawn, with its probability; they add up to 1.

        Args:
          prefix: token ids.
          decoding: as in a request.
          most: completions that the caller is ready to wait for.

        Raises:
          UserError: if there are more.
        """
        table = np.exp(self._table(decoding.temperature, decoding.top_k, decoding.top_p).astype(np.float64))
        table /= table.sum(axis=1, keepdims=True)
        ends = {self.eos, *decoding.stop_tokens}
        by_tokens: dict[tuple[int, ...], float] = {}
        todo: list[tuple[tuple[int, ...], int, float]] = [((), self._state_after(prefix), 1.0)]
        while todo:
            tokens, state, probability = todo.pop()
            if tokens and (tokens[-1] in ends or len(tokens) == decoding.max_tokens):
                by_tokens[tokens] = probability
                continue
            for token in np.flatnonzero(table[state]).tolist():
                following = int(self.next_state[state, token])
                todo.append(((*tokens, token), following, probability * float(table[state, token])))
            if len(by_tokens) + len(todo) > most:
                raise UserError(f"there are more than {most} completions: lower max_tokens, or raise `most`")
        return by_tokens

    def _draw(
        self, table: np.ndarray, stops: Sequence[int], rows: Sequence[tuple[Request, int, int]]
    ) -> list[Completion]:
        """Draws each (request, state after its prefix, draw)."""
        padding = _bucket(len(rows)) - len(rows)
        keys = draw_keys(self.seed, [(request.path, draw) for request, _, draw in rows] + [((), 0)] * padding)
        start = np.asarray([state for _, state, _ in rows] + [0] * padding, np.int32)
        limit = np.asarray([request.decoding.max_tokens for request, _, _ in rows] + [0] * padding, np.int32)
        is_stop = np.zeros(table.shape[1], bool)
        is_stop[list(stops)] = True
        steps = _bucket(int(limit.max()))
        tokens, logprobs, lengths = jax.device_get(
            _generate(keys, start, limit, table, self.next_state, is_stop, steps)
        )
        completions = []
        for row in range(len(rows)):
            length = int(lengths[row])
            ids = tokens[row, :length]
            finish = "stop" if is_stop[ids[-1]] else "length"
            completions.append(Completion(None, ids.copy(), logprobs[row, :length].copy(), finish, length))
        return completions

    def _filtered(self, temperature: float, top_k: int, top_p: float) -> np.ndarray:
        """float32[S, V]: the log-probabilities of all states at once, so that they do not depend on a batch."""
        states = self.logits.shape[0]
        parts = (np.float32(temperature), np.int32(top_k), np.float32(top_p))
        return np.asarray(filtered_logprobs(jnp.asarray(self.logits), *(jnp.full((states,), part) for part in parts)))

    def _state_after(self, prefix: Prefix) -> int:
        tokens = [token for token in prefix if isinstance(token, int)]
        if len(tokens) < len(prefix):
            raise UserError("a tabular sampler takes a prefix of token ids: encode the text first")
        self._check(tokens)
        state = self.start
        for token in tokens:
            state = int(self.next_state[state, token])
        return state

    def _check(self, tokens: Sequence[int]) -> None:
        size = self.logits.shape[1]
        odd = next((token for token in tokens if not 0 <= token < size), None)
        if odd is not None:
            raise UserError(f"token {odd} is not in the vocabulary: use ids from 0 to {size - 1}")


@functools.partial(jax.jit, static_argnames="steps")
def _generate(
    keys: jax.Array,
    state: jax.Array,
    limit: jax.Array,
    table: jax.Array,
    next_state: jax.Array,
    is_stop: jax.Array,
    steps: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Runs the automaton until all rows have stopped.

    Args:
      keys: [B], of the draws; consumed.
      state: int32[B].
      limit: int32[B], most tokens of each row; 0 for a row that pads the batch.
      table: float32[S, V], log-probabilities.
      next_state: int32[S, V].
      is_stop: bool[V].
      steps: length of the buffers, at least the largest limit.

    Returns:
      int32[B, steps] tokens, float32[B, steps] their log-probabilities, int32[B] lengths.
    """
    rows = jnp.arange(state.shape[0])

    def step(carry):
        t, state, lengths, running, tokens, logprobs = carry
        token, logprob = draw_tokens(jax.vmap(token_key, in_axes=(0, None))(keys, t), table[state])
        tokens = tokens.at[rows, t].set(token)
        logprobs = logprobs.at[rows, t].set(logprob)
        lengths = lengths + running
        return t + 1, next_state[state, token], lengths, running & ~is_stop[token] & (lengths < limit), tokens, logprobs

    shape = (state.shape[0], steps)
    carry = (
        jnp.int32(0),
        state,
        jnp.zeros_like(limit),
        limit > 0,
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, jnp.float32),
    )
    _, _, lengths, _, tokens, logprobs = jax.lax.while_loop(lambda carry: jnp.any(carry[3]), step, carry)
    return tokens, logprobs, lengths


def _reply(request: Request, completions: Sequence[Completion]) -> Reply:
    output = sum(completion.num_tokens for completion in completions)
    usage = Usage(len(completions), requests=1, prompt_tokens=len(request.prefix), output_tokens=output)
    return Reply(tuple(completions), usage, usage)


def _bucket(n: int) -> int:
    """The next power of two, so that few shapes are compiled."""
    return max(MIN_SIZE, 1 << (n - 1).bit_length())
