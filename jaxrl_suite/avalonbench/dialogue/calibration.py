"""Calibration of a listener's ratings as evidence: the two scales of the tilt, fitted to games whose roles are known.

The log-posterior of the true roles is concave in the scales, so that there is one best pair; 0 means that the ratings
tell nothing, and a negative scale that they mislead. Fit on some games and score on others.

Shapes: `G` ratings of discussions, `K` assignments of roles, `P` players.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.dialogue.dialogue import Ratings
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.errors import UserError

LIMIT = 5.0  # largest scale, in log-odds for one step of a rating; with few games the best one may be infinite


class Heard(NamedTuple):
    """One listener's ratings, and what was to be known."""

    weights: np.ndarray  # float[K], its posterior before the discussion
    ratings: Ratings
    truth: int  # index of the true assignment


class Quality(NamedTuple):
    log_loss: float  # mean -ln posterior of the true assignment, nats
    brier: float  # mean squared error of the beliefs on sides, over all seats


class Scales(NamedTuple):
    good: float
    merlin: float


def calibrate(game: Avalon, heard: Sequence[Heard]) -> Scales:
    """The scales between -5 and 5 under which the true roles are likeliest.

    Args:
      game: the rules.
      heard: G ratings.

    Raises:
      UserError: if there are none, or a truth that its listener held to be impossible.
    """
    from scipy import optimize

    logs, features, truth = _arrays(game, heard)
    rows = np.arange(len(truth))

    def loss(scales: np.ndarray) -> tuple[float, np.ndarray]:
        chances, log_total, scores = _tilted(logs, features, scales)
        gradient = np.einsum("gk,gks->gs", chances, features) - features[rows, truth]
        return float(np.mean(log_total - scores[rows, truth])), gradient.mean(axis=0)

    result = optimize.minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-LIMIT, LIMIT)] * 2)
    return Scales(*(float(scale) for scale in result.x))


def quality(game: Avalon, heard: Sequence[Heard], scales: Scales) -> Quality:
    """Quality of the beliefs after a tilt by `scales`; `Scales(0, 0)` is before it."""
    logs, features, truth = _arrays(game, heard)
    chances, log_total, scores = _tilted(logs, features, np.asarray(scales))
    rows = np.arange(len(truth))
    good = _good(game)
    error = (chances @ good - good[truth]) ** 2
    return Quality(float(np.mean(log_total - scores[rows, truth])), float(error.mean()))


def _arrays(game: Avalon, heard: Sequence[Heard]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(float64[G, K] log-weights, float64[G, K, 2] evidence of either kind, int[G] truths)."""
    if not heard:
        raise UserError("nothing was heard: give at least one listener's ratings")
    table, good = tables(game), _good(game)
    merlin = ((table.merlin[:, None] >> np.arange(game.num_players)) & 1).astype(float)
    truth = np.array([rating.truth for rating in heard])
    with np.errstate(divide="ignore"):
        logs = np.log(np.stack([np.asarray(rating.weights, float) for rating in heard]))
    if not np.isfinite(logs[np.arange(len(truth)), truth]).all():
        raise UserError("a listener held the true roles to be impossible: drop it, or soften its observation model")
    evidence = [
        good @ -np.array([rating.ratings.evil for rating in heard], float).T,
        merlin @ np.array([rating.ratings.merlin for rating in heard], float).T,
    ]
    return logs, np.stack(evidence, axis=-1).transpose(1, 0, 2), truth


def _tilted(logs: np.ndarray, features: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(float64[G, K] posteriors, float64[G] log-normalisers, float64[G, K] unnormalised logarithms)."""
    scores = logs + features @ scales
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - top)
    total = weights.sum(axis=1, keepdims=True)
    return weights / total, (top + np.log(total))[:, 0], scores


def _good(game: Avalon) -> np.ndarray:
    """float64[K, P]: 1 where a seat is good."""
    return 1.0 - ((tables(game).evil[:, None] >> np.arange(game.num_players)) & 1)
