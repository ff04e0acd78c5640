"""Quality of values: finding wrong labels, and curves of adding and removing points.

Shapes: `N` points.

Reference: the protocols of Data Shapley (ICML 2019), Data-OOB (ICML 2023) and OpenDataVal (NeurIPS 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jaxrl_suite.errors import UserError


class NoisyLabels(NamedTuple):
    """A set of labels of which some were changed."""

    labels: np.ndarray  # int32[N]
    flipped: np.ndarray  # bool[N]


class Detection(NamedTuple):
    """Measures of how well low values point at wrong labels."""

    auc: float  # chance that a wrong label has a lower value than a right one; a tie counts half
    f1: float  # of naming as many points of lowest value as are wrong


def flip_labels(labels: ArrayLike, share: float, classes: int, seed: int) -> NoisyLabels:
    """Gives a share of the points, rounded to whole points, another label, uniformly among the others.

    Raises:
      UserError: if the share is not between 0 and 1, or there are fewer than two classes.
    """
    labels = np.asarray(labels)
    if not 0 <= share <= 1 or classes < 2:
        raise UserError(f"share must be 0 to 1 and classes at least 2, got {share} and {classes}")
    rng = np.random.default_rng(seed)
    flipped = np.zeros(len(labels), bool)
    flipped[rng.permutation(len(labels))[: round(share * len(labels))]] = True
    shift = rng.integers(1, classes, len(labels))
    return NoisyLabels(np.where(flipped, (labels + shift) % classes, labels).astype(np.int32), flipped)


def detect(values: ArrayLike, flipped: ArrayLike) -> Detection:
    """Judges values by how low they are for points known to be wrong.

    Raises:
      UserError: if a value is not finite, or all points or none are wrong.
    """
    values, flipped = np.asarray(values, np.float64), np.asarray(flipped, bool)
    if len(bad := np.flatnonzero(~np.isfinite(values))):
        raise UserError(f"the value of point {bad[0]} is {values[bad[0]]}: drop it or sample more")
    wrong = int(flipped.sum())
    if values.shape != flipped.shape or not 0 < wrong < len(values):
        raise UserError("detection needs one value a point, and points with right and with wrong labels")
    ranks = stats.rankdata(-values)
    auc = (ranks[flipped].sum() - wrong * (wrong + 1) / 2) / (wrong * (len(values) - wrong))
    named = np.argsort(values, kind="stable")[:wrong]
    return Detection(float(auc), float(flipped[named].mean()))


def weighted_drop(curve: ArrayLike) -> float:
    """Weighted accuracy drop of a removal curve float[N]: sum over steps k >= 1 of the loss up to k, divided by k.

    Early losses count most; larger is better for a removal from the highest value on.
    """
    curve = np.asarray(curve, np.float64)
    lost = curve[0] - curve[1:]
    return float(np.sum(lost / np.arange(1, len(curve))))


def points_to_reach(curve: ArrayLike, target: float) -> int:
    """The number of points of an addition curve that reach the target; one more than there are if none does."""
    curve = np.asarray(curve, np.float64)
    reached = np.flatnonzero(curve >= target)
    return int(reached[0]) + 1 if len(reached) else len(curve) + 1


def rank_stability(values: ArrayLike) -> float:
    """Mean Spearman correlation between all pairs of runs, values float[R, N]."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise UserError(f"values of at least two runs expected, [runs, points], got shape {values.shape}")
    ranks = np.apply_along_axis(stats.rankdata, 1, values)
    correlations = np.corrcoef(ranks)
    return float(np.mean(correlations[np.triu_indices(len(values), 1)]))
