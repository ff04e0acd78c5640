"""Baselines of a distilled set: as many real pairs, chosen from the data by rules of increasing care.

Each rule is a function of the data, a number of pairs and a key, and answers distinct rows. With the teacher's answers
in place of the recorded actions (`relabel`) a rule is compared with distillation that had a teacher.

Shapes: `N` transitions of the data, `M` chosen pairs, `A` dimensions of an action or actions.

Reference: Lei, Cheng and Tao, "Offline behavioral data selection" (arXiv 2512.18246) for stepwise dual ranking.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.episodes import returns_to_go, timesteps
from jaxrl_suite.rl.datasets.offline import OfflineData
from jaxrl_suite.rl.datasets.percentile import Ranking, percentile_rows
from jaxrl_suite.rl.datasets.transitions import scaling

_READ = 50_000  # rows that k-means and the density of states are estimated from at most
_NEIGHBOURS = 10


class Selection(NamedTuple):
    """Pairs of the data, to train a student on."""

    rows: np.ndarray  # int64[M], distinct
    targets: np.ndarray  # float[M, A] or int[M]: the recorded actions, or a teacher's
    weights: np.ndarray  # float32[M], of mean 1


def choose_random(data: OfflineData, count: int, key: jax.Array, *, balanced: bool = False) -> Selection:
    """Pairs drawn uniformly without replacement.

    Args:
      data: to choose from.
      count: M.
      key: consumed.
      balanced: of discrete data, as many pairs of each action as its rows allow, as DDRL starts its sets.
    """
    _check(data, count)
    order = np.asarray(jax.random.permutation(key, len(data)), np.int64)
    if not balanced:
        return _select(data, order[:count])
    quotas = class_quotas(_labels(data), data.num_actions, count)
    labels = _labels(data)[order]
    return _select(data, np.concatenate([order[labels == a][:quota] for a, quota in enumerate(quotas)]))


def choose_kmeans(
    data: OfflineData, count: int, key: jax.Array, *, with_actions: bool = False, weighted: bool = False
) -> Selection:
    """The real pairs nearest to the centres of k-means over observations.

    Observations get mean 0 and deviation 1. Discrete data are clustered action by action, with equal numbers of
    centres as far as the rows of an action allow.

    Args:
      data: to choose from; at most 50,000 rows of it are read.
      count: M.
      key: consumed.
      with_actions: cluster continuous actions along with the observations.
      weighted: weigh a pair by the size of its cluster, so that the choice has the data's distribution.
    """
    _check(data, count)
    thin_key, seed_key = jax.random.split(key)
    pool = np.arange(len(data))
    if len(data) > max(_READ, 4 * count):
        pool = np.sort(np.asarray(jax.random.permutation(thin_key, len(data)), np.int64)[: max(_READ, 4 * count)])
    seed = int(jax.random.randint(seed_key, (), 0, np.iinfo(np.int32).max))
    features = _features(data)[pool]
    if with_actions and not data.discrete:
        features = np.concatenate([features, scaling(data.actions[pool])(data.actions[pool])], axis=1)
    labels = _labels(data)[pool] if data.discrete else np.zeros(len(pool), int)
    quotas = class_quotas(labels, int(labels.max()) + 1, count)
    rows, sizes = [], []
    for label, quota in enumerate(quotas):
        if quota:
            members = np.flatnonzero(labels == label)
            nearest, size = _nearest_to_centres(features[members], int(quota), seed)
            rows.append(pool[members[nearest]])
            sizes.append(size)
    return _select(data, np.concatenate(rows), np.concatenate(sizes) if weighted else None)


def choose_top(
    data: OfflineData, count: int, key: jax.Array, *, values: np.ndarray | None = None, discount: float = 0.99
) -> Selection:
    """The pairs of the highest value; ties are broken at random.

    Args:
      data: to choose from.
      count: M.
      key: consumed.
      values: float[N], of a critic at the recorded pairs; the discounted return to go by default.
      discount: of the return to go.
    """
    _check(data, count)
    ties = np.asarray(jax.random.permutation(key, len(data)))
    return _select(data, np.lexsort((ties, -_values(data, values, discount)))[:count])


def choose_dual_ranking(
    data: OfflineData,
    count: int,
    key: jax.Array,
    *,
    values: np.ndarray | None = None,
    densities: np.ndarray | None = None,
    value_cut: float = 0.2,
    density_cut: float = 0.2,
    horizon: float = 100.0,
    discount: float = 0.99,
) -> Selection:
    """Stepwise dual ranking: pairs of early steps, and of later steps those of high value at rare states.

    The transitions at step t of their episodes are ranked among themselves. Those pass whose value is not in the
    lowest share `value_cut` tanh(t / `horizon`), and whose state's density is not in the highest share `density_cut`
    tanh(t / `horizon`). Of all that pass, `count` are drawn uniformly, so that a later step is represented less.

    Args:
      data: to choose from.
      count: M.
      key: consumed.
      values: float[N], of a critic at the recorded pairs; the discounted return to go by default.
      densities: float[N], any increasing function of the density of states; nearest neighbours by default.
      value_cut: lambda_1, in [0, 1].
      density_cut: lambda_2, in [0, 1].
      horizon: steps over which the cuts come into force, above 0.
      discount: of the return to go.

    Reference: Lei, Cheng and Tao (arXiv 2512.18246), with 0.2 for both cuts; there the values are of a critic that
    was trained offline, and the densities of a masked autoregressive flow.
    """
    _check(data, count)
    if not (0 <= value_cut <= 1 and 0 <= density_cut <= 1 and horizon > 0):
        raise UserError(f"cuts must lie in [0, 1] and horizon above 0, got {value_cut}, {density_cut} and {horizon}")
    value = _values(data, values, discount)
    density = _densities(data) if densities is None else _one_a_row(densities, data, "densities")
    steps, passed = timesteps(data), np.zeros(len(data), bool)
    order = np.argsort(steps, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(steps[order])) + 1):
        strength = np.tanh(steps[group[0]] / horizon)
        low = np.quantile(value[group], value_cut * strength)
        high = np.quantile(density[group], 1 - density_cut * strength)
        passed[group] = (value[group] >= low) & (density[group] <= high)
    rows = np.flatnonzero(passed)
    if len(rows) < count:
        raise UserError(f"only {len(rows)} transitions pass both cuts: choose at most so many, or cut less")
    return _select(data, rows[np.asarray(jax.random.permutation(key, len(rows)))[:count]])


def choose_percentile(
    data: OfflineData, count: int, key: jax.Array, *, fraction: float = 0.1, by: Ranking = "raw"
) -> Selection:
    """Pairs drawn uniformly from the best episodes, see `rl.percentile.percentile_rows`."""
    _check(data, count)
    rows = percentile_rows(data, fraction, by=by)
    if len(rows) < count:
        raise UserError(f"the best episodes have {len(rows)} transitions: choose at most so many, or raise fraction")
    return _select(data, rows[np.asarray(jax.random.permutation(key, len(rows)))[:count]])


def relabel(
    selection: Selection, data: OfflineData, teacher: Callable[[np.ndarray], np.ndarray | jax.Array]
) -> Selection:
    """The same pairs with a teacher's answers.

    Args:
      selection: of `data`.
      data: in the environment's units.
      teacher: observations [M, ...] -> actions float[M, A], or int[M] or probabilities float[M, A] if discrete.
    """
    targets = np.asarray(teacher(data.observations[selection.rows]))
    if len(targets) != len(selection.rows) or not np.isfinite(targets).all():
        raise UserError(f"the teacher must give {len(selection.rows)} finite answers, got shape {targets.shape}")
    if not data.discrete and targets.shape != selection.targets.shape:
        raise UserError(f"the teacher must give actions {selection.targets.shape}, got shape {targets.shape}")
    return selection._replace(targets=targets)


def class_quotas(labels: np.ndarray, num_actions: int, count: int) -> np.ndarray:
    """int64[A]: `count` shared out as evenly as the rows of each action allow; the first actions get what is over.

    An action that does not occur gets nothing.
    """
    available = np.bincount(labels, minlength=num_actions)
    quotas = np.zeros(num_actions, np.int64)
    while (left := count - quotas.sum()) > 0:
        room = np.flatnonzero(quotas < available)
        if left < len(room):
            quotas[room[:left]] += 1
        else:
            quotas[room] += min(left // len(room), int((available - quotas)[room].min()))
    return quotas


def _check(data: OfflineData, count: int) -> None:
    if not 1 <= count <= len(data):
        raise UserError(f"count must be 1 to the {len(data)} transitions of the data, got {count}")


def _select(data: OfflineData, rows: np.ndarray, sizes: np.ndarray | None = None) -> Selection:
    weights = np.ones(len(rows)) if sizes is None else sizes / sizes.mean()
    return Selection(rows.astype(np.int64), data.actions[rows], weights.astype(np.float32))


def _labels(data: OfflineData) -> np.ndarray:
    if not data.discrete:
        raise UserError("continuous actions have no classes to balance: leave balanced out")
    return data.actions


def _features(data: OfflineData) -> np.ndarray:
    flat = data.observations.reshape(len(data), -1)
    return scaling(flat)(flat).astype(np.float32)  # centred as finely as the data are


def _values(data: OfflineData, values: np.ndarray | None, discount: float) -> np.ndarray:
    return returns_to_go(data, discount=discount) if values is None else _one_a_row(values, data, "values")


def _densities(data: OfflineData) -> np.ndarray:
    """float64[N], in the order of the density of states: the negative distance to the tenth other of a sample."""
    from sklearn.neighbors import NearestNeighbors

    features, stride = _features(data), -(-len(data) // _READ)
    sample = features[::stride]
    count = min(_NEIGHBOURS, len(sample) - 1)
    distances = NearestNeighbors(n_neighbors=count + 1).fit(sample).kneighbors(features)[0]
    inside = np.arange(len(data)) % stride == 0  # these find themselves first
    return -np.where(inside, distances[:, count], distances[:, count - 1])


def _one_a_row(numbers: np.ndarray, data: OfflineData, name: str) -> np.ndarray:
    numbers = np.asarray(numbers)
    if numbers.shape != (len(data),) or not np.isfinite(numbers).all():
        raise UserError(f"{name} must be {len(data)} finite numbers, one a transition, got shape {numbers.shape}")
    return numbers


def _nearest_to_centres(features: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64[k], float64[k]): for each centre the nearest row that no other has, and the size of its cluster."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if count >= len(features):
        return np.arange(len(features)), np.ones(len(features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than centres
        model = KMeans(count, init="k-means++", n_init="auto", random_state=seed).fit(features)
    sizes = np.bincount(np.asarray(model.labels_), minlength=count)
    rows, free = np.empty(count, np.int64), np.ones(len(features), bool)
    for centre in np.argsort(-sizes, kind="stable"):
        distance = np.where(free, ((features - model.cluster_centers_[centre]) ** 2).sum(axis=1), np.inf)
        rows[centre] = int(np.argmin(distance))
        free[rows[centre]] = False
    return rows, np.maximum(sizes, 1).astype(np.float64)
