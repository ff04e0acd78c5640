"""Estimates that grow: (init, update) pairs with intervals, and rules that say when to stop.

An estimator is a frozen dataclass. `init(N)` is its state before any sample, `update(state, key, utility)` the state
after one batch more, and `estimate(state)` the values so far. States are plain arrays, for checkpoints.

Shapes: `N` points, `R` samples of one batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from scipy import special

from jaxrl_suite.datavalue.utilities import Utility
from jaxrl_suite.errors import UserError


class Moments(NamedTuple):
    """Running mean and spread, float64, updated without cancellation (Chan et al., 1979)."""

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray  # sum of squared deviations from the mean

    def variance_of_mean(self) -> np.ndarray:
        """Infinite with fewer than two samples."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.count > 1, self.m2 / (self.count - 1) / self.count, np.inf)


class Estimate(NamedTuple):
    """Values with a confidence interval for each alone."""

    values: np.ndarray  # float64[N]
    low: np.ndarray  # float64[N]
    high: np.ndarray  # float64[N]
    fits: int  # utilities that were evaluated


class Estimator(Protocol):
    """The protocol of every sampler here."""

    def init(self, num_points: int) -> Any: ...

    def update(self, state: Any, key: jax.Array, utility: Utility) -> Any: ...

    def estimate(self, state: Any, level: float = 0.95) -> Estimate: ...


def no_moments(num_points: int) -> Moments:
    return Moments(*(np.zeros(num_points) for _ in range(3)))


def add_samples(moments: Moments, samples: np.ndarray, where: np.ndarray | None = None) -> Moments:
    """Adds samples float[R, N]; with `where` bool[R, N] only those."""
    where = np.ones(samples.shape, bool) if where is None else where
    count = where.sum(axis=0).astype(float)
    safe = np.maximum(count, 1)
    mean = np.where(where, samples, 0.0).sum(axis=0) / safe
    m2 = np.where(where, (samples - mean) ** 2, 0.0).sum(axis=0)
    total = moments.count + count
    difference = mean - moments.mean
    share = count / np.maximum(total, 1)
    return Moments(total, moments.mean + difference * share, moments.m2 + m2 + difference**2 * moments.count * share)


def normal_estimate(values: np.ndarray, variance: np.ndarray, fits: int, level: float) -> Estimate:
    """Values with normal intervals of the given variances."""
    if not 0 < level < 1:
        raise UserError(f"level must lie between 0 and 1, got {level}")
    half = special.ndtri((1 + level) / 2) * np.sqrt(variance)
    return Estimate(values, values - half, values + half, fits)


@dataclasses.dataclass(frozen=True)
class MaxFits:
    """Stops once so many utilities were evaluated."""

    fits: int

    def __call__(self, history: list[Estimate]) -> bool:
        return history[-1].fits >= self.fits


@dataclasses.dataclass(frozen=True)
class HalfWidth:
    """Stops once every interval is at most so far to each side."""

    width: float

    def __call__(self, history: list[Estimate]) -> bool:
        return bool(np.max(history[-1].high - history[-1].low) / 2 <= self.width)


@dataclasses.dataclass(frozen=True)
class StableRanks:
    """Stops once Spearman's correlation with the ranking of `back` updates ago is at least `correlation`."""

    correlation: float = 0.99
    back: int = 5

    def __call__(self, history: list[Estimate]) -> bool:
        if len(history) <= self.back:
            return False
        now, then = (_ranks(history[-1 - ago].values) for ago in (0, self.back))
        if now.std() == 0 or then.std() == 0:
            return False
        return bool(np.corrcoef(now, then)[0, 1] >= self.correlation)


def estimate_values(
    estimator: Estimator,
    utility: Utility,
    num_points: int,
    key: jax.Array,
    *stop: Callable[[list[Estimate]], bool],
    max_updates: int = 10_000,
) -> Estimate:
    """Updates until the first of the rules says stop.

    Args:
      estimator: from this package.
      utility: of the points.
      num_points: N.
      key: consumed.
      *stop: rules, called with the estimates so far; at least one.
      max_updates: an estimate that has not stopped by then is an error.

    Raises:
      UserError: if there is no rule, or none stopped in time.
    """
    if not stop:
        raise UserError("give a rule for when to stop, for instance MaxFits(1000)")
    state, history = estimator.init(num_points), []
    for step in range(max_updates):
        state = estimator.update(state, jax.random.fold_in(key, step), utility)
        history.append(estimator.estimate(state))
        if any(rule(history) for rule in stop):
            return history[-1]
    raise UserError(f"no rule stopped within {max_updates} updates: add MaxFits, or raise max_updates")


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy import stats

    return stats.rankdata(values)
