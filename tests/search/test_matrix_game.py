"""Matrix games against a linear programme, and against what holds for every game."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from jaxrl_suite.search import matrix_game

SOLVE = jax.jit(matrix_game.solve)
SIZE = 5


def lp_value(payoff):
    """The value of one game by HiGHS: maximise v subject to payoff' x >= v."""
    rows, cols = payoff.shape
    result = linprog(
        np.r_[np.zeros(rows), -1],
        A_ub=np.c_[-payoff.T, np.ones(cols)],
        b_ub=np.zeros(cols),
        A_eq=np.r_[np.ones(rows), 0][None],
        b_eq=[1],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    return -result.fun


def full(batch, size=SIZE):
    return jnp.ones((batch, size), bool), jnp.ones((batch, size), bool)


def check(payoff, row_legal, col_legal, solution, tolerance=1e-5):
    """Certifies a batch of solutions in float64."""
    payoff, value, row, col = (np.asarray(x, np.float64) for x in (payoff, *solution))
    np.testing.assert_allclose(row.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(col.sum(-1), 1, atol=1e-5)
    for strategy, legal in ((row, row_legal), (col, col_legal)):
        assert (strategy >= 0).all()
        assert not strategy[~np.asarray(legal)].any()
    best_row = np.where(row_legal, np.einsum("bij,bj->bi", payoff, col), -np.inf).max(-1)
    best_col = np.where(col_legal, np.einsum("bij,bi->bj", payoff, row), np.inf).min(-1)
    np.testing.assert_array_less(best_row - value, tolerance)
    np.testing.assert_array_less(value - best_col, tolerance)


@st.composite
def games(draw):
    """Small games embedded in larger ones by masks, many of them degenerate: few different numbers, repeated rows."""
    rows = draw(st.lists(st.booleans(), min_size=SIZE, max_size=SIZE).filter(any))
    cols = draw(st.lists(st.booleans(), min_size=SIZE, max_size=SIZE).filter(any))
    numbers = draw(
        st.sampled_from(
            [
                st.integers(-1, 1),
                st.integers(-28, 28),
                st.floats(-28, 28, width=32),
                st.sampled_from([0.0, 1 / 3, 28.0]),
            ]
        )
    )
    payoff = np.array(draw(st.lists(numbers, min_size=SIZE**2, max_size=SIZE**2)), np.float32).reshape(SIZE, SIZE)
    rows_from = (
        draw(st.lists(st.integers(0, SIZE - 1), min_size=SIZE, max_size=SIZE)) if draw(st.booleans()) else range(SIZE)
    )
    return payoff[list(rows_from)], np.array(rows), np.array(cols)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(games())
def test_agrees_with_a_linear_programme(game):
    payoff, rows, cols = game
    solution = SOLVE(payoff[None], rows[None], cols[None])
    assert abs(float(solution.value[0]) - lp_value(payoff[rows][:, cols].astype(float))) < 1e-5
    check(payoff[None], rows[None], cols[None], solution)


@pytest.mark.parametrize("size", range(1, 8))
def test_certifies_random_and_degenerate_games(size):
    rng = np.random.default_rng(size)
    shape = (1024, size, size)
    ranks_two = rng.integers(-2, 3, (1024, size, 2)) @ rng.integers(-2, 3, (1024, 2, size)) * 3
    repeated = np.repeat(rng.uniform(-28, 28, (1024, size, (size + 1) // 2)), 2, axis=2)[:, :, :size]
    payoff = np.concatenate([rng.uniform(-28, 28, shape), rng.integers(-1, 2, shape), ranks_two, repeated]).astype(
        np.float32
    )
    legal = full(len(payoff), size)
    solution = SOLVE(payoff, *legal)
    check(payoff, *legal, solution, tolerance=2e-5)
    assert float(matrix_game.gains(jnp.asarray(payoff), *legal, solution).max()) < 3e-5


@pytest.mark.parametrize("noise", [1e-6, 1e-5, 1e-4, 1e-3])
def test_almost_degenerate_games_certify(noise):
    rng = np.random.default_rng(0)
    payoff = rng.integers(-3, 4, (4096, 7, 7)) * 9 + noise * rng.normal(size=(4096, 7, 7))
    payoff = payoff.astype(np.float32)
    check(payoff, *full(4096, 7), SOLVE(payoff, *full(4096, 7)), tolerance=1e-4)


def test_known_games():
    rock_paper_scissors = [[0, -1, 1], [1, 0, -1], [-1, 1, 0]]
    saddle = [[3, 1, 4], [1, 0, 2], [5, -1, 0]]
    pennies = [[1, -1, 9], [-1, 1, 9], [-9, -9, 9]]
    solution = SOLVE(jnp.array([rock_paper_scissors, saddle, pennies], jnp.float32), *full(3, 3))
    np.testing.assert_allclose(solution.value, [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(solution.row, [[1 / 3] * 3, [1, 0, 0], [0.5, 0.5, 0]], atol=1e-6)
    np.testing.assert_allclose(solution.col, [[1 / 3] * 3, [0, 1, 0], [0.5, 0.5, 0]], atol=1e-6)


def test_symmetries():
    rng = np.random.default_rng(1)
    payoff = rng.integers(-9, 10, (256, SIZE, SIZE)).astype(np.float32)
    legal = full(256)
    value = SOLVE(payoff, *legal).value
    order = rng.permutation(SIZE)
    for changed, expected in (
        (-payoff.transpose(0, 2, 1), -value),
        (payoff + 7, value + 7),
        (payoff * 3, value * 3),
        (payoff * 1e-3, value * 1e-3),
        (payoff[:, order][:, :, order[::-1]], value),
    ):
        np.testing.assert_allclose(SOLVE(changed, *legal).value, expected, atol=3e-6)


def test_never_plays_strictly_dominated_actions():
    rng = np.random.default_rng(2)
    payoff = rng.uniform(-1, 1, (256, SIZE, SIZE)).astype(np.float32)
    payoff[:, 2] = payoff[:, 4] - 0.1  # row 2 is worse than row 4
    payoff[:, :, 1] = payoff[:, :, 3] + 0.1  # column 1 is worse for the minimiser than column 3
    solution = SOLVE(payoff, *full(256))
    np.testing.assert_allclose(solution.row[:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(solution.col[:, 1], 0, atol=1e-6)


def test_ignores_what_is_illegal_and_solves_nothing_as_zero():
    payoff = jnp.full((3, SIZE, SIZE), jnp.nan).at[:, 0, 1].set(2.5)
    rows = jnp.zeros((3, SIZE), bool).at[:2, 0].set(True)
    cols = jnp.zeros((3, SIZE), bool).at[::2, 1].set(True)
    solution = SOLVE(payoff, rows, cols)
    np.testing.assert_array_equal(solution.value, [2.5, 0, 0])
    np.testing.assert_array_equal(solution.row.sum(1), [1, 0, 0])
    np.testing.assert_array_equal(solution.col.sum(1), [1, 0, 0])


def test_leading_axes_and_vmap_are_one_batch():
    payoff = jax.random.normal(jax.random.key(0), (4, 3, SIZE, SIZE))
    rows, cols = jnp.ones((4, 3, SIZE), bool), jnp.ones((SIZE,), bool).at[2].set(False)
    everywhere = jnp.broadcast_to(cols, rows.shape)
    together = SOLVE(payoff, rows, everywhere)
    assert together.value.shape == (4, 3)
    assert together.row.shape == together.col.shape == (4, 3, SIZE)
    mapped = jax.jit(jax.vmap(jax.vmap(matrix_game.solve, in_axes=(0, 0, None)), in_axes=(0, 0, None)))(
        payoff, rows, cols
    )
    alone = [[SOLVE(payoff[i, j], rows[i, j], cols).value for j in range(3)] for i in range(4)]
    np.testing.assert_allclose(mapped.value, together.value, atol=1e-6)
    np.testing.assert_allclose(np.array(alone), together.value, atol=1e-6)


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="payoff must be"):
        matrix_game.solve(jnp.zeros((2, 3)), jnp.ones(2, bool), jnp.ones(3, bool))
    with pytest.raises(ValueError, match="payoff must be"):
        matrix_game.solve(jnp.zeros((4, 3, 3)), jnp.ones(3, bool), jnp.ones((4, 3), bool))
