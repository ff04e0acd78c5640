"""Penalised linear models for a batch of row weightings: Newton's method written as large matrix products.

The intercept is the last coefficient and is not penalised. What all fits share, the products of pairs of columns, is
computed once, so that a batch of Hessians is one matrix product with the weightings.

Shapes: `B` fits, `N` rows, `D` columns, `M` queries, `K` classes or targets.

Reference: for Newton steps by conjugate gradients, Nocedal and Wright, "Numerical optimization", section 7.1; their
preconditioner is the bound of Boehning, "Multinomial logistic regression algorithm" (1992), scaled down.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_TINY = 1e-4  # keeps the intercept of an empty or one-class fit finite
_MAX_PAIRS = 1 << 24  # numbers in the table of products of columns; above it Hessians are made fit by fit
_CURVATURE = 0.09  # of the preconditioner: a typical p (1 - p), where the bound has 1/2
_LENGTHS = (1.0, 0.5, 0.25)  # steps tried along a Newton direction


def reduce_columns(x: jax.Array, queries: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows and queries with at most N columns and the same penalised fits: coordinates in the span of the rows."""
    if x.shape[0] >= x.shape[1]:
        return x, queries
    basis, _ = jnp.linalg.qr(x.T)
    return x @ basis, queries @ basis


def affine(queries: jax.Array, coefficients: jax.Array) -> jax.Array:
    """float32[B, M] or [B, M, K]: the value of coefficients [B, D + 1] or [B, D + 1, K] at the queries [M, D]."""
    if coefficients.ndim == 2:
        return coefficients @ _augment(queries).T
    return jnp.einsum("md,bdk->bmk", _augment(queries), coefficients)


def solve(matrix: jax.Array, rhs: jax.Array) -> jax.Array:
    """float32[B, D, K]: solutions of symmetric positive definite systems [B, D, D] for right-hand sides [B, D, K]."""
    factor = jnp.linalg.cholesky(matrix, symmetrize_input=False)
    return jax.scipy.linalg.cho_solve((factor, True), rhs)


