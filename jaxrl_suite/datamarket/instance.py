"""The pricing problem at negligible cost: a buyer sees a whole set of metrics, then picks the item that suits it best.

Without a cost, only the set of metrics that discovery found matters, not their order; sets that are equal are merged.
A buyer buys at most one model and may leave (individual rationality). `forced=True` is the program as published, which
makes everybody buy: then nothing but `cap` bounds the prices.

All of it is float64 on the host: buyers sit exactly on ties at optimal prices, and a tie goes to the dearer item.

Shapes: `Q` metrics, `H` types, `S` sets, `B` price curves.

Reference: arXiv 2310.17843, theorem 4.2 and program (1).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.datamarket.market import (
    Market,
    as_numbers,
    check_laws,
    check_prices,
    check_trajectories,
    check_valuations,
)
from jaxrl_suite.errors import UserError

_BUDGET = 1 << 22  # net utilities held at once
TIE = 1e-9  # utilities closer than this share of the largest valuation are equal


@dataclasses.dataclass(frozen=True, eq=False)
class Instance:
    """A checked pricing problem; `instance_of_sets` and the functions below also merge equal sets.

    Args:
      valuations: float[H, Q].
      prior: float[H].
      sets: bool[S, Q], which metrics each set holds.
      weights: float[S], how likely each set is.
      forced: whether everybody must buy.
      cap: the highest price; the highest valuation by default, and needed where purchase is forced.

    Raises:
      UserError: for bad input; the message names the row and the remedy.
    """

    valuations: np.ndarray
    prior: np.ndarray
    sets: np.ndarray
    weights: np.ndarray
    forced: bool = False
    cap: float | None = None

    def __post_init__(self):
        values, given_sets = as_numbers(self.valuations, "valuations"), np.asarray(self.sets)
        if values.ndim != 2 or not values.size:
            raise UserError(
                f"valuations must be [types, metrics], at least 1 by 1, got {list(values.shape)}: reshape it"
            )
        check_valuations(values)
        if (
            given_sets.dtype != bool
            or given_sets.ndim != 2
            or given_sets.shape[1] != values.shape[1]
            or not len(given_sets)
        ):
            raise UserError(
                f"sets must be bool[S, {values.shape[1]}] with at least one set, "
                f"got {given_sets.dtype}{list(given_sets.shape)}: "
                "mark the metrics that each trajectory found"
            )
        if (~given_sets.any(1)).any():
            row = int(np.flatnonzero(~given_sets.any(1))[0])
            raise UserError(f"set {row} is empty: drop trajectories that found nothing, nobody can buy there")
        laws = {"prior": len(values), "weights": len(given_sets)}
        for name, size in laws.items():
            law = as_numbers(getattr(self, name), name)
            if law.shape != (size,):
                raise UserError(f"{name} must have {size} entries here, got {list(law.shape)}")
            check_laws(law, name)
            object.__setattr__(self, name, law)
        if self.forced and self.cap is None:
            raise UserError("a forced purchase has no optimal price: give cap=, and see that the optimum follows it")
        if self.cap is not None and not 0 < self.cap < np.inf:
            raise UserError(f"cap must be a positive number, got {self.cap}")
        object.__setattr__(self, "valuations", values)
        object.__setattr__(self, "sets", given_sets)

    @property
    def num_metrics(self) -> int:
        return self.valuations.shape[1]

    @property
    def num_types(self) -> int:
        return self.valuations.shape[0]

    @property
    def highest(self) -> np.ndarray:
        """float[Q]: the price above which nobody who may leave buys, or the cap."""
        top = self.valuations.max(0)
        return top if self.cap is None else np.full_like(top, self.cap) if self.forced else np.minimum(top, self.cap)

    @property
    def mass(self) -> np.ndarray:
        """float[H, S]: how likely each pair of a type and a set is."""
        return self.prior[:, None] * self.weights[None]

    @property
    def scale(self) -> float:
        """The unit of money that tolerances are measured in."""
        return float(max(self.valuations.max(), (self.cap or 0.0) if self.forced else 0.0, 1e-12))

    def replace(self, **changes: Any) -> Instance:
        """A checked copy with some fields changed."""
        return dataclasses.replace(self, **changes)


class Choices(NamedTuple):
    """Choices of buyers at one price curve."""

    item: np.ndarray  # int[..., H, S], 0 for leaving, q + 1 for the model of metric q
    payment: np.ndarray  # float[..., H, S]
    surplus: np.ndarray  # float[..., H, S]


def instance_of_sets(
    valuations: ArrayLike,
    sets: ArrayLike,
    prior: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    *,
    forced: bool = False,
    cap: float | None = None,
) -> Instance:
    """A checked instance, with equal sets merged.

    Args:
      valuations: float[H, Q].
      sets: bool[S, Q].
      prior: float[H]; uniform by default.
      weights: float[S]; uniform by default.
      forced: the published program, in which everybody must buy.
      cap: the highest price.

    Raises:
      UserError: for bad input; the message names the row and the remedy.
    """
    values, found = as_numbers(valuations, "valuations"), np.asarray(sets)
    laws = [_uniform(rows) if law is None else np.asarray(law) for law, rows in ((prior, values), (weights, found))]
    given = Instance(values, laws[0], found, laws[1], forced, cap)
    merged, where = np.unique(given.sets, axis=0, return_inverse=True)
    weight = np.bincount(where.reshape(-1), given.weights, len(merged))
    return given.replace(sets=merged[weight > 0], weights=weight[weight > 0])


def _uniform(rows: np.ndarray) -> np.ndarray:
    """float[N], a law over the rows of an array."""
    size = rows.shape[0] if rows.ndim else 0
    return np.full(size, 1 / max(size, 1))


def full_information(valuations: ArrayLike, prior: ArrayLike | None = None, **options: Any) -> Instance:
    """The instance in which every metric is on offer: the paper's in-sample setting."""
    values = as_numbers(valuations, "valuations")
    return instance_of_sets(values, np.ones((1, *values.shape[1:]), bool), prior, **options)


