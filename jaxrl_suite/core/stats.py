"""Statistics of evaluation: interquartile mean, stratified and paired bootstrap, exact and score intervals.

Plain numpy, deterministic: whatever is random takes a `seed`.

Shapes: `R` runs (seeds) or repetitions, `K` tasks, `M` resamples.

Reference: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError

_BUDGET = 1 << 24  # numbers that a resample may hold at once; more are made in several rounds

Statistic = Callable[[np.ndarray], np.ndarray]  # float[M, R, K] -> float[M]


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float

    def columns(self, name: str = "") -> dict[str, float]:
        """As three columns of a table: `name`, `name_low`, `name_high`; without a name `estimate`, `low`, `high`."""
        prefix = f"{name}_" if name else ""
        return {name or "estimate": self.estimate, f"{prefix}low": self.low, f"{prefix}high": self.high}


def mean(scores: ArrayLike) -> np.ndarray:
    """Mean over the last two axes, float[..., R, K] -> float[...]."""
    return np.mean(_as_table(scores), axis=(-2, -1))


def iqm(scores: ArrayLike) -> np.ndarray:
    """Interquartile mean over runs and tasks together, float[..., R, K] -> float[...]; float[R] is one task.

    The lowest and the highest quarter are dropped (rounded down), as `scipy.stats.trim_mean(scores, 0.25)` does.
    """
    table = _as_table(scores)
    flat = np.sort(table.reshape(*table.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.mean(flat[..., cut : flat.shape[-1] - cut], axis=-1)


def bootstrap_interval(
    scores: ArrayLike, statistic: Statistic = iqm, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile interval of a statistic, from runs resampled with replacement within each task.

    With fewer than about ten runs a percentile interval is too narrow; for a mean over few seeds use `mean_interval`.

    Args:
      scores: float[R, K], or float[R] for one task.
      statistic: float[M, R, K] -> float[M].
      level: coverage aimed at.
      resamples: M.
      seed: of the resampling.

    Raises:
      UserError: if there are fewer than 2 runs, a score is not finite, or an argument is out of range.
    """
    table = _checked(scores, level, resamples)
    draws = np.concatenate([statistic(_take(table, rows)) for rows in _rows(table, resamples, seed)])
    return _percentile(float(statistic(table[None])[0]), draws, level)


def paired_bootstrap(
    treatment: ArrayLike,
    control: ArrayLike,
    statistic: Statistic = mean,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of `statistic(treatment - control)` where run `r` of both used the same random numbers.

    Args:
      treatment: float[R, K] or float[R].
      control: as `treatment`, paired with it entry by entry.
      statistic: float[M, R, K] -> float[M], of the differences.
      level: coverage aimed at.
      resamples: M.
      seed: of the resampling.
    """
    a, b = _as_table(treatment), _as_table(control)
    if a.shape != b.shape:
        raise UserError(f"paired scores must have the same shape, got {a.shape} and {b.shape}: pair run by run")
    return bootstrap_interval(a - b, statistic, level=level, resamples=resamples, seed=seed)


def mean_interval(scores: ArrayLike, *, level: float = 0.95) -> Interval:
    """Student's t interval of a mean over runs; right for few seeds if they are about normal.

    Args:
      scores: float[R, K] or float[R]; tasks are averaged within a run first.
      level: coverage aimed at.
    """
    from scipy import special

    runs = np.mean(_checked(scores, level, 1), axis=-1)
    half = special.stdtrit(runs.size - 1, (1 + level) / 2) * np.std(runs, ddof=1) / np.sqrt(runs.size)
    centre = float(np.mean(runs))
    return Interval(centre, centre - float(half), centre + float(half))


def mean_or_value(scores: np.ndarray) -> Interval:
    """`mean_interval` where there are several scores; a single one is its own interval, for runs with one seed."""
    return mean_interval(scores) if scores.size > 1 else Interval(*[float(scores[0])] * 3)


def probability_of_improvement(
    treatment: ArrayLike, control: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Chance that a run of `treatment` scores above a run of `control` on a task drawn at random; a tie counts half.

    Args:
      treatment: float[R, K] or float[R].
      control: float[R', K] or float[R']; the runs are not paired.
      level: coverage aimed at.
      resamples: M.
      seed: of the resampling, which is within each task and each side.
    """
    a, b = _checked(treatment, level, resamples), _checked(control, level, resamples)
    if a.shape[-1] != b.shape[-1]:
        raise UserError(f"both sides must have the same tasks, got {a.shape[-1]} and {b.shape[-1]}")
    score = (np.sign(a[:, None] - b[None, :]) + 1) / 2  # float[R, R', K]
    rng, tasks = np.random.default_rng(seed), np.arange(a.shape[-1])
    draws = np.empty(resamples)
    for m in range(resamples):
        left, right = rng.integers(0, a.shape[0], a.shape), rng.integers(0, b.shape[0], b.shape)
        draws[m] = np.mean(score[left[:, None], right[None, :], tasks])
    return _percentile(float(np.mean(score)), draws, level)


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion, for instance a win rate over independent games.

    Raises:
      UserError: unless 0 <= successes <= trials and trials >= 1.
    """
    from scipy import special

    if trials < 1 or not 0 <= successes <= trials:
        raise UserError(f"successes must be 0 to trials and trials at least 1, got {successes} of {trials}")
    z = float(special.ndtri((1 + level) / 2))
    rate, scale = successes / trials, 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    return Interval(rate, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def _as_table(scores: ArrayLike) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def _checked(scores: ArrayLike, level: float, resamples: int) -> np.ndarray:
    table = _as_table(scores)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 1:
        raise UserError(f"scores must be [runs, tasks] or [runs] with at least 2 runs, got shape {table.shape}")
    if not np.isfinite(table).all():
        raise UserError("scores must be finite: drop failed runs knowingly, or score them")
    if not 0 < level < 1 or resamples < 1:
        raise UserError(f"level must lie between 0 and 1 and resamples be at least 1, got {level} and {resamples}")
    return table


def _rows(table: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers int[m, R, K], drawn within each task; the draws do not depend on how they are split in rounds."""
    rng = np.random.default_rng(seed)
    step = max(1, _BUDGET // table.size)
    for start in range(0, resamples, step):
        yield rng.integers(0, table.shape[0], (min(step, resamples - start), *table.shape))


def _take(table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return table[rows, np.arange(table.shape[1])]


def _percentile(estimate: float, draws: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))
