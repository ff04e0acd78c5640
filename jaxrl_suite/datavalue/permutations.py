"""Semivalues from random permutations: plain, antithetic, stratified, truncated.

Each point's marginal contribution is taken where it stands in a permutation; its position is uniform, so a weight of
N times the probability of that position makes any semivalue of it.

Shapes: `N` points, `R` samples a batch, `G` permutations a sample.

Reference: Castro et al., "Polynomial calculation of the Shapley value based on sampling" (2009); Ghorbani and Zou,
"Data Shapley" (ICML 2019), algorithm 1 (truncation); Mitchell et al., "Sampling permutations for Shapley value
estimation" (JMLR 2022), section 3 (antithetic); Maleki et al. (2013) for strata by position.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxrl_suite.datavalue import semivalues, streaming
from jaxrl_suite.datavalue.utilities import Utility, evaluate
from jaxrl_suite.errors import UserError

_BLOCK = 8  # prefixes of a permutation that are evaluated before it is asked again whether it was cut off


class PermutationState(NamedTuple):
    moments: streaming.Moments  # of the samples, float64[N] each
    ends: np.ndarray  # float64[2]: utility of none and of all, NaN before they are known
    fits: int


@dataclasses.dataclass(frozen=True)
class Permutations:
    """An estimator of any semivalue.

    Args:
      sizes: distribution over the size of the set that a point joins, float[N], as a tuple; Shapley by default.
      design: a sample is one permutation (`plain`), one and its reverse (`antithetic`), or `shifts` of its cyclic
        shifts at equal distances (`stratified`): with all N of them each point stands once in each position.
      shifts: of a stratified sample; N by default.
      tolerance: a permutation is cut off where its prefix comes closer than this to the utility of all points, and the
        rest of its contributions counts as 0. It biases the values; 0 never cuts.
      samples: R, samples an update.
      batch: masks a call of the utility.
      mesh: devices to split the masks over.
    """

    sizes: tuple[float, ...] | None = None
    design: Literal["plain", "antithetic", "stratified"] = "plain"
    shifts: int | None = None
    tolerance: float = 0.0
    samples: int = 8
    batch: int = 256
    mesh: Mesh | None = None

    def __post_init__(self):
        if self.design not in ("plain", "antithetic", "stratified"):
            raise UserError(f"design must be plain, antithetic or stratified, got {self.design!r}")
        if self.samples < 1 or self.tolerance < 0 or (self.shifts is not None and self.shifts < 1):
            raise UserError("samples and shifts must be at least 1 and tolerance at least 0")

    def init(self, num_points: int) -> PermutationState:
        if self.sizes is not None and len(self.sizes) != num_points:
            raise UserError(f"sizes has {len(self.sizes)} entries for {num_points} points: give one a size, from 0 on")
        return PermutationState(streaming.no_moments(num_points), np.full(2, np.nan), 0)

    def update(self, state: PermutationState, key: jax.Array, utility: Utility) -> PermutationState:
        n = len(state.moments.count)
        fits, ends = state.fits, state.ends
        if np.isnan(ends).any():
            ends = evaluate(
                utility, np.stack([np.zeros(n, bool), np.ones(n, bool)]), batch=2 * _size(self.mesh), mesh=self.mesh
            )
            fits += 2
        orders = self.draw(key, n)  # [R, G, N]
        flat = orders.reshape(-1, n)
        utilities, used = self._prefixes(utility, flat, ends)
        gains = np.diff(utilities, axis=1)
        if self.sizes is not None:
            gains = gains * n * np.asarray(self.sizes)
        samples = np.empty_like(gains)
        np.put_along_axis(samples, flat, gains, axis=1)
        samples = samples.reshape(orders.shape).mean(axis=1)
        return PermutationState(streaming.add_samples(state.moments, samples), ends, fits + used)

    def estimate(self, state: PermutationState, level: float = 0.95) -> streaming.Estimate:
        moments = state.moments
        return streaming.normal_estimate(moments.mean, moments.variance_of_mean(), state.fits, level)

    def draw(self, key: jax.Array, num_points: int) -> np.ndarray:
        """int32[R, G, N]: the permutations of one update."""
        keys = jax.random.split(key, self.samples)
        first = np.asarray(jax.vmap(lambda key: jax.random.permutation(key, num_points))(keys))
        if self.design == "plain":
            return first[:, None]
        if self.design == "antithetic":
            return np.stack([first, first[:, ::-1]], axis=1)
        shifts = min(self.shifts or num_points, num_points)
        return np.stack([np.roll(first, shift * num_points // shifts, axis=1) for shift in range(shifts)], axis=1)

    def _prefixes(self, utility: Utility, orders: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, int]:
        """(float64[P, N + 1], fits): utilities of all prefixes of P permutations, constant where they were cut off."""
        count, n = orders.shape
        places = np.argsort(orders, axis=1)
        utilities = np.full((count, n + 1), ends[0])
        utilities[:, n] = ends[1]
        block = n if self.tolerance == 0 else _BLOCK
        running, fits = np.arange(count), 0
        for start in range(1, n, block):
            lengths = np.arange(start, min(start + block, n))
            masks = places[running, None, :] < lengths[:, None]
            found = evaluate(utility, masks.reshape(-1, n), batch=self.batch, mesh=self.mesh)
            utilities[running[:, None], lengths] = found.reshape(len(running), -1)
            fits += found.size
            close = np.abs(utilities[running, start : lengths[-1] + 1] - ends[1]) < self.tolerance
            for row in np.flatnonzero(close.any(axis=1)):
                cut = start + int(np.argmax(close[row]))
                utilities[running[row], cut:] = utilities[running[row], cut]
            running = running[~close.any(axis=1)]
            if not len(running):
                break
        return utilities, fits


def leave_one_out_values(
    utility: Utility, num_points: int, *, batch: int = 256, mesh: Mesh | None = None
) -> np.ndarray:
    """float64[N]: what is lost without each point, by N + 1 fits."""
    masks = np.concatenate([np.ones((1, num_points), bool), ~np.eye(num_points, dtype=bool)])
    utilities = evaluate(utility, masks, batch=batch, mesh=mesh)
    return utilities[0] - utilities[1:]


def beta_estimator(num_points: int, alpha: float, beta: float, **options) -> Permutations:
    """`Permutations` for Beta(alpha, beta) Shapley of N points."""
    return Permutations(tuple(semivalues.beta_sizes(num_points, alpha, beta).tolist()), **options)


def _size(mesh: Mesh | None) -> int:
    return 1 if mesh is None else mesh.size
