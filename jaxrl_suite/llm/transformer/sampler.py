"""The transformer as a `Sampler`: requests of any length in, batched decoding, the same draws whatever is beside them.

Draws are sorted into batches of one size of prompt and of answer, powers of two both, so that few programs are
compiled. A batch is decoded in chunks; between them stop strings are looked for, and rows that are done make room.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Prefix, Reply, Request, Usage
from jaxrl_suite.llm.transformer import decode, sampling
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.generate import score
from jaxrl_suite.llm.transformer.model import Params
from jaxrl_suite.llm.transformer.prefix_cache import PrefixStore, bucket, most_rows
from jaxrl_suite.llm.transformer.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Limits on how a `TransformerSampler` uses the device.

    Args:
      seed: of all draws.
      max_rows: draws decoded in one batch; more are decoded one batch after the other.
      fixed_rows: decode in batches of exactly `max_rows`, padded, and go on from no stored prompt but the same. A
        draw's numbers are then the same bits alone and among others; otherwise they may differ in their last digits, as
        sums run in another order.
      chunk: tokens between two looks at stop strings and finished rows.
      cache_bytes: memory for the prompts of one size.
      batch_bytes: memory for keys, values and attention of one batch; long ones have fewer rows than `max_rows`.

    Raises:
      UserError: if a number is out of range.
    """

    seed: int = 0
    max_rows: int = 256
    fixed_rows: bool = False
    chunk: int = 32
    cache_bytes: int = 256 * 10**6
    batch_bytes: int = 2 * 10**9

    def __post_init__(self):
        if self.max_rows < 1 or self.max_rows & (self.max_rows - 1):
            raise UserError(f"max_rows must be a power of two, got {self.max_rows}")
        if self.chunk < 1 or min(self.cache_bytes, self.batch_bytes, self.seed) < 0:
            raise UserError("chunk must be at least 1; cache_bytes, batch_bytes and seed at least 0")


@dataclasses.dataclass
class _Draw:
    """One row on the host."""

    request: int
    path: tuple[int, ...]
    number: int  # of the draw
    prefix: tuple[int, ...]
    decoding: Decoding
    result: Completion | None = None


