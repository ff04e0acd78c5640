"""Bundles: groups of points that are bought and valued as one.

Shapes: `B` masks, `N` points, `G` bundles.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.datavalue.utilities import Utility
from jaxrl_suite.errors import UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BundledUtility:
    """A game whose players are bundles: masks are bool[B, G]. Make it with `bundle`."""

    utility: Utility
    bundles: jax.Array  # int32[N], the bundle of each point

    @property
    def uses_lapack(self) -> bool:
        return getattr(self.utility, "uses_lapack", False)

    def __call__(self, masks: jax.Array) -> jax.Array:
        return self.utility(masks[:, self.bundles])


def bundle(utility: Utility, bundles: ArrayLike) -> BundledUtility:
    """The game of bundles of points.

    Args:
      utility: of the points; a pytree of arrays.
      bundles: int[N], the bundle of each point, 0 to G - 1.

    Raises:
      UserError: if a bundle is empty or a number is not one of a bundle.
    """
    return BundledUtility(utility, jnp.asarray(check_bundles(bundles)))


def check_bundles(bundles: ArrayLike) -> np.ndarray:
    """int32[N]: the bundles, if all numbers from 0 to the largest occur."""
    bundles = np.asarray(bundles)
    if bundles.ndim != 1 or not bundles.size or bundles.dtype.kind not in "iu":
        raise UserError(f"bundles must be whole numbers [points], got {bundles.dtype} of shape {bundles.shape}")
    if len(bad := np.flatnonzero(bundles < 0)):
        raise UserError(f"point {bad[0]} is in bundle {bundles[bad[0]]}: number bundles from 0 on")
    if len(empty := np.flatnonzero(np.bincount(bundles) == 0)):
        raise UserError(f"bundle {empty[0]} is empty: number the bundles without gaps")
    return bundles.astype(np.int32)


def bundle_gap(bundle_values: ArrayLike, point_values: ArrayLike, bundles: ArrayLike, *, order: float = 1) -> float:
    """The gap of values of bundles from the sums of their points' values, both divided by their total.

    Args:
      bundle_values: float[G].
      point_values: float[N].
      bundles: int[N].
      order: of the norm of the difference, 1 or 2.

    Raises:
      UserError: if a total is 0.
    """
    whole = np.asarray(bundle_values, np.float64)
    parts = np.bincount(check_bundles(bundles), np.asarray(point_values, np.float64))
    if whole.sum() == 0 or parts.sum() == 0:
        raise UserError("values that sum to 0 cannot be compared as shares: compare them as they are")
    return float(np.linalg.norm(whole / whole.sum() - parts / parts.sum(), order))
