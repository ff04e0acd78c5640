"""The market: which metrics discovery may reveal, in what order, and what they are worth to whom.

A buyer of a private type pays the cost of every period of discovery and sees one metric a period (a rounded accuracy,
or a gain over the buyer's own baseline). When the buyer stops, it may buy the model of any metric seen so far at its
posted price, or leave.

Shapes: `Q` metrics, `H` types, `T` periods.

Reference: Han et al., "Data-augmented AutoML market" (arXiv 2310.17843), section 3.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError

TOLERANCE = 1e-6  # by how much a row of probabilities may miss a sum of 1


@dataclasses.dataclass(frozen=True, eq=False)
class Market:
    """A checked market; everything is float64 and read-only.

    Args:
      metrics: float[Q], strictly increasing labels of the metrics.
      initial: float[Q], law of the metric that the first period reveals.
      transitions: float[T-1, Q, Q]; row q of matrix t is the law of the metric revealed in period t + 2 after q in
        period t + 1.
      valuations: float[H, Q], what a model of each metric is worth to each type, in units of money.
      prior: float[H], how common each type is.
      cost: of a period of discovery, in units of money; the buyer pays it whatever it buys.

    Raises:
      UserError: for an input that is no market; the message names the row and the remedy.
    """

    metrics: np.ndarray
    initial: np.ndarray
    transitions: np.ndarray
    valuations: np.ndarray
    prior: np.ndarray
    cost: float = 0.0

    def __post_init__(self):
        arrays = {name: as_numbers(getattr(self, name), name) for name in _ARRAYS}
        size = arrays["metrics"].size
        if arrays["metrics"].ndim != 1 or size == 0:
            raise UserError("metrics must be a list of at least one number: name the metrics that can be found")
        if (falls := np.flatnonzero(np.diff(arrays["metrics"]) <= 0)).size:
            row = int(falls[0]) + 1
            raise UserError(f"metrics must increase, but entry {row} does not exceed entry {row - 1}: sort and dedupe")
        types = arrays["valuations"].shape[0] if arrays["valuations"].ndim == 2 else 0
        for name, shape in (
            ("initial", (size,)),
            ("transitions", (arrays["transitions"].shape[0] if arrays["transitions"].ndim == 3 else 0, size, size)),
            ("valuations", (max(types, 1), size)),
            ("prior", (max(types, 1),)),
        ):
            if arrays[name].shape != shape:
                raise UserError(f"{name} must have shape {list(shape)} here, got {list(arrays[name].shape)}")
        check_laws(arrays["initial"], "initial")
        check_laws(arrays["transitions"], "transitions")
        check_valuations(arrays["valuations"])
        check_laws(arrays["prior"], "prior")
        cost = as_numbers(self.cost, "cost")
        if cost.ndim or cost < 0:
            raise UserError(f"cost must be at least 0, and one number, got {cost}: discovery cannot pay the buyer")
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "cost", float(cost))

    @property
    def num_metrics(self) -> int:
        return self.metrics.size

    @property
    def num_types(self) -> int:
        return self.prior.size

    @property
    def horizon(self) -> int:
        """T, the periods of discovery."""
        return self.transitions.shape[0] + 1

    def replace(self, **changes: Any) -> Market:
        """A checked copy with some fields changed."""
        return dataclasses.replace(self, **changes)


_ARRAYS = ("metrics", "initial", "transitions", "valuations", "prior")


def as_numbers(values: ArrayLike, name: str) -> np.ndarray:
    """A float64 copy of `values`.

    Raises:
      UserError: if an entry is no number, or not finite; the message names the first.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name} must hold numbers only, in rows of one length: convert or drop the others") from None
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise UserError(f"{name}{list(place)} is {array[place]}: drop or fill what is missing before the market opens")
    return array


