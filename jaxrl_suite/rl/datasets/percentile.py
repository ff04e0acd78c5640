"""Percentile behaviour cloning: which episodes of the data are imitated.

The published baseline keeps the episodes with the highest returns. Where start states differ in difficulty that keeps
the easy starts, not the skilful episodes, and the clone never sees the hard states. `start_normalised` ranks instead
by how much better an episode went than others from such a start.

Shapes: `N` transitions, `E` episodes.

Reference: Chen et al., "Decision Transformer" (NeurIPS 2021), section 5.1, for percentile cloning; Tarasov et al.,
"CORL" (NeurIPS 2023) ranks by discounted return.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.episodes import episode_returns, episode_rows, episodes
from jaxrl_suite.rl.datasets.offline import OfflineData
from jaxrl_suite.rl.datasets.transitions import scaling

Ranking = Literal["raw", "discounted", "start_normalised"]
RANKINGS: tuple[Ranking, ...] = ("raw", "discounted", "start_normalised")
_BLOCK = 512  # episodes whose distances to all others are held at once; some data sets have tens of thousands


def percentile_rows(
    data: OfflineData, fraction: float, *, by: Ranking = "raw", discount: float = 0.99, neighbours: int = 8
) -> np.ndarray:
    """int64[M]: the transitions of the best episodes, in the order of the data.

    Args:
      data: with at least one finished episode; an unfinished one, whose return is not known, is never kept.
      fraction: of the finished episodes that is kept, rounded, at least one; 1 keeps them all.
      by: return, discounted return, or return compared with that of similar starts.
      discount: for `discounted`.
      neighbours: for `start_normalised`, see there.

    Raises:
      UserError: if an argument is out of range.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction must lie in (0, 1], got {fraction}: 0.1 keeps the best tenth of the episodes")
    bounds = episodes(data)
    whole = np.flatnonzero(bounds.finished)
    if not len(whole):
        raise UserError("no episode is finished, so none has a return: read more of the data")
    scores = episode_scores(data, by=by, discount=discount, neighbours=neighbours)[whole]
    count = max(1, round(fraction * len(whole)))
    kept = np.sort(whole[np.argsort(-scores, kind="stable")[:count]])
    return episode_rows(bounds, kept)


def episode_scores(
    data: OfflineData, *, by: Ranking = "raw", discount: float = 0.99, neighbours: int = 8
) -> np.ndarray:
    """float64[E]: what `percentile_rows` ranks episodes by."""
    if by == "raw":
        return episode_returns(data)
    if by == "discounted":
        return episode_returns(data, discount=discount)
    if by == "start_normalised":
        bounds = episodes(data)
        return start_normalised(data.observations[bounds.starts], episode_returns(data), bounds.finished, neighbours)
    raise UserError(f"by must be one of {', '.join(RANKINGS)}, got {by!r}")


def start_normalised(
    starts: np.ndarray, returns: np.ndarray, finished: np.ndarray | None = None, neighbours: int = 8
) -> np.ndarray:
    """float64[E]: return less the mean return of the episodes with the nearest other starts.

    Nearest neighbours, not a regression line: the return is a peaked function of the start (of the angle of a
    pendulum), and the episode itself must not be part of what it is compared with.

    Args:
      starts: number[E, ...], first observations; distances are between features of mean 0 and deviation 1.
      returns: float[E].
      finished: bool[E], which episodes may be compared with; all by default.
      neighbours: how many nearest others, fewer if there are not so many.

    Raises:
      UserError: if there is nothing to compare with.
    """
    finished = np.ones(len(returns), bool) if finished is None else finished
    if neighbours < 1 or finished.sum() < 2:
        raise UserError("start_normalised compares episodes: it needs 2 finished ones and neighbours of at least 1")
    flat = starts.reshape(len(starts), -1).astype(np.float64)
    flat = scaling(flat)(flat)
    squares, returns = (flat**2).sum(axis=1), np.asarray(returns, np.float64)
    count = min(neighbours, int(finished.sum()) - 1)
    scores = np.empty(len(flat))
    for first in range(0, len(flat), _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, len(flat)))
        distance = squares[rows, None] + squares[None, :] - 2 * flat[rows] @ flat.T
        distance[np.arange(len(rows)), rows] = np.inf
        distance[:, ~finished] = np.inf
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :count]
        scores[rows] = returns[rows] - returns[nearest].mean(axis=1)
    return scores