def sets_of_trajectories(trajectories: ArrayLike, num_metrics: int) -> np.ndarray:
    """bool[N, Q]: the metrics that each trajectory, a row of int[N, T], revealed.

    Raises:
      UserError: if there are none or an index is out of range.
    """
    found = check_trajectories(trajectories, num_metrics)
    sets = np.zeros((len(found), num_metrics), bool)
    sets[np.arange(len(found))[:, None], found] = True
    return sets


def hedged(instance: Instance, samples: int) -> Instance:
    """An instance fitted to few sampled sets, with every metric alone mixed in at a total weight of 1 / (samples + 1).

    Prices that are optimal for few sets exploit which metrics happened to be together, and leave those that none holds
    priced at random; a metric alone is what independent prices are optimal for. The weight vanishes with the samples.

    Args:
      instance: made of `samples` sampled sets.
      samples: how many there were before equal ones were merged.

    Raises:
      UserError: if `samples` is below 1.
    """
    if samples < 1:
        raise UserError(f"samples must be at least 1, got {samples}: how many sets were drawn?")
    share, alone = 1 / (samples + 1), np.eye(instance.num_metrics, dtype=bool)
    weights = np.concatenate([instance.weights * (1 - share), np.full(len(alone), share / len(alone))])
    sets = np.concatenate([instance.sets, alone])
    return instance_of_sets(
        instance.valuations, sets, instance.prior, weights, forced=instance.forced, cap=instance.cap
    )


