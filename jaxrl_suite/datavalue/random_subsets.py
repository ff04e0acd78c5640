"""Values from random subsets: maximum sample reuse, and regression on who was in.

Shapes: `N` points, `R` subsets a batch.

Reference: Wang and Jia, "Data Banzhaf" (AISTATS 2023), equation 5 (maximum sample reuse); Lin et al., "Measuring the
effect of training data on deep learning predictions via randomized experiments" (ICML 2022), section 3 (AME).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxrl_suite.datavalue import streaming
from jaxrl_suite.datavalue.utilities import Utility, evaluate
from jaxrl_suite.errors import UserError


class ReuseState(NamedTuple):
    inside: streaming.Moments  # of the utility of subsets with the point
    outside: streaming.Moments  # and without it
    fits: int


@dataclasses.dataclass(frozen=True)
class BanzhafReuse:
    """Banzhaf values by maximum sample reuse: each subset counts for every point, on one side or the other.

    The value is the mean utility of the subsets with the point minus that of those without it.

    Args:
      probability: of each point to be in; 1/2 is Banzhaf's value, others weighted ones.
      samples: subsets an update.
      mesh: devices to split them over.
    """

    probability: float = 0.5
    samples: int = 256
    mesh: Mesh | None = None

    def __post_init__(self):
        if not 0 < self.probability < 1 or self.samples < 1:
            raise UserError("probability must lie strictly between 0 and 1 and samples be at least 1")

    def init(self, num_points: int) -> ReuseState:
        return ReuseState(streaming.no_moments(num_points), streaming.no_moments(num_points), 0)

    def update(self, state: ReuseState, key: jax.Array, utility: Utility) -> ReuseState:
        shape = (self.samples, len(state.inside.count))
        masks = np.asarray(jax.random.bernoulli(key, self.probability, shape))
        found = evaluate(utility, masks, batch=self.samples, mesh=self.mesh)
        samples = np.broadcast_to(found[:, None], shape)
        return ReuseState(
            streaming.add_samples(state.inside, samples, masks),
            streaming.add_samples(state.outside, samples, ~masks),
            state.fits + self.samples,
        )

    def estimate(self, state: ReuseState, level: float = 0.95) -> streaming.Estimate:
        variance = state.inside.variance_of_mean() + state.outside.variance_of_mean()
        return streaming.normal_estimate(state.inside.mean - state.outside.mean, variance, state.fits, level)


class RegressionState(NamedTuple):
    gram: np.ndarray  # float64[N + 2, N + 2]: products of (1, features, utility), summed over subsets
    fits: int


@dataclasses.dataclass(frozen=True)
class AverageMarginalEffect:
    """AME: the mean marginal contribution to subsets that hold each point with a random probability p.

    A point's feature is 1 / p where it is in and -1 / (1 - p) where it is not, so that its mean product with the
    utility is the marginal contribution; regressing on the features of all points removes their noise from each
    other. With p uniform on (0, 1) the AME is Shapley's value.

    Args:
      probabilities: of which one is drawn for each subset.
      penalty: of a lasso on the standardised features, as a share of the standard deviation of the utility; 0 is
        ordinary least squares, which needs more than N + 1 subsets and is the one with intervals.
      samples: subsets an update.
      mesh: devices to split them over.
    """

    probabilities: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    penalty: float = 0.0
    samples: int = 256
    mesh: Mesh | None = None

    def __post_init__(self):
        if not self.probabilities or not all(0 < p < 1 for p in self.probabilities):
            raise UserError(f"each of probabilities must lie strictly between 0 and 1, got {self.probabilities}")
        if self.penalty < 0 or self.samples < 1:
            raise UserError("penalty must be at least 0 and samples at least 1")

    @property
    def scale(self) -> float:
        """Variance of a feature, by which a coefficient is multiplied."""
        p = np.asarray(self.probabilities)
        return float(np.mean(1 / (p * (1 - p))))

    def init(self, num_points: int) -> RegressionState:
        return RegressionState(np.zeros((num_points + 2, num_points + 2)), 0)

    def update(self, state: RegressionState, key: jax.Array, utility: Utility) -> RegressionState:
        draw, include = jax.random.split(key)
        chosen = np.asarray(jax.random.randint(draw, (self.samples, 1), 0, len(self.probabilities)))
        p = np.asarray(self.probabilities)[chosen]
        masks = np.asarray(jax.random.uniform(include, (self.samples, len(state.gram) - 2))) < p
        found = evaluate(utility, masks, batch=self.samples, mesh=self.mesh)
        columns = np.column_stack([np.ones(self.samples), np.where(masks, 1 / p, -1 / (1 - p)), found])
        return RegressionState(state.gram + columns.T @ columns, state.fits + self.samples)

    def estimate(self, state: RegressionState, level: float = 0.95) -> streaming.Estimate:
        n, rows = len(state.gram) - 2, state.fits
        if not self.penalty and rows <= n + 1:
            return streaming.normal_estimate(np.zeros(n), np.full(n, np.inf), rows, level)
        mean = state.gram[0] / max(rows, 1)
        centred = state.gram - rows * np.outer(mean, mean)
        gram, product, total = centred[1:-1, 1:-1], centred[1:-1, -1], centred[-1, -1]
        if self.penalty:
            coefficients = _lasso(gram / rows, product / rows, self.penalty * np.sqrt(total / rows), self.scale)
            return streaming.normal_estimate(self.scale * coefficients, np.full(n, np.nan), rows, level)
        inverse = np.linalg.inv(gram)
        coefficients = inverse @ product
        residual = max(total - product @ coefficients, 0.0) / (rows - n - 1)
        return streaming.normal_estimate(
            self.scale * coefficients, self.scale**2 * residual * np.diag(inverse), rows, level
        )


def _lasso(gram: np.ndarray, product: np.ndarray, penalty: float, variance: float, sweeps: int = 200) -> np.ndarray:
    """Minimises half the mean squared error plus `penalty` times the l1 norm, for features of deviation 1."""
    deviation = np.sqrt(variance)
    gram, product = gram / variance, product / deviation
    coefficients = np.zeros(len(product))
    for _ in range(sweeps):
        before = coefficients.copy()
        for i in range(len(product)):
            partial = product[i] - gram[i] @ coefficients + gram[i, i] * coefficients[i]
            coefficients[i] = np.sign(partial) * max(abs(partial) - penalty, 0.0) / gram[i, i]
        if np.max(np.abs(coefficients - before)) < 1e-10:
            break
    return coefficients / deviation
