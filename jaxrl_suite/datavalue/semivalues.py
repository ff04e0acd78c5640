"""Semivalues: weighted means of a point's marginal contributions, exactly from a table of all subsets.

A semivalue is given by the distribution of the size of the set that the point joins: phi_i = E[U(S + i) - U(S)] with
|S| = k drawn from `sizes` and S uniform among the sets of that size without i. Sums are in float64.

Shapes: `N` points; a table is float[2^N], bit i of its index saying whether point i is in.

Reference: Shapley (1953); Banzhaf (1965); Kwon and Zou, "Beta Shapley" (AISTATS 2022), equation 5; Wang and Jia, "Data
Banzhaf" (AISTATS 2023). Least squares: Charnes et al. (1988); Ruiz et al., "The family of least square values" (1998).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from jaxrl_suite.errors import UserError


def shapley_sizes(n: int) -> np.ndarray:
    """float64[N]: all sizes alike."""
    return np.full(_positive(n), 1 / n)


def banzhaf_sizes(n: int, probability: float = 0.5) -> np.ndarray:
    """float64[N]: each other point is in with the same probability; 1/2 is Banzhaf's value, others weighted ones."""
    if not 0 < probability < 1:
        raise UserError(f"probability must lie strictly between 0 and 1, got {probability}")
    k = np.arange(_positive(n))
    return special.binom(n - 1, k) * probability**k * (1 - probability) ** (n - 1 - k)


def beta_sizes(n: int, alpha: float, beta: float) -> np.ndarray:
    """float64[N]: Beta(alpha, beta) Shapley; a large alpha weighs small sets, Beta(1, 1) is Shapley's value."""
    if not (alpha > 0 and beta > 0):
        raise UserError(f"alpha and beta must be positive, got {alpha} and {beta}")
    k = np.arange(_positive(n))
    log_choose = special.gammaln(n) - special.gammaln(k + 1) - special.gammaln(n - k)
    return np.exp(log_choose + special.betaln(k + beta, n - 1 - k + alpha) - special.betaln(alpha, beta))


def leave_one_out_sizes(n: int) -> np.ndarray:
    """float64[N]: only the set of all others."""
    return np.eye(_positive(n))[-1]


def semivalue(table: ArrayLike, sizes: ArrayLike) -> np.ndarray:
    """float64[N]: exact values of all points, in one pass over the table.

    Args:
      table: float[2^N].
      sizes: float[N], a distribution over the size of the set that a point joins.

    Raises:
      UserError: if the lengths do not agree or `sizes` is not a distribution.
    """
    table, n = check_table(table)
    weight = set_weights(sizes)
    if len(weight) != n:
        raise UserError(
            f"the table is of {n} points and sizes of {len(weight)}: give one probability a size, 0 to {n - 1}"
        )
    weights = weight[np.bitwise_count(np.arange(1 << (n - 1)))]
    values = np.empty(n)
    for point in range(n):
        pairs = table.reshape(-1, 2, 1 << point)
        values[point] = np.sum(weights.reshape(-1, 1 << point) * (pairs[:, 1] - pairs[:, 0]))
    return values


def shapley(table: ArrayLike) -> np.ndarray:
    """float64[N]: Shapley values; they sum to U(all) - U(none)."""
    table, n = check_table(table)
    return semivalue(table, shapley_sizes(n))


def banzhaf(table: ArrayLike) -> np.ndarray:
    """float64[N]: Banzhaf values."""
    table, n = check_table(table)
    return semivalue(table, banzhaf_sizes(n))


def beta_shapley(table: ArrayLike, alpha: float, beta: float) -> np.ndarray:
    """float64[N]: Beta Shapley values."""
    table, n = check_table(table)
    return semivalue(table, beta_sizes(n, alpha, beta))


def leave_one_out(table: ArrayLike) -> np.ndarray:
    """float64[N]: what is lost without the point, U(all) - U(all - i)."""
    table, n = check_table(table)
    return table[-1] - table[(1 << n) - 1 - (1 << np.arange(n))]


def set_weights(sizes: ArrayLike) -> np.ndarray:
    """float64[N]: the weight w(k) of each single set of size k, from the distribution over sizes.

    Raises:
      UserError: if `sizes` is not a distribution.
    """
    sizes = np.asarray(sizes, np.float64)
    if sizes.ndim != 1 or not sizes.size or sizes.min() < 0 or not np.isclose(sizes.sum(), 1):
        raise UserError(f"sizes must be at least 0 and sum to 1, got sum {sizes.sum():g}: divide by the sum")
    n = len(sizes)
    return sizes / special.binom(n - 1, np.arange(n))


def least_squares_kernel(sizes: ArrayLike) -> np.ndarray:
    """float64[N + 1]: weight of each set of size s for which an affine fit of the utility ranks like the semivalue.

    The coefficients of the weighted least-squares fit b + sum_i theta_i differ among points exactly as the semivalue
    does: the weight of a set of size s is w(s - 1) + w(s). For Shapley that is Charnes' kernel, up to a factor, and
    for Banzhaf a constant. Of Shapley's the two ends, whose sets do not tell points apart, get weight too: they move
    the intercept and the mean of the coefficients, not their differences.
    """
    weight = set_weights(sizes)
    return np.concatenate([weight, [0.0]]) + np.concatenate([[0.0], weight])


def check_table(table: ArrayLike) -> tuple[np.ndarray, int]:
    """(float64[2^N], N).

    Raises:
      UserError: if the length is not a power of two, or a value is not finite.
    """
    table = np.asarray(table, np.float64)
    n = int(table.size).bit_length() - 1
    if table.ndim != 1 or n < 1 or table.size != 1 << n:
        raise UserError(f"a table has 2^N values, one a subset of N points, got shape {table.shape}")
    if len(bad := np.flatnonzero(~np.isfinite(table))):
        raise UserError(f"the utility of subset {bad[0]} is {table[bad[0]]}: it must be finite for every subset")
    return table, n


def _positive(n: int) -> int:
    if n < 1:
        raise UserError(f"there must be at least 1 point, got {n}")
    return n