def ridge(x: jax.Array, targets: jax.Array, weights: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """float32[B, D + 1, K]: weighted least squares on targets [N, K], with penalty `alpha`, a number or [B]."""
    rows = _augment(x)
    penalty = _penalty(rows, weights, alpha)
    sides = (rows[:, :, None] * targets[:, None, :]).reshape(len(x), -1)
    return solve(
        _grams(rows, weights) + _diagonal(penalty), (weights @ sides).reshape(-1, rows.shape[1], targets.shape[1])
    )


def binary_logistic(x: jax.Array, y: jax.Array, weights: jax.Array, l2: float | jax.Array, steps: int) -> jax.Array:
    """float32[B, D + 1]: penalised logistic regression of y in {0, 1}, by Newton's method with a line search.

    Args:
      x: float32[N, D].
      y: int32[N].
      weights: float32[B, N].
      l2: the penalty is l2 / 2 times the sum of squares; a number or [B].
      steps: Newton steps; 7 leave nothing to gain in float32 for standardised columns and l2 = 1.
    """
    rows, signs = _augment(x), 2 * y.astype(x.dtype) - 1
    penalty = _penalty(rows, weights, l2)

    def newton(carry, _):
        coefficients, margin = carry
        p = jax.nn.sigmoid(margin)
        gradient = (weights * (p - (signs[None] > 0))) @ rows + penalty * coefficients
        hessian = _grams(rows, weights * p * (1 - p)) + _diagonal(penalty)
        direction = -solve(hessian, gradient[..., None])[..., 0]
        change = direction @ rows.T

        def loss(length):
            moved = coefficients + length * direction
            fit = jax.nn.softplus(-(margin + length * change) * signs[None])
            return jnp.sum(weights * fit, axis=1) + 0.5 * jnp.sum(penalty * moved**2, axis=1)

        length = _best(loss)[:, None]
        return (coefficients + length * direction, margin + length * change), None

    start = jnp.zeros((len(weights), rows.shape[1])), jnp.zeros(weights.shape)
    return jax.lax.scan(newton, start, None, length=steps)[0][0]


def multinomial_logistic(
    x: jax.Array,
    y: jax.Array,
    weights: jax.Array,
    seen: jax.Array,
    l2: float | jax.Array,
    steps: int,
    inner: int,
) -> jax.Array:
    """float32[B, D + 1, K]: penalised multinomial regression, by Newton steps that conjugate gradients solve.

    Args:
      x: float32[N, D].
      y: int32[N], 0 to K - 1.
      weights: float32[B, N].
      seen: bool[B, K], classes that take part; where just two do, the penalty is that of binary regression.
      l2: the penalty is l2 / 2 times the sum of squares; a number or [B].
      steps: Newton steps.
      inner: iterations of conjugate gradients in each.
    """
    rows, classes = _augment(x), seen.shape[1]
    columns, batch = rows.shape[1], len(weights)
    penalty = _penalty(rows, weights, l2) * jnp.where(jnp.sum(seen, axis=1) == 2, 2.0, 1.0)[:, None]
    # Inside, arrays are [D + 1, K, B] or [N, K, B]: all products with the rows are then one matrix product.
    weight, penal = weights.T[:, None, :], penalty.T[:, None, :]
    absent = jnp.where(seen, 0.0, -1e30).T[None]
    onehot = jax.nn.one_hot(y, classes)[:, :, None]
    system = _CURVATURE * _grams(rows, weights) + _diagonal(jnp.maximum(penalty, _TINY))
    eye = jnp.broadcast_to(jnp.eye(columns), system.shape)
    inverse = solve(system, eye)

    def forward(coefficients):
        return (rows @ coefficients.reshape(columns, -1)).reshape(-1, classes, batch)

    def backward(residuals):
        return (rows.T @ residuals.reshape(len(rows), -1)).reshape(columns, classes, batch)

    def precondition(gradient):
        return jnp.moveaxis(inverse @ jnp.moveaxis(gradient, -1, 0), 0, -1)

    def newton(carry, _):
        coefficients, logits = carry
        p = jax.nn.softmax(logits + absent, axis=1)
        downhill = -backward((p - onehot) * weight) - penal * coefficients

        def curve(step):
            change = forward(step)
            change = p * (change - jnp.sum(p * change, axis=1, keepdims=True))
            return backward(change * weight) + penal * step

        direction = _conjugate_gradients(curve, precondition, downhill, inner)
        change = forward(direction)

        def loss(length):
            moved = logits + length * change
            # The product with a one-hot label has no entry where the label is absent: its weight is 0 there.
            fit = jax.nn.logsumexp(moved + absent, axis=1) - jnp.sum(onehot * moved, axis=1)
            coefficient = coefficients + length * direction
            return jnp.sum(weights.T * fit, axis=0) + 0.5 * jnp.sum(penal * coefficient**2, axis=(0, 1))

        length = _best(loss)[None, None]
        return (coefficients + length * direction, logits + length * change), None

    start = jnp.zeros((columns, classes, batch)), jnp.zeros((len(rows), classes, batch))
    coefficients = jax.lax.scan(newton, start, None, length=steps)[0][0]
    return jnp.moveaxis(coefficients, -1, 0)


def _conjugate_gradients(curve, precondition, target, iterations):
    """An approximate solution of `curve(step) = target`, all of them [D + 1, K, B]; each of the B on its own."""

    def product(a, b):
        return jnp.sum(a * b, axis=(0, 1), keepdims=True)

    def iterate(carry, _):
        step, residual, search, size = carry
        curved = curve(search)
        length = size / jnp.maximum(product(search, curved), 1e-20)
        step, residual = step + length * search, residual - length * curved
        better = precondition(residual)
        after = product(residual, better)
        return (step, residual, better + after / jnp.maximum(size, 1e-20) * search, after), None

    first = precondition(target)
    start = jnp.zeros_like(target), target, first, product(target, first)
    return jax.lax.scan(iterate, start, None, length=iterations)[0][0]


def _best(loss) -> jax.Array:
    """float32[B]: the length with the smallest loss; losses that overflow are not chosen."""
    losses = jnp.stack([loss(length) for length in _LENGTHS])
    return jnp.array(_LENGTHS)[jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf), axis=0)]


def _augment(x: jax.Array) -> jax.Array:
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1)


def _penalty(rows: jax.Array, weights: jax.Array, l2: float | jax.Array) -> jax.Array:
    """float32[B, D + 1]: the penalty of each coefficient; next to none for the intercept."""
    strength = jnp.broadcast_to(jnp.asarray(l2, rows.dtype), (len(weights),))[:, None]
    return jnp.where(jnp.arange(rows.shape[1])[None] < rows.shape[1] - 1, strength, _TINY)


def _diagonal(values: jax.Array) -> jax.Array:
    return values[..., None] * jnp.eye(values.shape[-1])[None]


def _grams(rows: jax.Array, weights: jax.Array) -> jax.Array:
    """float32[B, D + 1, D + 1]: sums over rows of weight times outer product."""
    size = rows.shape[1]
    if rows.shape[0] * size * size <= _MAX_PAIRS:
        pairs = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
        return (weights @ pairs).reshape(-1, size, size)
    return jnp.einsum("bn,nd,ne->bde", weights, rows, rows, optimize="optimal")
