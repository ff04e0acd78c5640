"""Bipartite coverage: a surrogate in which points cover the validation rows that they resemble.

The published surrogate has an edge where labels agree and a similarity passes a threshold, the one number that is
learned. The soft one gives each edge a probability that rises with the similarity, and learns how.

Shapes: `N` points, `M` validation rows, `S` subsets, `B` masks, `D` columns.

Reference: arXiv 2502.04554, section 5, and its released code for the search of the threshold.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular.classifiers import squared_distances
from jaxrl_suite.tabular.datasets import Split

Rest = Literal["shuffle", "similarity", "restart"]
_TINY = 1e-6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CoverageUtility:
    """offset + slope times the mean chance that a validation row is covered, 1 - prod over the set of (1 - edge)."""

    edges: jax.Array  # float32[N, M], 0 to 1
    offset: jax.Array  # float32[]
    slope: jax.Array  # float32[]

    def __call__(self, masks: jax.Array) -> jax.Array:
        missed = jnp.exp(masks.astype(jnp.float32) @ jnp.log(jnp.maximum(1 - self.edges, 1e-30)))
        return self.offset + self.slope * jnp.mean(1 - missed, axis=1)


class Similarity(NamedTuple):
    """Similarity of points and validation rows."""

    values: np.ndarray  # float64[N, M], exp(-d^2 / 2) of distances divided by their standard deviation
    same: np.ndarray  # bool[N, M], whether labels agree


def similarity(split: Split) -> Similarity:
    """The similarities of the training rows to the validation rows."""
    distance = np.sqrt(np.asarray(squared_distances(jnp.asarray(split.x), jnp.asarray(split.valid_x)), np.float64))
    scale = distance.std()
    same = np.asarray(split.y)[:, None] == np.asarray(split.valid_y)[None, :]
    return Similarity(np.exp(-((distance / (scale if scale > 0 else 1.0)) ** 2) / 2), same)


def fit_threshold(
    similar: Similarity, masks: ArrayLike, utilities: ArrayLike, *, candidates: int = 1000, affine: bool = False
) -> CoverageUtility:
    """The published fit: the quantile, .5 to .95, of the similarities within classes that is best in squared error.

    Args:
      similar: from `similarity`.
      masks: bool[S, N], random subsets.
      utilities: float[S], their true utilities.
      candidates: quantiles tried.
      affine: also fit an offset and a slope, which the published surrogate lacks.
    """
    rows, target = np.asarray(masks, bool), np.asarray(utilities, np.float64)
    # A row is covered if its best similarity in the set passes the threshold, so one pass serves all thresholds.
    values = np.where(similar.same, similar.values, -1.0)
    best = np.stack([values[row].max(axis=0, initial=-1.0) for row in rows])
    if not similar.same.any():
        raise UserError("no validation row has the label of a training row: coverage needs common classes")
    cuts = np.quantile(similar.values[similar.same], np.linspace(0.5, 0.95, candidates))
    covered = _shares(best, cuts)
    lines = [_line(share, target) if affine else (0.0, 1.0) for share in covered]
    errors = [np.mean((a + b * share - target) ** 2) for (a, b), share in zip(lines, covered, strict=True)]
    chosen = int(np.argmin(errors))
    edges = (similar.same & (similar.values >= cuts[chosen])).astype(np.float32)
    return CoverageUtility(jnp.asarray(edges), *(jnp.float32(part) for part in lines[chosen]))


def fit_soft(
    similar: Similarity, masks: ArrayLike, utilities: ArrayLike, *, steps: int = 400, learning_rate: float = 0.05
) -> CoverageUtility:
    """A noisy-or with edges height * sigmoid(slope * similarity - shift) where labels agree, fitted by Adam.

    Args:
      similar: from `similarity`.
      masks: bool[S, N], random subsets.
      utilities: float[S], their true utilities.
      steps: of Adam.
      learning_rate: of Adam.
    """
    same = similar.values[similar.same]
    scale = (same - same.mean()) / (same.std() or 1.0)
    standard = np.zeros(similar.same.shape)
    standard[similar.same] = scale
    arrays = (standard, similar.same.astype(np.float32), np.asarray(masks, np.float32), np.asarray(utilities))
    edges, offset, slope = _fit_soft(*(jnp.asarray(array, jnp.float32) for array in arrays), steps, learning_rate)
    return CoverageUtility(edges, offset, slope)


@functools.partial(jax.jit, static_argnums=4)
def _fit_soft(standard, same, masks, target, steps, learning_rate):
    def surrogate(params):
        edges = same * jax.nn.sigmoid(params["height"]) * jax.nn.sigmoid(params["steep"] * standard - params["shift"])
        return CoverageUtility(jnp.minimum(edges, 1 - _TINY), params["offset"], params["slope"])

    start = {
        "height": jnp.float32(2.0),
        "steep": jnp.float32(2.0),
        "shift": jnp.float32(1.0),
        "offset": jnp.min(target),
        "slope": jnp.max(target) - jnp.min(target),
    }
    optimiser = optax.adam(learning_rate)

    def step(carry, _):
        params, memory = carry
        gradient = jax.grad(lambda params: jnp.mean((surrogate(params)(masks) - target) ** 2))(params)
        updates, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(params, updates), memory), None

    (params, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), None, length=steps)
    found = surrogate(params)
    return found.edges, found.offset, found.slope


def cover_order(
    edges: ArrayLike, *, rest: Rest = "shuffle", key: jax.Array | None = None, similar: Similarity | None = None
) -> np.ndarray:
    """int64[N]: points by greedy maximum coverage.

    Args:
      edges: float[N, M], 0 to 1.
      rest: once nothing more is covered, what is left comes in random order (`shuffle`, as published; needs `key`), by
        mean similarity to the rows of its class (`similarity`; needs `similar`), or covers all rows once more, round
        after round (`restart`).
      key: consumed.
      similar: from `similarity`.
    """
    edges = jnp.asarray(edges, jnp.float32)
    if rest == "shuffle":
        if key is None:
            raise UserError("rest='shuffle' needs a key")
        tie = jax.random.uniform(key, (len(edges),))
    elif rest == "similarity":
        if similar is None:
            raise UserError("rest='similarity' needs the similarities")
        tie = jnp.asarray((similar.values * similar.same).mean(axis=1), jnp.float32)
    elif rest == "restart":
        tie = jnp.zeros(len(edges))
    else:
        raise UserError(f"rest must be shuffle, similarity or restart, got {rest!r}")
    return np.asarray(_cover(edges, tie, rest == "restart")).astype(np.int64)


@functools.partial(jax.jit, static_argnums=2)
def _cover(edges: jax.Array, tie: jax.Array, restart: bool) -> jax.Array:
    """int32[N]. Gains of all points are one matrix product with the chances that rows are not covered yet."""
    points, rows = edges.shape

    def step(carry, _):
        free, missed = carry
        gains = jnp.where(free, edges @ missed, -1.0)
        stuck = jnp.max(gains) <= _TINY * rows
        if restart:
            missed = jnp.where(stuck, jnp.ones(rows), missed)
            gains = jnp.where(stuck, jnp.where(free, edges @ missed, -1.0), gains)
            point = jnp.argmax(gains)
        else:
            point = jnp.where(stuck, jnp.argmax(jnp.where(free, tie, -jnp.inf)), jnp.argmax(gains))
        return (free.at[point].set(False), missed * (1 - edges[point])), point

    start = jnp.ones(points, bool), jnp.ones(rows)
    return jax.lax.scan(step, start, None, length=points)[1]


def similarity_order(embeddings: ArrayLike, references: ArrayLike, *, top: int = 10) -> np.ndarray:
    """int64[N]: greedy cover by cosine similarity of embeddings, then mean similarity, as for language-model data.

    Args:
      embeddings: float[N, D].
      references: float[M, D].
      top: each reference row is covered by its `top` nearest points.

    Reference: BipCov, arXiv 2502.04554, section 6.
    """
    a, b = (np.asarray(rows, np.float64) for rows in (embeddings, references))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not 1 <= top <= len(a):
        raise UserError(f"rows of one width expected and top in 1 to {len(a)}, got {a.shape}, {b.shape} and {top}")
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
    if min(length.min() for length in lengths) == 0:
        raise UserError("an embedding is all zeros: drop it, it has no direction")
    cosine = (a / lengths[0]) @ (b / lengths[1]).T
    edges = cosine >= np.sort(cosine, axis=0)[-top]
    return cover_order(edges, rest="similarity", similar=Similarity(cosine, np.ones_like(edges)))


def _shares(best: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """float64[cuts, S]: the share of rows whose best similarity is at least the cut."""
    return np.stack([1 - np.searchsorted(np.sort(row), cuts) / len(row) for row in best], axis=1)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    spread = np.var(x)
    slope = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 0 else 0.0
    return float(y.mean() - slope * x.mean()), slope
