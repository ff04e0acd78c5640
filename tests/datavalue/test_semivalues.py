"""Exact semivalues: their axioms, their definitions by enumeration, and their least-squares twins."""

import itertools

import numpy as np
import pytest
from fixtures import set_games as games
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from jaxrl_suite import datavalue as dv

N = 6
SIZES = {
    "shapley": dv.shapley_sizes(N),
    "banzhaf": dv.banzhaf_sizes(N),
    "weighted banzhaf": dv.banzhaf_sizes(N, 0.8),
    "beta(16, 1)": dv.beta_sizes(N, 16, 1),
    "beta(1, 4)": dv.beta_sizes(N, 1, 4),
    "leave one out": dv.leave_one_out_sizes(N),
}
each_semivalue = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def rng(seed=0):
    return np.random.default_rng(seed)


@each_semivalue
def test_sizes_are_distributions(sizes):
    assert sizes.sum() == pytest.approx(1, abs=1e-12)
    assert sizes.min() >= 0


def test_beta_sizes_are_beta_binomial_and_favour_small_sets_for_large_alpha():
    np.testing.assert_allclose(dv.beta_sizes(N, 1, 1), 1 / N)
    k = np.arange(N)
    expected = special.binom(N - 1, k) * special.beta(k + 1, N - 1 - k + 16) / special.beta(16, 1)
    np.testing.assert_allclose(dv.beta_sizes(N, 16, 1), expected)
    assert np.all(np.diff(dv.beta_sizes(N, 16, 1)) < 0)


@each_semivalue
def test_is_the_weighted_mean_of_marginal_contributions(sizes):
    table = games.random_game(rng(), N)
    expected = np.zeros(N)
    for i in range(N):
        others = [j for j in range(N) if j != i]
        for k in range(N):
            gains = [
                table[sum(1 << j for j in chosen) | 1 << i] - table[sum(1 << j for j in chosen)]
                for chosen in itertools.combinations(others, k)
            ]
            expected[i] += sizes[k] * np.mean(gains)
    np.testing.assert_allclose(dv.semivalue(table, sizes), expected, atol=1e-12)


def test_shapley_is_the_mean_over_all_orders_and_efficient():
    table = games.random_game(rng(1), N)
    np.testing.assert_allclose(dv.shapley(table), games.shapley_by_permutations(table), atol=1e-12)
    assert dv.shapley(table).sum() == pytest.approx(table[-1] - table[0], abs=1e-12)
    assert abs(dv.banzhaf(table).sum() - (table[-1] - table[0])) > 1e-3  # efficiency is Shapley's alone


def test_leave_one_out_has_its_sizes():
    table = games.random_game(rng(2), N)
    np.testing.assert_allclose(dv.leave_one_out(table), dv.semivalue(table, dv.leave_one_out_sizes(N)), atol=1e-12)
    np.testing.assert_allclose(dv.beta_shapley(table, 1, 1), dv.shapley(table), atol=1e-12)


@each_semivalue
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_axioms(sizes, seed):
    draw = rng(seed)
    one, two = games.random_game(draw, N), games.random_game(draw, N)
    a, b = dv.semivalue(one, sizes), dv.semivalue(two, sizes)
    np.testing.assert_allclose(dv.semivalue(one + 3 * two, sizes), a + 3 * b, atol=1e-11)  # additivity
    order = draw.permutation(N)
    np.testing.assert_allclose(dv.semivalue(games.relabel(one, order), sizes), a[order], atol=1e-12)
    weights = draw.normal(size=N)
    np.testing.assert_allclose(dv.semivalue(games.additive(weights, 0.3), sizes), weights, atol=1e-12)
    subsets = games.members(N)
    null = one[np.arange(1 << N) & ~(1 << 2)]  # point 2 never changes the utility
    assert dv.semivalue(null, sizes)[2] == pytest.approx(0, abs=1e-14)
    twins = one[np.where(subsets[:, 0] | subsets[:, 3], np.arange(1 << N) | 9, np.arange(1 << N))]
    found = dv.semivalue(twins, sizes)
    assert found[0] == pytest.approx(found[3], abs=1e-12)  # symmetry of duplicates


def test_banzhaf_is_two_efficient():
    """Two points merged into one are worth what they were worth apart; so for Banzhaf, not for Shapley."""
    table = games.random_game(rng(3), N)
    merged = table[np.concatenate([np.arange(1 << (N - 2)), np.arange(1 << (N - 2)) | 3 << (N - 2)])]
    assert dv.banzhaf(merged)[-1] == pytest.approx(dv.banzhaf(table)[-2:].sum(), abs=1e-12)
    assert abs(dv.shapley(merged)[-1] - dv.shapley(table)[-2:].sum()) > 1e-3


@each_semivalue
def test_least_squares_with_its_kernel_tells_points_apart_as_the_semivalue_does(sizes):
    table = games.random_game(rng(4), N)
    subsets = games.members(N)
    weights = dv.least_squares_kernel(sizes)[subsets.sum(1)]
    if np.count_nonzero(weights) <= N + 1:
        fit = dv.fit_affine(subsets, table, weights, ridge=0)  # leave-one-out: N + 1 sets, an exact fit
    else:
        fit = dv.fit_affine(subsets, table, weights, ridge=1e-12)
    values = dv.semivalue(table, sizes)
    found = np.asarray(fit.coefficients, np.float64)
    np.testing.assert_allclose(found - found.mean(), values - values.mean(), atol=1e-5)


def test_constrained_least_squares_with_charnes_kernel_is_shapley():
    table = games.random_game(rng(5), N)
    subsets = games.members(N)
    s = subsets.sum(1)
    inner = (s > 0) & (s < N)
    weights = 1 / (special.binom(N, s[inner]) * s[inner] * (N - s[inner]))
    fit = dv.fit_affine(subsets[inner], table[inner], weights, ridge=0, ends=(table[0], table[-1]))
    np.testing.assert_allclose(fit.coefficients, dv.shapley(table), atol=1e-5)
    ratio = dv.least_squares_kernel(dv.shapley_sizes(N))[s[inner]] / weights
    np.testing.assert_allclose(ratio, ratio[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dv.shapley(np.zeros(6)), r"2\^N values"),
        (lambda: dv.shapley([0.0, np.nan]), "subset 1 is nan"),
        (lambda: dv.semivalue(np.zeros(8), [0.5, 0.4]), "sum to 1"),
        (lambda: dv.semivalue(np.zeros(8), [0.5, 0.5]), "3 points and sizes of 2"),
        (lambda: dv.beta_sizes(4, 0, 1), "must be positive"),
        (lambda: dv.banzhaf_sizes(4, 1.0), "strictly between"),
        (lambda: dv.shapley_sizes(0), "at least 1 point"),
    ],
)
def test_refuses_what_is_no_game(call, message):
    with pytest.raises(ValueError, match=message):
        call()
