"""Intervals against closed forms, scipy, and their own coverage."""

import numpy as np
import pytest
from scipy import stats as reference

from jaxrl_suite.core import stats

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 10, 101])
def test_iqm_is_the_trimmed_mean(size):
    x = RNG.normal(size=size)
    assert stats.iqm(x) == pytest.approx(reference.trim_mean(x, 0.25))


def test_iqm_pools_runs_and_tasks_and_batches():
    x = RNG.normal(size=(3, 7, 4))
    expected = [reference.trim_mean(row.ravel(), 0.25) for row in x]
    np.testing.assert_allclose(stats.iqm(x), expected)


def test_mean_interval_is_students():
    x = RNG.normal(size=9)
    low, high = reference.t.interval(0.9, 8, loc=x.mean(), scale=reference.sem(x))
    assert stats.mean_interval(x, level=0.9) == pytest.approx((x.mean(), low, high))


@pytest.mark.parametrize(("wins", "games"), [(0, 10), (3, 10), (10, 10), (480, 1000)])
def test_wilson_is_scipys(wins, games):
    expected = reference.binomtest(wins, games).proportion_ci(0.95, method="wilson")
    assert stats.wilson(wins, games) == pytest.approx((wins / games, expected.low, expected.high))


def test_bootstrap_of_a_mean_has_the_exact_spread():
    x = RNG.normal(size=(40, 3)) * [1.0, 2.0, 5.0]
    interval = stats.bootstrap_interval(x, stats.mean, resamples=20000)
    spread = np.sqrt(np.sum(np.var(x, axis=0)) / 40) / 3  # of the mean over tasks, resampled within each task
    assert interval.estimate == pytest.approx(x.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * spread, rel=0.05)


def test_bootstrap_is_stratified():
    x = np.tile([0.0, 100.0], (5, 1))  # tasks differ, runs do not
    assert stats.bootstrap_interval(x, stats.mean) == (50.0, 50.0, 50.0)


def test_bootstrap_covers():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        interval = stats.bootstrap_interval(rng.normal(size=30), stats.mean, resamples=400, seed=trial)
        hits += interval.low <= 0 <= interval.high
    assert 175 <= hits <= 198  # aimed at 190


def test_same_seed_same_interval_however_it_is_split(monkeypatch):
    x = RNG.normal(size=(10, 3))
    whole = stats.bootstrap_interval(x, seed=3)
    assert whole == stats.bootstrap_interval(x, seed=3)
    assert whole != stats.bootstrap_interval(x, seed=4)
    monkeypatch.setattr(stats, "_BUDGET", 300)
    assert whole == stats.bootstrap_interval(x, seed=3)


def test_pairing_removes_shared_noise():
    luck = RNG.normal(size=200) * 10
    treatment, control = luck + 0.5 + RNG.normal(size=200) * 0.1, luck
    paired = stats.paired_bootstrap(treatment, control)
    assert paired.low > 0.4
    assert paired.high < 0.6
    with pytest.raises(ValueError, match="same shape"):
        stats.paired_bootstrap(treatment, control[:5])


def test_probability_of_improvement():
    x, y = RNG.normal(size=25), RNG.normal(size=30)
    u = reference.mannwhitneyu(x, y).statistic
    interval = stats.probability_of_improvement(x, y)
    assert interval.estimate == pytest.approx(u / (25 * 30))
    assert interval.low < interval.estimate < interval.high
    assert stats.probability_of_improvement([1, 1], [1, 1]).estimate == 0.5
    assert stats.probability_of_improvement([2, 3], [0, 1]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.bootstrap_interval([1.0]),
        lambda: stats.bootstrap_interval([1.0, np.nan]),
        lambda: stats.bootstrap_interval([1.0, 2.0], level=1.5),
        lambda: stats.wilson(3, 2),
        lambda: stats.wilson(0, 0),
        lambda: stats.probability_of_improvement(np.zeros((2, 2)), np.zeros((2, 3))),
    ],
)
def test_refuses_what_has_no_interval(call):
    with pytest.raises(ValueError, match=r"at least|finite|between|same tasks|0 to trials"):
        call()
