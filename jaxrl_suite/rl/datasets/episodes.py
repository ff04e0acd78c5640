"""Episodes of offline data: their bounds, returns, and splits by whole episodes.

Shapes: `N` transitions, `E` episodes.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.offline import ARRAYS, OfflineData, select_extra


class Episodes(NamedTuple):
    """Episode e is the rows starts[e] to ends[e] - 1."""

    starts: np.ndarray  # int64[E]
    ends: np.ndarray  # int64[E]
    finished: np.ndarray  # bool[E]; only the last one can be unfinished

    @property
    def lengths(self) -> np.ndarray:
        return self.ends - self.starts


def episodes(data: OfflineData) -> Episodes:
    """The places of the episodes; an unfinished last one is among them."""
    ends = np.flatnonzero(data.terminals | data.timeouts) + 1
    finished = np.ones(len(ends), bool)
    if ends[-1] < len(data):
        ends, finished = np.append(ends, len(data)), np.append(finished, False)
    return Episodes(np.concatenate([[0], ends[:-1]]), ends, finished)


def episode_returns(data: OfflineData, *, discount: float = 1.0) -> np.ndarray:
    """float64[E]: the return of each episode from its start, sum over t of discount^t r_t."""
    return returns_to_go(data, discount=discount)[episodes(data).starts]


def returns_to_go(data: OfflineData, *, discount: float = 1.0) -> np.ndarray:
    """float64[N]: discounted sum of the rewards from each transition to the end of its episode.

    Raises:
      UserError: unless discount lies in [0, 1].
    """
    if not 0 <= discount <= 1:
        raise UserError(f"discount must lie in [0, 1], got {discount}")
    from scipy.signal import lfilter

    rewards = data.rewards.astype(np.float64)
    bounds = episodes(data)
    total = np.empty(len(rewards))
    for start, end in zip(bounds.starts.tolist(), bounds.ends.tolist(), strict=True):
        total[start:end] = lfilter([1.0], [1.0, -discount], rewards[start:end][::-1])[::-1]
    return total


def timesteps(data: OfflineData) -> np.ndarray:
    """int64[N]: how many steps of its episode came before each transition."""
    bounds = episodes(data)
    return np.arange(len(data)) - np.repeat(bounds.starts, bounds.lengths)


def episode_rows(bounds: Episodes, chosen: np.ndarray) -> np.ndarray:
    """int64[M]: the transitions of the episodes `chosen`, in that order."""
    spans = zip(bounds.starts[chosen].tolist(), bounds.ends[chosen].tolist(), strict=True)
    return np.concatenate([np.arange(start, end) for start, end in spans])


def take_episodes(data: OfflineData, chosen: np.ndarray) -> OfflineData:
    """The data of the episodes `chosen` (int[...], from 0 on), in that order.

    Raises:
      UserError: if there is no such episode, or the unfinished one would not come last.
    """
    bounds, chosen = episodes(data), np.asarray(chosen)
    if not len(chosen) or chosen.dtype.kind not in "iu":
        raise UserError("no episode is chosen: take at least one, by its number")
    if chosen.min() < 0 or chosen.max() >= len(bounds.starts):
        raise UserError(f"episodes are numbered 0 to {len(bounds.starts) - 1}, got {chosen.min()} to {chosen.max()}")
    rows = episode_rows(bounds, chosen)
    if not bounds.finished[chosen].all() and chosen[-1] != len(bounds.starts) - 1:
        raise UserError("the unfinished episode must come last: nothing marks its end")
    extra = select_extra(data.extra, rows, chosen, (len(data), len(bounds.starts)))
    arrays = {name: value[rows] for name in ARRAYS if (value := getattr(data, name)) is not None}
    return dataclasses.replace(data, **arrays, extra=extra)


def split_episodes(data: OfflineData, key: jax.Array, held_out: float = 0.1) -> tuple[OfflineData, OfflineData]:
    """(training, held-out): whole finished episodes drawn at random, at least one in each.

    An unfinished one stays in training. Rows of one episode are alike, so rows drawn singly would leak.

    Raises:
      UserError: if there are fewer than two episodes, or held_out is not inside (0, 1).
    """
    bounds = episodes(data)
    whole = np.flatnonzero(bounds.finished)
    if len(bounds.starts) < 2 or not 0 < held_out < 1:
        raise UserError(f"a split needs 2 episodes and held_out inside (0, 1), got {len(bounds.starts)}, {held_out}")
    count = min(max(1, round(held_out * len(whole))), len(bounds.starts) - 1)
    held = np.sort(np.asarray(jax.random.permutation(key, len(whole)))[:count])
    rest = np.setdiff1d(np.arange(len(bounds.starts)), whole[held])
    return take_episodes(data, rest), take_episodes(data, whole[held])
