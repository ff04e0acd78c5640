"""Prompts that were computed, kept on the device: a fork of a prefix is a row of its cache, taken as often as needed.

A store has a pool of slots for each size of prompt, and a map on the host from token ids to slots; the prefix that was
not used for the longest time gives way. A prompt that begins with a stored one is computed from there on, unless
numbers must be the same bits in every batch.

Shapes: `B` rows of a batch, `P` prompt slots, `D` width.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.llm.transformer import decode, model
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Cache, Params

SMALLEST = 16  # slots; buckets are its multiples by powers of two
Tokens = tuple[int, ...]


def bucket(size: int, smallest: int = SMALLEST) -> int:
    """The least power of two times `smallest` that holds `size`."""
    return smallest * (1 << max(0, (size - 1) // smallest).bit_length())


def slot_bytes(config: LMConfig) -> int:
    """Memory of one token's keys and values."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * jnp.dtype(config.dtype).itemsize


def most_rows(config: LMConfig, prompt: int, new: int, max_rows: int, max_bytes: int) -> int:
    """Rows of a batch: at most `max_rows`, a power of two, and at least one whatever it takes.

    Args:
      config: of the model.
      prompt: P.
      new: slots for new tokens.
      max_rows: a power of two.
      max_bytes: of keys, values and the attention of prompts.
    """
    each = slot_bytes(config) * (prompt + new) + 4 * config.num_heads * prompt**2
    return min(max_rows, 1 << (max(1, max_bytes // each).bit_length() - 1))


class CachePool:
    """Prompts of up to P tokens.

    Attributes:
      cache: keys and values, `slots` rows of P.
      hidden: [slots, D], the last hidden state of each.
      slot_of: token ids to slot, the one unused for the longest time first.
    """

    def __init__(self, config: LMConfig, size: int, slots: int):
        self.size, self.slots = size, slots
        self.cache = model.empty_cache(config, slots, size)
        self.hidden = jnp.zeros((slots, config.width), config.dtype)
        self.slot_of: collections.OrderedDict[Tokens, int] = collections.OrderedDict()

    def place(self, prefix: Tokens) -> int:
        """A slot for a new prefix: a free one, else that of the prefix unused for the longest time."""
        slot = len(self.slot_of) if len(self.slot_of) < self.slots else self.slot_of.popitem(last=False)[1]
        self.slot_of[prefix] = slot
        return slot


class PrefixStore:
    """Computed prompts of one model.

    Args:
      config: of the model.
      params: its weights.
      max_bytes: of one pool; it has at least one slot whatever that takes.
      max_rows: prompts of one size computed in one batch, from that size.
      fixed_rows: always compute batches of so many rows, and every prompt from its first token, so that its numbers do
        not depend on the others, nor on what is stored.
    """

    def __init__(
        self, config: LMConfig, params: Params, max_bytes: int, max_rows: Callable[[int], int], fixed_rows: bool
    ):
        self._config, self._params = config, params
        self._max_bytes, self._max_rows, self._fixed_rows = max_bytes, max_rows, fixed_rows
        self._pools: dict[int, CachePool] = {}

    def pool(self, size: int) -> CachePool:
        """The pool for prompts of up to `size` tokens, a bucket."""
        if size not in self._pools:
            slots = self._max_bytes // (size * slot_bytes(self._config))
            self._pools[size] = CachePool(self._config, size, max(1, min(256, slots)))
        return self._pools[size]

    def ensure(self, size: int, prefixes: Sequence[Tokens]) -> tuple[np.ndarray, list[int]]:
        """Computes the prompts that are not here.

        Args:
          size: P of all of them, a bucket.
          prefixes: at most as many different ones as the pool has slots.

        Returns:
          int32[B], the slot of each; and how many tokens of each were not computed now, each prompt counted once.
        """
        pool = self.pool(size)
        spared = [0] * len(prefixes)
        missing: dict[Tokens, int] = {}
        for i, prefix in enumerate(prefixes):
            if prefix in pool.slot_of:
                pool.slot_of.move_to_end(prefix)
                spared[i] = len(prefix)
            elif prefix in missing:
                spared[i] = len(prefix)
            else:
                missing[prefix] = i
        groups: dict[tuple[int, int], list[tuple[Tokens, int, int]]] = {}
        for prefix, i in missing.items():
            home, slot, start = self._longest_start(prefix)
            spared[i] = start
            rest = bucket(len(prefix) - start) if start else size
            groups.setdefault((home, rest), []).append((prefix, slot, start))
        most = self._max_rows(size)
        chunks = [
            (home, rest, jobs[at : at + most])
            for (home, rest), jobs in sorted(groups.items())
            for at in range(0, len(jobs), most)
        ]
        # All starts are read before any slot, which may hold one of them, is given away to a new prefix.
        computed = [self._compute(pool, home, rest, jobs) for home, rest, jobs in chunks]
        try:
            for (_, _, jobs), (cache, hidden) in zip(chunks, computed, strict=True):
                slots = np.full(hidden.shape[0], pool.slots, np.int32)  # out of range: padding is dropped
                slots[: len(jobs)] = [pool.place(prefix) for prefix, _, _ in jobs]
                pool.cache, pool.hidden = _put((pool.cache, pool.hidden), (cache, hidden), slots)
        except BaseException:  # also an interrupt: a slot may have its new name and not its content
            del self._pools[size]
            raise
        return np.asarray([pool.slot_of[prefix] for prefix in prefixes], np.int32), spared

    def _longest_start(self, prefix: Tokens) -> tuple[int, int, int]:
        """(pool, slot, length) of the longest stored prompt that `prefix` goes on from; zeros if there is none."""
        if self._fixed_rows:
            return 0, 0, 0
        lengths = sorted({len(p) for pool in self._pools.values() for p in pool.slot_of}, reverse=True)
        for length in lengths:
            pool = self._pools.get(bucket(length))
            if length < len(prefix) and pool is not None and prefix[:length] in pool.slot_of:
                return pool.size, pool.slot_of[prefix[:length]], length
        return 0, 0, 0

    def _compute(
        self, pool: CachePool, home: int, rest: int, jobs: list[tuple[Tokens, int, int]]
    ) -> tuple[Cache, jax.Array]:
        """Cache and last hidden states of prompts (tokens, slot of the start in pool `home`, its length)."""
        rows = self._max_rows(pool.size) if self._fixed_rows else bucket(len(jobs), 1)
        tokens, start = np.zeros((rows, rest), np.int32), np.zeros(rows, np.int32)
        length, base = np.ones(rows, np.int32), np.zeros(rows, np.int32)
        for row, (prefix, slot, begin) in enumerate(jobs):
            new = prefix[begin:]
            tokens[row, : len(new)], length[row], start[row], base[row] = new, len(new), begin, slot
        if home:
            past = _take(self._pools[home].cache, base, pool.size)
        else:
            past = model.empty_cache(self._config, rows, pool.size)
        return decode.prefill_jit(self._config, self._params, past, start, tokens, length)


def _take_rows(cache: Cache, rows: jax.Array, size: int) -> Cache:
    """Rows of a pool, with room for `size` prompt tokens."""
    room = ((0, 0), (0, 0), (0, size - cache.keys[0].shape[2]), (0, 0))
    return jax.tree.map(lambda leaf: jnp.pad(leaf[rows], room), cache)


def _put_rows(pool, rows, slots):
    return jax.tree.map(lambda old, new: old.at[slots].set(new, mode="drop"), pool, rows)


_take = jax.jit(_take_rows, static_argnums=2)
_put = jax.jit(_put_rows, donate_argnums=0)
