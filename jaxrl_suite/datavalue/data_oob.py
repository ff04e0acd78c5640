"""Data-OOB: how often models that were not fitted on a point, in a bootstrap, get it right.

Shapes: `N` points, `R` bootstrap samples a batch.

Reference: Kwon and Zou, "Data-OOB: out-of-bag estimate as a simple and efficient data value" (ICML 2023), equation 2.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.datavalue import streaming
from jaxrl_suite.datavalue.utilities import ModelUtility
from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular import blas


class DataOOBState(NamedTuple):
    moments: streaming.Moments  # of being right, over the models that were not fitted on the point
    fits: int


@dataclasses.dataclass(frozen=True)
class DataOOB:
    """An estimator that needs a `ModelUtility`, whose validation rows it does not use.

    Args:
      samples: bootstrap samples an update.
    """

    samples: int = 64

    def __post_init__(self):
        if self.samples < 1:
            raise UserError(f"samples must be at least 1, got {self.samples}")

    def init(self, num_points: int) -> DataOOBState:
        return DataOOBState(streaming.no_moments(num_points), 0)

    def update(self, state: DataOOBState, key: jax.Array, utility: ModelUtility) -> DataOOBState:
        if not isinstance(utility, ModelUtility):
            raise UserError("Data-OOB asks a model about single points: give it a ModelUtility")
        with blas.one_thread():
            right, outside = (np.asarray(part) for part in _bag(utility, key, self.samples))
        moments = streaming.add_samples(state.moments, right.astype(np.float64), outside)
        return DataOOBState(moments, state.fits + self.samples)

    def estimate(self, state: DataOOBState, level: float = 0.95) -> streaming.Estimate:
        return streaming.normal_estimate(state.moments.mean, state.moments.variance_of_mean(), state.fits, level)


@functools.partial(jax.jit, static_argnums=2)
def _bag(utility: ModelUtility, key: jax.Array, samples: int) -> tuple[jax.Array, jax.Array]:
    """(bool[R, N], bool[R, N]): whether each model is right on each point, and whether it was not fitted on it."""
    points = utility.x.shape[0]
    drawn = jax.random.randint(key, (samples, points), 0, points)
    counts = jax.vmap(lambda row: jnp.zeros(points).at[row].add(1.0))(drawn)
    return utility.correct(counts, utility.x, utility.y), counts == 0
