"""Zero-sum matrix games, solved exactly in batches.

One simplex method runs over the whole batch at once: the batch is the innermost axis, pivots are one-hot masks, and a
game that is solved multiplies by zero while the others go on. A refinement step from the final basis, in the units of
the payoffs, removes the rounding that pivots have gathered.

Shapes: `B` games, `A` actions of either player.

Reference: the simplex method on the linear programme of a matrix game, with lexicographic ratios against cycling:
Dantzig, Orden and Wolfe, "The generalized simplex method", Pacific Journal of Mathematics 5 (1955).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from jaxrl_suite.errors import UserError

# Payoffs are scaled to [1, 2] before pivoting; below these sizes a number is taken for rounding.
_REDUCED_COST = 3e-7
_RATIO_TIE = 1e-7
_PIVOT, _SMALL_PIVOT = 1e-3, 1e-5  # the small one where the other left a game uncertain
_UNCERTAIN = 1e-6  # a gap above it, over the spread of payoffs, is tried again from the other player's side
_TRIES = 4


class MatrixGameSolution(NamedTuple):
    """An equilibrium of each game."""

    value: jax.Array  # float32[..., ], expected payoff of the row player
    row: jax.Array  # float32[..., A], the maximiser's probabilities
    col: jax.Array  # float32[..., A], the minimiser's probabilities


def solve(payoff: jax.Array, row_legal: jax.Array, col_legal: jax.Array) -> MatrixGameSolution:
    """Values and equilibrium strategies of zero-sum games; the row player maximises.

    It can be jitted, and vmapping it makes one larger batch. With float32 payoffs of magnitude M the value is exact to
    some 1e-7 M, and neither player can gain more than some 1e-6 M by deviating.

    Args:
      payoff: float32[..., A, A], to the row player; finite where both actions are legal, ignored elsewhere.
      row_legal: bool[..., A].
      col_legal: bool[..., A].

    Returns:
      The solution, with the leading axes of `payoff`. Probabilities of illegal actions are 0; a game without a
      legal row or column has value 0 and strategies of 0.

    Raises:
      UserError: if the shapes do not fit together.
    """
    payoff, row_legal, col_legal = jnp.asarray(payoff), jnp.asarray(row_legal), jnp.asarray(col_legal)
    *lead, rows, cols = payoff.shape if payoff.ndim >= 2 else (0, 1)
    if rows != cols or row_legal.shape != (*lead, rows) or col_legal.shape != (*lead, cols):
        raise UserError(
            "payoff must be [..., A, A] and the masks [..., A] with the same leading axes, "
            f"got {payoff.shape}, {row_legal.shape} and {col_legal.shape}"
        )
    batch, size = math.prod(lead), rows
    flat = _solve_flat(
        payoff.astype(jnp.float32).reshape(batch, size, size),
        row_legal.astype(bool).reshape(batch, size),
        col_legal.astype(bool).reshape(batch, size),
    )
    return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), flat)


def gains(payoff: jax.Array, row_legal: jax.Array, col_legal: jax.Array, solution: MatrixGameSolution) -> jax.Array:
    """float32[..., 2]: what each player could gain over `solution.value` by deviating; about 0 in an equilibrium.

    It certifies a solution without trusting the solver. Arguments and shapes are those of `solve`.
    """
    best_row = jnp.where(row_legal, jnp.einsum("...ij,...j->...i", payoff, solution.col), -jnp.inf).max(-1)
    best_col = jnp.where(col_legal, jnp.einsum("...ij,...i->...j", payoff, solution.row), jnp.inf).min(-1)
    return jnp.stack([best_row - solution.value, solution.value - best_col], axis=-1)


@custom_vmap
def _solve_flat(payoff: jax.Array, row_legal: jax.Array, col_legal: jax.Array) -> MatrixGameSolution:
    """`solve` for payoff float32[B, A, A]."""
    value, row, col = solve_batch_last(
        jnp.transpose(payoff, (1, 2, 0)), jnp.transpose(row_legal), jnp.transpose(col_legal)
    )
    return MatrixGameSolution(value, jnp.transpose(row), jnp.transpose(col))


@_solve_flat.def_vmap
def _solve_flat_vmap(axis_size, in_batched, *args):
    # A while-loop vmapped by JAX would select over the whole tableau in every iteration.
    args = [
        x if mapped else jnp.broadcast_to(x[None], (axis_size, *x.shape))
        for x, mapped in zip(args, in_batched, strict=True)
    ]
    solution = solve(*args)
    return solution, jax.tree.map(lambda _: True, solution)


def solve_batch_last(payoff: jax.Array, row_legal: jax.Array, col_legal: jax.Array) -> MatrixGameSolution:
    """`solve` in the layout it works in, for callers that build payoffs that way.

    Args:
      payoff: float32[A, A, B].
      row_legal: bool[A, B].
      col_legal: bool[A, B].

    Returns:
      value float32[B], row float32[A, B], col float32[A, B].
    """
    row_legal, col_legal = row_legal[:, None], col_legal[None]
    legal = row_legal & col_legal
    low = jnp.where(legal, payoff, jnp.inf).min((0, 1), keepdims=True)
    high = jnp.where(legal, payoff, -jnp.inf).max((0, 1), keepdims=True)
    spread = jnp.where(high > low, high - low, 1.0)
    payoff = jnp.where(legal, payoff, 0.0)
    scaled = jnp.where(legal, (payoff - low) / spread, 0.0)  # in [0, 1]
    batch = payoff.shape[2]

    def attempt(best: _Best) -> _Best:
        other_side = best.tries % 2 == 1

        def seen(own, others):
            return jnp.where(other_side, jnp.swapaxes(others, 0, 1), own)

        rows, cols = seen(row_legal, col_legal), seen(col_legal, row_legal)
        matrix = jnp.where(rows & cols, 1.0 + seen(scaled, 1.0 - scaled), 0.0)
        smallest_pivot = jnp.where(best.tries < 2, _PIVOT, _SMALL_PIVOT)
        tried = best.gap > _UNCERTAIN
        tableau = _run_simplex(_first_tableau(matrix, rows, cols, tried), smallest_pivot)
        row, col = _strategies(tableau, seen(payoff, -payoff), rows & cols, spread)
        row, col = seen(row, col), seen(col, row)
        centre = _expected(row, payoff, col)
        centred = jnp.where(legal, payoff - centre, 0.0)
        best_row = jnp.where(row_legal, jnp.sum(centred * col, axis=1, keepdims=True), -jnp.inf).max(0, keepdims=True)
        best_col = jnp.where(col_legal, jnp.sum(centred * row, axis=0, keepdims=True), jnp.inf).min(1, keepdims=True)
        gap = (best_row - best_col) / spread
        solution = MatrixGameSolution(centre + _expected(row, centred, col), row, col)
        better = tried & (gap < best.gap)
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), solution, best.solution)
        return _Best(kept, jnp.where(better, gap, best.gap), best.tries + 1)

    nothing = MatrixGameSolution(jnp.zeros((1, 1, batch)), jnp.zeros_like(payoff[:, :1]), jnp.zeros_like(payoff[:1]))
    first = _Best(nothing, jnp.where(legal.any((0, 1), keepdims=True), jnp.inf, 0.0), jnp.int32(0))
    again = jax.lax.while_loop(lambda best: jnp.any(best.gap > _UNCERTAIN) & (best.tries < _TRIES), attempt, first)
    value, row, col = again.solution
    return MatrixGameSolution(value[0, 0], row[:, 0], col[0])


class _Best(NamedTuple):
    """The solutions with the smallest gaps so far.

    A pivot on an entry that is rounding alone can spoil a game's tableau, about once in 1e4 games whose payoffs differ
    by some 1e-6 of their spread. Those are solved again from the other player's side, where the pivots are others.
    """

    solution: MatrixGameSolution  # value float32[1, 1, B], row float32[A, 1, B], col float32[1, A, B]
    gap: jax.Array  # float32[1, 1, B], sum of both players' gains over the spread of payoffs
    tries: jax.Array  # int32[]


class _Tableau(NamedTuple):
    """A dictionary of the programme max sum(y), P y <= 1, y >= 0, whose solution is the column strategy over the value.

    Rows are the basic variables and the objective; columns the nonbasic variables, the right-hand side, and its
    symbolic perturbation, which decides ties as if it were infinitely small. Illegal actions are zero rows and columns,
    which no pivot ever chooses.
    """

    entries: jax.Array  # float32[A + 1, A + 2, B]
    basic: jax.Array  # int32[A, 1, B], y_j is j, the slack of row i is A + i
    nonbasic: jax.Array  # int32[1, A, B]
    active: jax.Array  # bool[1, 1, B], whether there may be a pivot left
    pivots: jax.Array  # int32[]


def _first_tableau(matrix: jax.Array, row_legal: jax.Array, col_legal: jax.Array, active: jax.Array) -> _Tableau:
    size, _, batch = matrix.shape
    generic = 1.0 + np.modf(np.arange(1, size + 1) * 0.6180339887)[0]
    ones = row_legal.astype(jnp.float32)
    right = [ones, ones * jnp.asarray(generic, jnp.float32)[:, None, None]]
    objective = [-col_legal.astype(jnp.float32), jnp.zeros((1, 2, batch))]
    index = jnp.broadcast_to(jnp.arange(size)[:, None, None], (size, 1, batch))
    return _Tableau(
        entries=jnp.concatenate([jnp.concatenate([matrix, *right], axis=1), jnp.concatenate(objective, axis=1)]),
        basic=index + size,
        nonbasic=index.reshape(1, size, batch),
        active=active,
        pivots=jnp.int32(0),
    )


def _run_simplex(tableau: _Tableau, smallest_pivot: jax.Array) -> _Tableau:
    size = tableau.basic.shape[0]
    limit = 6 * size + 4  # rounding must not keep a degenerate game going; the usual number is about `size`
    return jax.lax.while_loop(
        lambda t: jnp.any(t.active) & (t.pivots < limit), lambda t: _pivot(t, smallest_pivot), tableau
    )


def _pivot(tableau: _Tableau, smallest_pivot: jax.Array) -> _Tableau:
    """One exchange of a basic and a nonbasic variable in every game that is not solved."""
    entries, size = tableau.entries, tableau.basic.shape[0]
    rows, cols = jnp.arange(size + 1)[:, None, None], jnp.arange(size + 2)[None, :, None]

    cost = entries[size:, :size]
    best = cost.min(1, keepdims=True)
    enters = jnp.where(cost == best, cols[:, :size], size).min(1, keepdims=True)
    column = jnp.sum(jnp.where(cols == enters, entries, 0.0), axis=1, keepdims=True)

    usable = column[:size] > smallest_pivot
    inverse = 1.0 / jnp.where(usable, column[:size], 1.0)
    ratio = jnp.where(usable, jnp.maximum(entries[:size, size : size + 1], 0.0) * inverse, jnp.inf)
    tied = usable & (ratio <= ratio.min(0, keepdims=True) + _RATIO_TIE)
    second = jnp.where(tied, entries[:size, size + 1 :] * inverse, jnp.inf)
    leaves = jnp.where(tied & (second == second.min(0, keepdims=True)), rows[:size], size).min(0, keepdims=True)

    active = tableau.active & (best < -_REDUCED_COST) & jnp.any(usable, axis=0, keepdims=True)
    entering, leaving = (cols == enters) & active, (rows == leaves) & active
    scale = jnp.sum(jnp.where(leaving[:size], inverse, 0.0), axis=0, keepdims=True)  # 0 where solved: nothing changes
    row = jnp.sum(jnp.where(leaving, entries, 0.0), axis=0, keepdims=True) * scale
    outside = jnp.where(leaving, row, entries - column * row)
    inside = jnp.where(leaving, scale, -column * scale)
    into = jnp.sum(jnp.where(entering[:, :size], tableau.nonbasic, 0), axis=1, keepdims=True)
    out = jnp.sum(jnp.where(leaving[:size], tableau.basic, 0), axis=0, keepdims=True)
    return _Tableau(
        entries=jnp.where(entering, inside, outside),
        basic=jnp.where(leaving[:size], into, tableau.basic),
        nonbasic=jnp.where(entering[:, :size], out, tableau.nonbasic),
        active=active,
        pivots=tableau.pivots + 1,
    )


def _strategies(
    tableau: _Tableau, payoff: jax.Array, legal: jax.Array, spread: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Row float32[A, 1, B] and column float32[1, A, B] strategies of the final basis, after one Newton step.

    The step uses the inverse of the basis, which is part of the tableau.
    """
    size = tableau.basic.shape[0]
    inverse = tableau.entries[:size, :size]
    index = jnp.arange(size)
    # [A, A, B]: basic variable l is y_j, by (l, j); nonbasic variable c is the slack of row i, by (i, c)
    is_col = (tableau.basic == index[None, :, None]).astype(jnp.float32)
    is_row = (tableau.nonbasic == index[:, None, None] + size).astype(jnp.float32)

    def from_basic(x):  # [A, 1, B] by basic variable -> [1, A, B] by column of the game
        return jnp.sum(is_col * x, axis=0, keepdims=True)

    def from_nonbasic(x):  # [1, A, B] by nonbasic variable -> [A, 1, B] by row of the game
        return jnp.sum(is_row * x, axis=1, keepdims=True)

    col = _normalised(from_basic(tableau.entries[:size, size : size + 1]), 1)
    row = _normalised(from_nonbasic(tableau.entries[size:, :size]), 0)
    centre = _expected(row, payoff, col)
    centred = jnp.where(legal, payoff - centre, 0.0)

    row_excess = jnp.sum(centred * col, axis=1, keepdims=True) / spread
    col_excess = jnp.sum(centred * row, axis=0, keepdims=True) / spread
    by_nonbasic = jnp.sum(is_row * row_excess, axis=0, keepdims=True)
    by_basic = jnp.sum(is_col * col_excess, axis=1, keepdims=True)
    col_step = from_basic(-jnp.sum(inverse * by_nonbasic, axis=1, keepdims=True))
    row_step = from_nonbasic(-jnp.sum(inverse * by_basic, axis=0, keepdims=True))
    col = _normalised(col + col_step - col * col_step.sum(1, keepdims=True), 1)
    row = _normalised(row + row_step - row * row_step.sum(0, keepdims=True), 0)
    return row, col


def _expected(row: jax.Array, payoff: jax.Array, col: jax.Array) -> jax.Array:
    return jnp.sum(row * payoff * col, axis=(0, 1), keepdims=True)


def _normalised(weights: jax.Array, axis: int) -> jax.Array:
    weights = jnp.maximum(weights, 0.0)
    total = weights.sum(axis, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def sample(key: jax.Array, probabilities: jax.Array) -> jax.Array:
    """int32[]: one draw from `probabilities` [A], which need not add up to one; entries of 0 are never drawn.

    A row of zeros (no legal action) gives action 0.
    """
    cumulative = jnp.cumsum(probabilities)
    threshold = jax.random.uniform(key) * cumulative[-1]
    index = jnp.sum(cumulative <= threshold, dtype=jnp.int32)
    return jnp.where(cumulative[-1] > 0, jnp.minimum(index, probabilities.size - 1), 0)