def exact_sets(market: Market, most: int = 1 << 16) -> tuple[np.ndarray, np.ndarray]:
    """Every set that discovery may reveal, with its probability.

    Args:
      market: the market.
      most: pairs of a set and a last metric that may be reached.

    Returns:
      bool[S, Q] and float[S].

    Raises:
      UserError: if more than `most` are reached; sample trajectories then.
    """
    size = market.num_metrics
    reached = {(1 << q, q): float(p) for q, p in enumerate(market.initial) if p > 0}
    for law in market.transitions:
        ahead: dict[tuple[int, int], float] = {}
        for (seen, latest), mass in reached.items():
            for q in np.flatnonzero(law[latest]):
                pair = seen | 1 << int(q), int(q)
                ahead[pair] = ahead.get(pair, 0.0) + mass * float(law[latest, q])
        reached = ahead
        if len(reached) > most:
            raise UserError(f"discovery reaches over {most} sets: sample trajectories instead, or raise most=")
    total: dict[int, float] = {}
    for (seen, _), mass in reached.items():
        total[seen] = total.get(seen, 0.0) + mass
    codes = sorted(total)
    weights = np.array([total[code] for code in codes])
    return np.array([[code >> q & 1 for q in range(size)] for code in codes], bool), weights / weights.sum()


def choose(instance: Instance, prices: ArrayLike) -> Choices:
    """Choices of every type in every set: its best item, among equals the dearest.

    Args:
      instance: the pricing problem.
      prices: float[..., Q]; inf where a model is not for sale.

    Raises:
      UserError: for what are no prices.
    """
    posted = check_prices(prices, instance.num_metrics)
    shown = np.where(np.isfinite(posted), posted, 4 * instance.scale + 1)
    net = instance.valuations - shown[..., None, :]  # [..., H, Q]
    outside = -np.inf if instance.forced else 0.0
    net = np.where(instance.sets, net[..., None, :], -np.inf)  # [..., H, S, Q]
    net = np.concatenate([np.full((*net.shape[:-1], 1), outside), net], -1)
    best = net.max(-1, keepdims=True)
    priced = np.concatenate([np.zeros((*shown.shape[:-1], 1)), shown], -1)[..., None, None, :]
    item = np.argmax(np.where(net >= best - TIE * instance.scale, priced, -1.0), -1)
    payment = np.take_along_axis(np.broadcast_to(priced, net.shape), item[..., None], -1)[..., 0]
    return Choices(item, payment, np.take_along_axis(net, item[..., None], -1)[..., 0])


def revenue(instance: Instance, prices: ArrayLike) -> np.ndarray:
    """float[...]: expected payment at price curves float[..., Q], inf where a model is not for sale.

    Raises:
      UserError: for what are no prices.
    """
    posted = check_prices(prices, instance.num_metrics)
    curves = posted.reshape(-1, posted.shape[-1])
    parts = [np.sum(instance.mass * choose(instance, part).payment, (-2, -1)) for part in in_parts(instance, curves)]
    return np.concatenate(parts).reshape(posted.shape[:-1])


def in_parts(instance: Instance, curves: np.ndarray) -> list[np.ndarray]:
    """Curves float[B, Q] in parts whose choices fit in memory."""
    at_once = max(1, _BUDGET // (instance.valuations.size * len(instance.sets)))
    return np.split(curves, range(at_once, len(curves), at_once))


def welfare(instance: Instance) -> float:
    """The gain of buyers at price 0: no revenue of buyers who may leave exceeds it."""
    best = np.where(instance.sets, instance.valuations[:, None], 0.0).max(-1)
    return float(np.sum(instance.mass * best))


def ceiling(instance: Instance) -> float:
    """Revenue that no prices exceed: `welfare`, or the cap where everybody must buy."""
    return float(instance.cap or 0.0) if instance.forced else welfare(instance)


def shaved(prices: ArrayLike, by: float) -> np.ndarray:
    """Prices lowered in proportion to themselves, by at most `by`: the dearer of two equals becomes strictly better.

    A buyer who was indifferent then strictly prefers what the seller would have it buy, so revenue does not rely on
    anybody's goodwill, and falls by at most `by`.
    """
    posted = np.asarray(prices, np.float64)
    top = np.max(posted[np.isfinite(posted)], initial=0.0)
    return posted if top <= 0 else np.where(np.isfinite(posted), posted * max(0.0, 1 - by / top), posted)
