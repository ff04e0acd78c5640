"""Targets and weights of real pairs: what makes an imitation loss PBC, Av-PBC or SDW.

DBC has the actions of the data and no weights; PBC the teacher's answers; Av-PBC multiplies by the teacher's action
values; SDW by the reciprocal of the density of states, so that rare states count.

Shapes: `M` real pairs, `D` observation features, `A` action dimensions or actions.

Reference: Lei, Zhang and Tao, "Offline behavior distillation", NeurIPS 2024, equations of DBC, PBC and Av-PBC; for the
density, Loftsgaarden and Quesenberry (1965), with the dimension of Levina and Bickel, NeurIPS 2004, its reciprocals
averaged over points as MacKay and Ghahramani (2005) propose.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.rl.policies import Params, Policy

How: TypeAlias = Literal["shift", "rank", "softmax", "published"]
PUBLISHED_SCALE = 0.02  # of action values in Av-PBC's code


def teacher_targets(policy: Policy, params: Params, observations: jax.Array, *, batch: int = 8192) -> np.ndarray:
    """float32[M, A]: a teacher's actions, or its probabilities of discrete ones."""

    @jax.jit
    def answer(x: jax.Array) -> jax.Array:
        out = policy.apply(params, x)
        return jax.nn.softmax(out) if policy.discrete else out

    parts = [answer(jnp.asarray(observations[i : i + batch])) for i in range(0, len(observations), batch)]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def value_weights(values: np.ndarray, how: How = "rank", *, temperature: float = 1.0) -> np.ndarray:
    """float64[M]: weights that grow with the teacher's action values.

    Args:
      values: float[M].
      how: `shift` subtracts the smallest; `rank` is (rank + 1) / M, ties sharing their mean rank; `softmax` is the
        exponential of standardised values over `temperature`; `published` is 0.02 times the value, which must not be
        negative. All but the last are scaled to mean 1; `make_pairs` does that to any weights, unless `rescale=False`.
      temperature: above 0.
    """
    q = np.asarray(values, np.float64)
    if q.ndim != 1 or not len(q) or not np.all(np.isfinite(q)):
        raise UserError(f"action values must be finite numbers [M], got shape {q.shape}")
    if how not in get_args(How):
        raise UserError(f"unknown weights {how!r}{suggest(str(how), get_args(How))}")
    if how == "published":
        if q.min() < 0:
            raise UserError("some action values are negative, which the published weights do not allow: use rank")
        return PUBLISHED_SCALE * q
    if how == "rank":
        _, inverse, counts = np.unique(q, return_inverse=True, return_counts=True)
        raw = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    elif how == "shift":
        raw = q - q.min()
    else:
        if not temperature > 0:
            raise UserError(f"temperature must be above 0, got {temperature}")
        spread = q.std()
        scaled = (q - q.mean()) / (temperature * (spread if spread > 0 else 1.0))
        raw = np.exp(scaled - scaled.max())
    return np.ones_like(q) if raw.max() == 0 else raw / raw.mean()


def density_weights(
    observations: np.ndarray,
    *,
    neighbours: int = 10,
    power: float = 1.0,
    dimension: float | None = None,
    limit: float = 20.0,
) -> np.ndarray:
    """float64[M]: reciprocals of the density of states, estimated from the distance to the k-th neighbour.

    Args:
      observations: float[M, D], normalised; more axes are flattened.
      neighbours: k, at least 2 and below M.
      power: 1 is the reciprocal, 0 gives equal weights.
      dimension: of the set that the observations lie on; estimated from the same distances if None.
      limit: weights above this multiple of their median, or below this fraction, are cut to it; so a state that
        occurs many times still counts.

    Returns:
      Weights of mean 1.
    """
    from sklearn.neighbors import NearestNeighbors

    x = np.asarray(observations, np.float64).reshape(len(observations), -1)
    if not 2 <= neighbours < len(x):
        raise UserError(f"neighbours must be 2 to {len(x) - 1} for {len(x)} observations, got {neighbours}")
    if not (np.all(np.isfinite(x)) and power >= 0 and limit >= 1 and (dimension is None or dimension > 0)):
        raise UserError(
            "observations must be finite, power at least 0, limit at least 1 and dimension above 0, "
            f"got {power}, {limit} and {dimension}"
        )
    distances = NearestNeighbors(n_neighbors=neighbours).fit(x).kneighbors()[0]  # a row is not its own neighbour
    logs = np.log(np.maximum(distances, 1e-12))
    if dimension is None:
        apart = logs[distances[:, 0] > 0]  # copies of a point tell nothing of the dimension
        # The mean over all points and neighbours is unbiased for 1 / dimension, so it needs no factor for few of them.
        dimension = 1.0 / max(float(np.mean(apart[:, -1:] - apart[:, :-1])), 1e-3) if len(apart) else x.shape[1]
        dimension = min(max(dimension, 0.1), x.shape[1])
    scaled = power * dimension * (logs[:, -1] - np.median(logs[:, -1]))
    weights = np.exp(np.clip(scaled, -np.log(limit), np.log(limit)))
    return weights / weights.mean()
