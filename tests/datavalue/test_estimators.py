"""Streaming estimates against exact values: unbiased, honest intervals, and the variance that a design promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures import set_games as games

from jaxrl_suite import datavalue as dv
from jaxrl_suite.core import devices
from jaxrl_suite.tabular import classifiers
from jaxrl_suite.tabular import datasets as tabular_data

N = 6
TABLE = games.coverage(np.random.default_rng(7), N) + 0.3 * games.random_game(np.random.default_rng(8), N)
GAME = dv.TableUtility(jnp.asarray(TABLE, jnp.float32))
BETA = tuple(dv.beta_sizes(N, 4, 1).tolist())
CASES = {
    "plain": (dv.Permutations(samples=64), dv.shapley(TABLE), 30),
    "antithetic": (dv.Permutations(design="antithetic", samples=32), dv.shapley(TABLE), 30),
    "stratified": (dv.Permutations(design="stratified", shifts=3, samples=32), dv.shapley(TABLE), 30),
    "beta": (dv.Permutations(BETA, samples=64), dv.semivalue(TABLE, BETA), 30),
    "banzhaf": (dv.BanzhafReuse(samples=512), dv.banzhaf(TABLE), 20),
    "weighted banzhaf": (dv.BanzhafReuse(0.7, samples=512), dv.semivalue(TABLE, dv.banzhaf_sizes(N, 0.7)), 20),
    "ame": (dv.AverageMarginalEffect(samples=512), None, 20),
}


def average_marginal_effect():
    probabilities = (0.2, 0.4, 0.6, 0.8)
    return np.mean([dv.semivalue(TABLE, dv.banzhaf_sizes(N, p)) for p in probabilities], axis=0)


def run(estimator, updates, seed=0, game=GAME, n=N):
    state = estimator.init(n)
    for step in range(updates):
        state = estimator.update(state, jax.random.fold_in(jax.random.key(seed), step), game)
    return estimator.estimate(state)


@pytest.mark.parametrize("name", CASES)
def test_estimates_lie_within_four_deviations_and_intervals_cover(name):
    estimator, exact, updates = CASES[name]
    exact = average_marginal_effect() if exact is None else exact
    covered = 0
    for seed in range(6):
        found = run(estimator, updates, seed)
        sigma = (found.high - found.low) / 2 / 1.96
        assert np.all(np.abs(found.values - exact) < 4 * sigma + 1e-6)
        covered += np.sum((found.low <= exact) & (exact <= found.high))
    assert covered >= 0.8 * 6 * N  # 95 % is aimed at
    assert np.all(sigma < 0.2)


def test_antithetic_and_stratified_samples_spread_less_at_equal_fits():
    """In a submodular game early and late positions differ most, which is what both designs balance."""
    game = dv.TableUtility(jnp.asarray(games.coverage(np.random.default_rng(1), N, share=0.5), jnp.float32))
    plain = run(dv.Permutations(samples=60), 12, game=game)
    antithetic = run(dv.Permutations(design="antithetic", samples=30), 12, game=game)
    stratified = run(dv.Permutations(design="stratified", samples=10), 12, game=game)
    width = [np.mean((e.high - e.low) ** 2) for e in (plain, antithetic, stratified)]
    assert plain.fits == antithetic.fits == stratified.fits
    assert width[1] < width[0]
    assert width[2] < width[0]


def test_every_point_stands_once_in_every_position_of_a_stratified_sample():
    orders = dv.Permutations(design="stratified", samples=2).draw(jax.random.key(0), 5)
    assert orders.shape == (2, 5, 5)
    for sample in orders:
        np.testing.assert_array_equal(np.sort(sample, axis=0), np.arange(5)[:, None].repeat(5, 1))
        np.testing.assert_array_equal(np.sort(sample, axis=1), np.arange(5)[None].repeat(5, 0))


def test_truncation_saves_fits_and_without_tolerance_changes_nothing():
    n = 20
    saturating = lambda masks: jnp.minimum(jnp.sum(masks, axis=1) / 6, 1.0)  # noqa: E731
    plain = run(dv.Permutations(), 3, game=saturating, n=n)
    same = run(dv.Permutations(tolerance=1e-30), 3, game=lambda masks: jnp.sum(masks, axis=1) / 20, n=n)
    np.testing.assert_allclose(same.values, 1 / n, atol=1e-6)
    cut = run(dv.Permutations(tolerance=0.01), 3, game=saturating, n=n)
    np.testing.assert_allclose(cut.values, plain.values, atol=1e-6)  # what is cut here is worth nothing
    assert cut.fits < 0.5 * plain.fits
    coarse = run(dv.Permutations(tolerance=0.5), 3, game=saturating, n=n)
    assert coarse.values.sum() < 0.9  # and here something is


def test_a_cut_permutation_keeps_the_utility_where_it_was_cut():
    estimator = dv.Permutations(tolerance=0.35, samples=1)
    found = run(estimator, 1, game=lambda masks: jnp.sum(masks, axis=1) / 10, n=10)
    # prefixes of 7 points are worth .7, the first within .35 of 1: seven gains of .1, then nothing
    np.testing.assert_allclose(np.sort(found.values), [0] * 3 + [0.1] * 7, atol=1e-6)


def test_additive_games_are_known_after_one_permutation():
    weights = np.random.default_rng(0).normal(size=N)
    game = dv.TableUtility(jnp.asarray(games.additive(weights), jnp.float32))
    np.testing.assert_allclose(run(dv.Permutations(samples=2), 1, game=game).values, weights, atol=1e-5)


def test_the_lasso_finds_the_few_points_that_matter():
    n = 40
    weights = np.zeros(n)
    weights[[3, 17]] = 0.4, -0.3
    game = lambda masks: jnp.sum(masks * jnp.asarray(weights, jnp.float32)[None], axis=1)  # noqa: E731
    found = run(dv.AverageMarginalEffect(penalty=0.2, samples=64), 4, game=game, n=n)
    assert set(np.flatnonzero(found.values)) == {3, 17}
    assert found.values[3] > 0 > found.values[17]


def test_updates_of_any_size_accumulate_to_the_same_moments():
    from jaxrl_suite.datavalue import streaming

    samples = np.random.default_rng(0).normal(size=(50, 3)) + 100
    where = np.random.default_rng(1).uniform(size=(50, 3)) < 0.7
    state = streaming.no_moments(3)
    for start, end in ((0, 1), (1, 20), (20, 50)):
        state = streaming.add_samples(state, samples[start:end], where[start:end])
    expected = [samples[where[:, i], i] for i in range(3)]
    np.testing.assert_allclose(state.mean, [e.mean() for e in expected])
    np.testing.assert_allclose(state.variance_of_mean(), [e.var(ddof=1) / len(e) for e in expected])


def test_stopping_rules():
    key = jax.random.key(0)
    estimator = dv.Permutations(samples=16)
    assert dv.estimate_values(estimator, GAME, N, key, dv.MaxFits(500)).fits >= 500
    narrow = dv.estimate_values(estimator, GAME, N, key, dv.HalfWidth(0.05))
    assert np.max(narrow.high - narrow.low) <= 0.1
    stable = dv.estimate_values(estimator, GAME, N, key, dv.StableRanks(0.9, back=3), dv.MaxFits(10**6))
    assert stable.fits < 10**6
    with pytest.raises(ValueError, match="rule for when to stop"):
        dv.estimate_values(estimator, GAME, N, key)
    with pytest.raises(ValueError, match="no rule stopped"):
        dv.estimate_values(estimator, GAME, N, key, dv.HalfWidth(0.0), max_updates=2)


@functools.cache
def noisy():
    table = tabular_data.load_table("breast_cancer")
    split = tabular_data.split_table(table, (80, 100, 100), 0)
    flipped = dv.flip_labels(split.y, 0.15, 2, seed=1)
    return split._replace(y=flipped.labels), flipped.flipped


def test_estimates_do_not_depend_on_the_devices():
    split, _ = noisy()
    utility, mesh = dv.neighbour_utility(split), devices.mesh(2)
    for make in (
        lambda mesh: dv.Permutations(samples=2, batch=64, mesh=mesh),
        lambda mesh: dv.BanzhafReuse(samples=32, mesh=mesh),
    ):
        one, two = (run(make(m), 2, game=utility, n=80) for m in (None, mesh))
        np.testing.assert_allclose(one.values, two.values, atol=1e-6)


def test_wrong_labels_have_low_values():
    split, flipped = noisy()
    utility = dv.model_utility(split, classifiers.Ridge())
    for estimator, updates, least in (
        (dv.DataOOB(), 4, 0.85),
        (dv.Permutations(samples=8), 6, 0.75),
        (dv.BanzhafReuse(), 8, 0.6),
    ):
        values = run(estimator, updates, game=utility, n=80).values
        assert dv.detect(values, flipped).auc > least, estimator
    assert dv.detect(dv.knn_shapley(dv.neighbour_utility(split)), flipped).auc > 0.85


def test_data_oob_is_the_share_of_models_without_the_point_that_are_right():
    """A majority of two against one: whichever bag leaves a point out decides what is said of it."""
    split = tabular_data.Split(
        np.array([[0.0], [0.1], [5.0]], np.float32), np.array([0, 0, 1], np.int32),
        np.zeros((1, 1), np.float32), np.zeros(1, np.int32), np.zeros((1, 1), np.float32), np.zeros(1, np.int32),
        2, np.arange(3),
    )  # fmt: skip
    utility = dv.model_utility(split, classifiers.Neighbours(1))
    found = run(dv.DataOOB(samples=500), 4, game=utility, n=3)
    # without point 2 all bags say 0, which is wrong for it; without point 0 it is right if point 1 is in the bag
    assert found.values[2] == 0
    # bags of 3 from {1, 2}: point 1 is missing in 1 of 8
    assert found.values[0] == pytest.approx(7 / 8, abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dv.Permutations(design="latin"), "design"),
        (lambda: dv.Permutations(tolerance=-1), "tolerance"),
        (lambda: dv.Permutations((0.5, 0.5)).init(3), "2 entries for 3 points"),
        (lambda: dv.BanzhafReuse(0.0), "probability"),
        (lambda: dv.AverageMarginalEffect((0.0, 0.5)), "probabilities"),
        (lambda: dv.AverageMarginalEffect(penalty=-1), "penalty"),
        (lambda: dv.DataOOB(0), "samples"),
        (lambda: run(dv.DataOOB(), 1), "ModelUtility"),
    ],
)
def test_refuses_estimators_that_make_no_sense(call, message):
    with pytest.raises(ValueError, match=message):
        call()
