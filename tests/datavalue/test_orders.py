"""Orders: the exact dynamic program against brute force and as a bound on every other order, curves, the guarantee."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures import set_games as games

from jaxrl_suite import datavalue as dv
from jaxrl_suite.datavalue import curvature
from jaxrl_suite.tabular import classifiers
from jaxrl_suite.tabular import datasets as tabular_data


def as_utility(table):
    return dv.TableUtility(jnp.asarray(table, jnp.float32))


@pytest.mark.parametrize("n", [1, 2, 4, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_dynamic_program_is_the_best_of_all_permutations(n, seed):
    table = games.random_game(np.random.default_rng(seed), n)
    solution = dv.solve_order(table)
    assert solution.ausc == pytest.approx(games.best_by_permutations(table), abs=1e-12)
    assert dv.table_curve(table, solution.order).mean() == pytest.approx(solution.ausc, abs=1e-12)
    assert solution.value[0] / n == pytest.approx(solution.ausc)
    assert solution.value[-1] == 0


def test_values_satisfy_bellmans_equation():
    n = 8
    table = games.random_game(np.random.default_rng(2), n)
    value = dv.solve_order(table).value
    for state in range((1 << n) - 1):
        after = [state | 1 << a for a in range(n) if not state >> a & 1]
        assert value[state] == pytest.approx(max(table[s] + value[s] for s in after), abs=1e-12)


def test_additive_games_are_sorted_by_every_method():
    weights = np.random.default_rng(3).permutation(8) + 1.0
    table = games.additive(weights)
    best = np.argsort(-weights)
    np.testing.assert_array_equal(dv.solve_order(table).order, best)
    np.testing.assert_array_equal(dv.greedy_order(as_utility(table), 8).order, best)
    for values in (dv.shapley(table), dv.banzhaf(table), dv.leave_one_out(table), dv.beta_shapley(table, 16, 1)):
        np.testing.assert_array_equal(dv.rank_order(values), best)
    assert curvature.curvature(table) == pytest.approx(0, abs=1e-12)


def orders_of(table, n, draw):
    """Every method that gives an order, from the same table."""
    utility = as_utility(table)
    shapley = dv.shapley(table)
    subsets = games.members(n)
    network = dv.fit_network(jax.random.key(0), subsets, np.clip(table / table.max(), 0, 1), steps=200)
    yield "greedy", dv.greedy_order(utility, n).order
    for width in (2, 8):
        yield f"beam {width}", dv.beam_order(utility, n, width).order
    yield "rollout", dv.rollout_order(utility, dv.rank_order(shapley)).order
    yield "network", dv.greedy_order(network, n).order
    for name, values in (
        ("shapley", shapley),
        ("banzhaf", dv.banzhaf(table)),
        ("beta", dv.beta_shapley(table, 16, 1)),
        ("leave one out", dv.leave_one_out(table)),
    ):
        yield name, dv.rank_order(values)
    yield "random", draw.permutation(n)


@functools.cache
def model_table(name):
    """All 2^9 accuracies of a kernel ridge classifier on a table."""
    split = tabular_data.split_table(tabular_data.load_table(name), (9, 60, 60), 1, scale="pool")
    return dv.utility_table(dv.model_utility(split, classifiers.KernelRidgeClassifier()), 9)


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "wine", "2dplanes", "fried", "random", "coverage"])
def test_no_order_beats_the_dynamic_program(name):
    draw = np.random.default_rng(4)
    if name in tabular_data.TABLES:
        table = model_table(name if name != "digits" else "iris")
    else:
        table = games.random_game(draw, 9) if name == "random" else games.coverage(draw, 9)
    solution = dv.solve_order(table)
    found = {method: dv.table_curve(table, order).mean() for method, order in orders_of(table, 9, draw)}
    assert solution.ausc >= max(found.values()) - 1e-6, found
    assert found["rollout"] >= found["shapley"] - 1e-6  # rollout never does worse than its base


def test_a_wide_enough_beam_is_exact_and_its_curve_is_its_own():
    table = games.random_game(np.random.default_rng(5), 8)
    beam = dv.beam_order(as_utility(table), 8, 70)  # the largest layer has 70 sets
    assert beam.curve.mean() == pytest.approx(dv.solve_order(table).ausc, abs=1e-6)
    np.testing.assert_allclose(beam.curve, dv.table_curve(table, beam.order), atol=1e-6)
    assert beam.fits == 255  # each set but the empty one once
    greedy = dv.greedy_order(as_utility(table), 8)
    assert greedy.fits == 8 * 9 / 2
    state, expected = 0, []
    for _ in range(8):
        expected.append(max((i for i in range(8) if not state >> i & 1), key=lambda i: table[state | 1 << i]))
        state |= 1 << expected[-1]
    np.testing.assert_array_equal(greedy.order, expected)


def test_curves_add_and_remove_points():
    table = games.random_game(np.random.default_rng(6), 5)
    order = np.array([3, 0, 4, 1, 2])
    utility = as_utility(table)
    np.testing.assert_allclose(dv.addition_curve(utility, order), dv.table_curve(table, order), atol=1e-6)
    left = [31, 31 - 8, 31 - 8 - 1, 31 - 8 - 1 - 16, 4]
    np.testing.assert_allclose(dv.removal_curve(utility, order), table[left], atol=1e-6)
    np.testing.assert_array_equal(dv.optimal_values(order), [3, 1, 0, 4, 2])
    np.testing.assert_array_equal(dv.rank_order(dv.optimal_values(order)), order)
    assert dv.points_to_reach([0.1, 0.5, 0.4], 0.5) == 2
    assert dv.points_to_reach([0.1, 0.5, 0.4], 0.6) == 4
    assert dv.weighted_drop([1.0, 0.5, 0.25]) == pytest.approx(0.5 + 0.75 / 2)


def test_the_curvature_bound_holds_on_300_coverage_games():
    draw = np.random.default_rng(8)
    slack, cover, factors = [], [], []
    for _ in range(300):
        table = games.coverage(draw, 8, share=draw.uniform(0.0, 0.2), own=draw.choice([0.0, 2.0, 10.0]))
        report = curvature.report(table)
        factors.append((1 - report.curvature) ** 2)
        assert report.normalised
        assert report.decreasing == report.supermodular == 0
        for values in (dv.shapley(table), dv.banzhaf(table)):
            slack.append(dv.bound_slack(table, dv.rank_order(values)).min())
        greedy = dv.greedy_order(as_utility(table), 8).curve if len(cover) < 40 else None
        if greedy is not None:
            cover.append(np.min(greedy / dv.best_by_size(table)))
    assert min(slack) >= -1e-12
    assert np.mean(np.array(factors) > 0.01) > 0.2  # elsewhere the bound says little
    assert min(cover) >= 1 - 1 / np.e - 1e-6


def test_the_bound_is_not_vacuous():
    """It fails where its assumptions do: two points that are worth something only together."""
    table = games.additive([0.1, 0.1, 0.15]) + (games.members(3)[:, :2].all(axis=1)) * 1.0
    report = curvature.report(table)
    assert report.supermodular > 0
    assert report.worst_gain == pytest.approx(1.0)
    lone = games.additive([0.5, 0.4, 0.3])
    assert dv.bound_slack(lone, [2, 1, 0]).min() < 0  # a ranking that is not by value


def test_curvature_and_best_sets_of_a_small_game():
    table = np.array([0.0, 1.0, 2.0, 2.5])  # points worth 1 and 2 alone, .5 and 1.5 last
    assert curvature.curvature(table) == pytest.approx(0.5)
    np.testing.assert_array_equal(dv.best_by_size(table), [2.0, 2.5])
    assert np.isnan(curvature.curvature(np.zeros(4)))
    falling = curvature.report(np.array([0.0, 1.0, 1.0, 0.5]))
    assert falling.decreasing == 0.5


def test_detection_and_stability_of_known_cases():
    flipped = np.array([True, False, True, False])
    assert dv.detect([0.1, 0.5, 0.2, 0.3], flipped) == (1.0, 1.0)
    assert dv.detect([0.0] * 4, flipped).auc == 0.5
    noisy = dv.flip_labels(np.zeros(50, int), 0.2, 3, seed=0)
    assert noisy.flipped.sum() == 10
    assert set(noisy.labels[noisy.flipped]) <= {1, 2}
    assert not noisy.labels[~noisy.flipped].any()
    assert dv.rank_stability([[1, 2, 3], [10, 20, 30], [3, 2, 1]]) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dv.solve_order(np.zeros(3)), r"2\^N"),
        (lambda: dv.table_curve(np.zeros(8), [0, 1, 1]), "exactly once"),
        (lambda: dv.table_curve(np.zeros(8), [0, 1]), "3 points and the order of 2"),
        (lambda: dv.rank_order([np.nan, 1.0]), "finite"),
        (lambda: dv.beam_order(as_utility(np.zeros(8)), 3, 0), "width"),
        (lambda: dv.detect([1.0, np.nan], [True, False]), "value of point 1 is nan"),
        (lambda: dv.detect([1.0, 2.0], [True, True]), "right and with wrong labels"),
        (lambda: dv.flip_labels([0, 1], 2.0, 2, 0), "share"),
        (lambda: dv.rank_stability([[1.0]]), "two runs"),
    ],
)
def test_refuses_what_is_no_order(call, message):
    with pytest.raises(ValueError, match=message):
        call()