class TransformerSampler:
    """Samples from a transformer.

    Args:
      name: of the model, for recordings; weights and seed must be told apart by it.
      config: its shape.
      params: its weights.
      eos: token ids that end a sample; the tokenizer's by default, none without a tokenizer.
      tokenizer: for text and chats; without it prefixes are token ids.
      options: how the device is used.
    """

    capabilities_without_text = Capabilities(prefix=True, logprobs=True, seed=True, fork=True, tokens=True, text=False)

    def __init__(
        self,
        name: str,
        config: LMConfig,
        params: Params,
        *,
        eos: Sequence[int] | None = None,
        tokenizer: Tokenizer | None = None,
        options: SamplerConfig = SamplerConfig(),
    ):
        self.config, self.params, self.tokenizer, self.options = config, params, tokenizer, options
        self.eos = tuple(eos) if eos is not None else tokenizer.eos if tokenizer is not None else ()
        self.name = f"{name}#{options.seed}"
        self._store = PrefixStore(
            config, params, options.cache_bytes, lambda size: self._most_rows(size, 0), options.fixed_rows
        )

    @property
    def capabilities(self) -> Capabilities:
        return self.capabilities_without_text._replace(text=self.tokenizer is not None)

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers all requests. `Usage.seconds` shares the time of the call out by tokens.

        Raises:
          UserError: if a prefix is no text that the model knows, or is too long together with its answer.
        """
        began = time.perf_counter()
        prefixes = [self._ids(request.prefix, request.decoding.max_tokens) for request in requests]
        for request in requests:
            self._check_ids(request.decoding.stop_tokens)
            self._check_stop(request.decoding.stop)
        draws = [
            _Draw(i, request.path, request.first_draw + d, prefix, request.decoding)
            for i, (request, prefix) in enumerate(zip(requests, prefixes, strict=True))
            for d in range(request.num_samples)
        ]
        spared = [len(prefix) for prefix in prefixes]
        for batch in self._batches(draws):
            self._decode(batch, spared)
        completions: list[list[Completion]] = [[] for _ in requests]
        for draw in draws:
            assert draw.result is not None
            completions[draw.request].append(draw.result)
        output = [sum(completion.num_tokens for completion in done) for done in completions]
        work = [len(prefix) + tokens for prefix, tokens in zip(prefixes, output, strict=True)]
        seconds = time.perf_counter() - began
        replies = []
        for i, done in enumerate(completions):
            usage = Usage(
                samples=len(done),
                requests=1,
                prompt_tokens=len(prefixes[i]),
                cached_tokens=spared[i],
                output_tokens=output[i],
                discarded_tokens=output[i] - sum(len(c.tokens) for c in done if c.tokens is not None),
                seconds=seconds * work[i] / max(1, sum(work)),
            )
            replies.append(Reply(tuple(done), usage, usage))
        return replies

    def score(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[np.ndarray]:
        """Log-probabilities float32[T] of given continuations at temperature 1, by one pass without cache."""
        results = []
        for prefix, continuation in pairs:
            ids = self._ids(prefix, len(continuation))
            self._check_ids(continuation)
            size = bucket(len(ids) + len(continuation))
            tokens = np.zeros((1, size), np.int32)
            tokens[0, : len(ids) + len(continuation)] = (*ids, *continuation)
            lines = np.asarray(_score(self.config, self.params, tokens))[0]
            results.append(lines[len(ids) - 1 : len(ids) - 1 + len(continuation)])
        return results

    def _ids(self, prefix: Prefix, new: int) -> tuple[int, ...]:
        if len(prefix) == 0 or isinstance(prefix[0], int):
            ids = tuple(int(token) for token in prefix)  # pyright: ignore[reportArgumentType]
        elif self.tokenizer is None:
            raise UserError("this model has no tokenizer: give the prefix as token ids")
        else:
            ids = self.tokenizer.prefix_ids(prefix)
        self._check_ids(ids)
        if not ids:
            raise UserError("the prefix has no tokens: give at least one")
        if len(ids) + new > self.config.context:
            raise UserError(
                f"a prefix of {len(ids)} tokens and {new} new ones exceed the model's context of "
                f"{self.config.context}: shorten the prefix or lower max_tokens"
            )
        return ids

    def _check_ids(self, ids: Sequence[int]) -> None:
        if any(not 0 <= token < self.config.vocab_size for token in ids):
            raise UserError(f"token ids must be 0 to {self.config.vocab_size - 1}, as the model's vocabulary")

    def _check_stop(self, words: Sequence[str]) -> None:
        if words and self.tokenizer is None:
            raise UserError("stop strings need a tokenizer: this model works on token ids, use stop_tokens")
        hidden = self.tokenizer.special if words and self.tokenizer is not None else ()
        odd = next((name for name in sorted(hidden) if any(name in word for word in words)), None)
        if odd is not None:
            raise UserError(f"{odd!r} is a token that no text shows: give its id in stop_tokens instead of stop")

    def _most_rows(self, size: int, slots: int) -> int:
        return most_rows(self.config, size, slots, self.options.max_rows, self.options.batch_bytes)

    def _batches(self, draws: list[_Draw]) -> list[list[_Draw]]:
        """Draws of one size of prompt and answer, as many as fit, and as many prompts as their pool holds."""
        groups: dict[tuple[int, int], list[_Draw]] = {}
        for draw in draws:
            groups.setdefault((bucket(len(draw.prefix)), bucket(draw.decoding.max_tokens)), []).append(draw)
        batches = []
        for (size, slots), members in sorted(groups.items()):
            room, most = self._store.pool(size).slots, self._most_rows(size, slots)
            batch: list[_Draw] = []
            prompts: set[tuple[int, ...]] = set()
            for draw in members:
                if len(batch) == most or (len(prompts) == room and draw.prefix not in prompts):
                    batches.append(batch)
                    batch, prompts = [], set()
                batch.append(draw)
                prompts.add(draw.prefix)
            batches.append(batch)
        return batches

    def _decode(self, draws: list[_Draw], spared: list[int]) -> None:
        """Fills in `result` of the draws, and lowers `spared` of their requests by the prompt tokens computed."""
        size, slots = bucket(len(draws[0].prefix)), bucket(max(d.decoding.max_tokens for d in draws))
        places, kept = self._store.ensure(size, [draw.prefix for draw in draws])
        for draw, tokens in zip(draws, kept, strict=True):
            spared[draw.request] = min(spared[draw.request], tokens)
        batch = self._most_rows(size, slots) if self.options.fixed_rows else bucket(len(draws), 1)
        rows = self._rows(draws, batch)
        take = np.zeros(batch, np.int32)
        take[: len(draws)] = places
        pool = self._store.pool(size)
        state = decode.begin_jit(self.config, self.params, pool.cache, pool.hidden, take, rows, slots)
        active = list(draws)
        while True:
            tokens, logprobs, count, done = jax.device_get((state.tokens, state.logprobs, state.count, state.done))
            going = []
            for i, draw in enumerate(active):
                draw.result = self._finish(draw, tokens[i, : count[i]], logprobs[i, : count[i]], bool(done[i]))
                if draw.result is None:
                    going.append(i)
            if not going:
                return
            smaller = batch if self.options.fixed_rows else bucket(len(going), 1)
            if smaller < batch or len(going) < len(active):
                keep = np.full(smaller, going[0], np.int32)
                keep[: len(going)] = going
                state, rows = decode.take_rows_jit(state, rows, keep)
                idle = jnp.arange(smaller) >= len(going)
                state = state._replace(done=state.done | idle)
                active, batch = [active[i] for i in going], smaller
            until = (int(state.step) // self.options.chunk + 1) * self.options.chunk
            state = decode.advance_jit(self.config, self.params, state, rows, np.int32(until))

    def _rows(self, draws: list[_Draw], batch: int) -> decode.Rows:
        def column(values: Sequence[float], fill: float, dtype: type) -> jax.Array:
            return jnp.asarray(np.asarray([*values, *[fill] * (batch - len(values))], dtype))

        how = [draw.decoding for draw in draws]
        stops = [(*self.eos, *d.stop_tokens) for d in how]
        stop = np.full((batch, max(1, *map(len, stops))), -1, np.int32)
        for row, ids in enumerate(stops):
            stop[row, : len(ids)] = ids
        names = [*((draw.path, draw.number) for draw in draws), *[((), 0)] * (batch - len(draws))]
        return decode.Rows(
            keys=sampling.draw_keys(self.options.seed, names) if any(d.temperature for d in how) else None,
            length=column([len(draw.prefix) for draw in draws], 1, np.int32),
            limit=column([d.max_tokens for d in how], 0, np.int32),
            stop=jnp.asarray(stop),
            temperature=column([d.temperature for d in how], 0.0, np.float32),
            top_k=column([d.top_k for d in how], 0, np.int32) if any(d.top_k for d in how) else None,
            top_p=column([d.top_p for d in how], 1.0, np.float32) if any(d.top_p < 1 for d in how) else None,
        )

    def _finish(self, draw: _Draw, tokens: np.ndarray, logprobs: np.ndarray, done: bool) -> Completion | None:
        """The completion of a row, or None if it goes on."""
        paid, length, text = len(tokens), len(tokens), None
        ended = bool(done and tokens[-1] in (*self.eos, *draw.decoding.stop_tokens))
        stopped = False
        if self.tokenizer is not None and (done or draw.decoding.stop):
            length, text, stopped = _cut(self.tokenizer, draw.prefix, tokens, draw.decoding.stop)
        if not (done or stopped):
            return None
        finish = "stop" if stopped or ended else "length"
        return Completion(text, tokens[:length].copy(), logprobs[:length].copy(), finish, paid)


def _cut(tokenizer: Tokenizer, prefix: Sequence[int], tokens: np.ndarray, stop: Sequence[str]) -> tuple[int, str, bool]:
    """(tokens kept, text before the first stop string, whether there was one); the token that completes it is kept."""
    text = tokenizer.decode_after(prefix, tokens)
    if not any(word in text for word in stop):
        return len(tokens), text, False
    texts = ((kept, tokenizer.decode_after(prefix, tokens[:kept])) for kept in range(1, len(tokens) + 1))
    kept, text = next((kept, text) for kept, text in texts if any(word in text for word in stop))
    return kept, text[: min(at for at in map(text.find, stop) if at >= 0)], True


_score = jax.jit(score, static_argnums=0)
