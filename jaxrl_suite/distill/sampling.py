"""Samplers of real batches: uniformly, or a padded bucket for each discrete action.

Shapes: `M` real pairs, `B` rows of a batch, `A` actions, `P` rows of the longest bucket.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.distill.pairs import Pairs, take
from jaxrl_suite.errors import UserError


class BatchSampler(Protocol):
    """Draws batches from a table that is prepared once."""

    def prepare(self, pairs: Pairs) -> Any:
        """The table, a pytree of arrays."""
        ...

    def draw(self, table: Any, key: jax.Array) -> Pairs:
        """A batch."""
        ...


@dataclasses.dataclass(frozen=True)
class UniformBatches:
    """Rows drawn uniformly with replacement.

    Args:
      batch: B.
    """

    batch: int = 256

    def __post_init__(self):
        if self.batch < 1:
            raise UserError(f"batch must be at least 1, got {self.batch}")

    def prepare(self, pairs: Pairs) -> Pairs:
        return pairs

    def draw(self, table: Pairs, key: jax.Array) -> Pairs:
        """Pairs with weights [B]."""
        return take(table, jax.random.randint(key, (self.batch,), 0, table.weights.shape[0]))


class BucketTable(NamedTuple):
    """Rows by action; a bucket is padded with its own first rows, one of an absent action with row 0."""

    pairs: Pairs
    rows: jax.Array  # int32[A, P]
    counts: jax.Array  # int32[A]


@dataclasses.dataclass(frozen=True)
class Buckets:
    """For each action, rows in which it is the target; an action that is absent gets rows of weight 0.

    Args:
      batch: B, for each action.
      replace: False draws without replacement within a batch, as DDRL's published code does; rows beyond the number
        that a bucket holds then have weight 0.
    """

    batch: int = 64
    replace: bool = True

    def __post_init__(self):
        if self.batch < 1:
            raise UserError(f"batch must be at least 1, got {self.batch}")

    def prepare(self, pairs: Pairs) -> BucketTable:
        rows, counts = group_rows(np.argmax(np.asarray(pairs.targets), axis=-1), pairs.targets.shape[-1])
        return BucketTable(pairs, jnp.asarray(rows), jnp.asarray(counts))

    def draw(self, table: BucketTable, key: jax.Array) -> Pairs:
        """Pairs with weights [A, B]."""
        actions, longest = table.rows.shape
        if self.replace:
            uniform = jax.random.uniform(key, (actions, self.batch))
            counts = table.counts[:, None]
            chosen = jnp.minimum((uniform * counts).astype(jnp.int32), jnp.maximum(counts - 1, 0))
            valid = jnp.broadcast_to(counts > 0, chosen.shape)
        else:
            inside = jnp.arange(longest)[None] < table.counts[:, None]
            score = jnp.where(inside, jax.random.uniform(key, (actions, longest)), -1.0)
            best, chosen = jax.lax.top_k(score, min(self.batch, longest))
            valid = best >= 0
        batch = take(table.pairs, jnp.take_along_axis(table.rows, chosen, axis=1))
        return batch._replace(weights=jnp.where(valid, batch.weights, 0.0))


def group_rows(labels: np.ndarray, actions: int) -> tuple[np.ndarray, np.ndarray]:
    """Row indices int32[A, P] of each label, padded with its own rows or with 0 if there is none; counts int32[A]."""
    buckets = [np.flatnonzero(np.asarray(labels) == action) for action in range(actions)]
    longest = max(1, *(len(bucket) for bucket in buckets))
    padded = [np.resize(bucket, longest) if len(bucket) else np.zeros(longest, int) for bucket in buckets]
    return np.stack(padded).astype(np.int32), np.array([len(bucket) for bucket in buckets], np.int32)


def balanced_rows(key: jax.Array, pairs: Pairs, size: int) -> np.ndarray:
    """int32[N]: random real rows, split over the actions that occur as evenly as possible, the first get the rest.

    Args:
      key: draws them; a row is drawn twice only where an action has too few.
      pairs: with targets of a discrete policy.
      size: N, at least the number of actions that occur.
    """
    rows, counts = group_rows(np.argmax(np.asarray(pairs.targets), axis=-1), pairs.targets.shape[-1])
    present = np.flatnonzero(counts)
    if size < len(present):
        raise UserError(f"{len(present)} actions occur, so a balanced set needs at least that many pairs, got {size}")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key), np.uint32).tolist())
    chosen = []
    for place, action in enumerate(present):
        want = size // len(present) + (place < size % len(present))
        bucket = rows[action, : counts[action]]
        chosen.append(rng.choice(bucket, want, replace=want > len(bucket)))
    return np.concatenate(chosen).astype(np.int32)