def check_laws(rows: np.ndarray, name: str) -> None:
    """Refuses rows (along the last axis) that are no probabilities, naming the first.

    Raises:
      UserError: if an entry is negative, or a row does not sum to 1.
    """
    if (rows < 0).any():
        place = tuple(int(i) for i in np.argwhere(rows < 0)[0])
        raise UserError(f"{name}{list(place)} is {rows[place]:.6g}: probabilities must be at least 0")
    sums = rows.sum(-1)
    if (wrong := np.abs(sums - 1) > TOLERANCE).any():
        place = [int(i) for i in np.argwhere(wrong)[0]]
        row = f"{name} row {place}" if place else name
        raise UserError(f"{row} sums to {sums[tuple(place)]:.6g} and must sum to 1: divide it by its sum")


def check_valuations(valuations: np.ndarray) -> None:
    """Refuses negative valuations, naming the first row that has one.

    Raises:
      UserError: if an entry is negative.
    """
    if (valuations < 0).any():
        row, column = (int(i) for i in np.argwhere(valuations < 0)[0])
        raise UserError(
            f"valuations row {row} is {valuations[row, column]:.6g} at metric {column}: a model can be thrown away, so "
            "its value must be at least 0"
        )


def check_prices(prices: ArrayLike, num_metrics: int) -> np.ndarray:
    """Price curves as float64[..., Q], inf where a model is not for sale.

    Raises:
      UserError: if there is not one price for each metric, or one is negative or nan; the message names the first.
    """
    try:
        posted = np.asarray(prices, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError("prices must hold numbers only, in rows of one length; inf is not for sale") from None
    if posted.shape[-1:] != (num_metrics,):
        raise UserError(f"prices must have shape [..., {num_metrics}], one for each metric, got {list(posted.shape)}")
    if not (posted >= 0).all():
        place = tuple(int(i) for i in np.argwhere(~(posted >= 0))[0])
        raise UserError(
            f"prices{list(place)} is {posted[place]}: give at least 0, or inf where a model is not for sale"
        )
    return posted


def check_trajectories(trajectories: ArrayLike, num_metrics: int) -> np.ndarray:
    """Trajectories int[N, T] of indices of metrics.

    Raises:
      UserError: if there are none or an index is out of range.
    """
    checked = np.asarray(trajectories)
    if checked.ndim != 2 or not checked.size or checked.dtype.kind not in "iu":
        raise UserError(f"trajectories must be int[N, T], at least 1 by 1, got {checked.dtype}{list(checked.shape)}")
    if checked.min() < 0 or checked.max() >= num_metrics:
        row = int(np.flatnonzero(((checked < 0) | (checked >= num_metrics)).any(1))[0])
        raise UserError(f"trajectory {row} leaves 0 to {num_metrics - 1}: round its metrics to the grid first")
    return checked


def smoothed_chain(trajectories: ArrayLike, num_metrics: int, smoothing: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Estimates a chain from trajectories by counts.

    The counts of all periods act as `smoothing` times one more observation of each row, spread as they are spread, so
    that a row that was never seen in a period falls back on the other periods; a metric that was never left stays.

    Args:
      trajectories: int[N, T], indices of the metrics revealed.
      num_metrics: Q.
      smoothing: weight of what other periods say.

    Returns:
      `initial` float[Q] and `transitions` float[T-1, Q, Q].

    Raises:
      UserError: if there are no trajectories or an index is out of range.
    """
    checked = check_trajectories(trajectories, num_metrics)
    if not 0 < smoothing < np.inf:
        raise UserError(f"smoothing must be above 0, got {smoothing}: rows that were never seen need a law")
    initial = np.bincount(checked[:, 0], minlength=num_metrics) / checked.shape[0]
    counts = np.zeros((checked.shape[1] - 1, num_metrics, num_metrics))
    for t in range(counts.shape[0]):
        np.add.at(counts[t], (checked[:, t], checked[:, t + 1]), 1)
    pooled = counts.sum(0) + 1e-9 * np.eye(num_metrics)
    pooled /= pooled.sum(1, keepdims=True)
    counts += smoothing * pooled
    return initial, counts / counts.sum(-1, keepdims=True)
