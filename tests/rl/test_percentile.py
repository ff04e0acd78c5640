"""Percentile cloning: easy starts fool a ranking by return, not one that is normalised by the start."""

import jax
import numpy as np
import pytest

from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.datasets import offline, percentile


def make(starts, rewards, *, finished=True):
    """Episodes of 4 steps: `starts` float[E], rewards float[E, 4]; the start stays in the observation."""
    count = len(starts)
    last = np.tile(np.arange(4) == 3, count)
    last[-1] = finished
    return offline.make_data(
        dict(
            observations=np.stack([np.repeat(starts, 4), np.tile(np.arange(4.0), count)], axis=1),
            actions=np.zeros((4 * count, 1)),
            rewards=np.ravel(rewards),
            timeouts=last,
        ),
        unfinished="keep",
    )


def easy_and_hard(episodes=200, seed=0):
    """The return is 100 |start| for how easy the start was, plus -10 to 10 for how well it was played."""
    rng = np.random.default_rng(seed)
    starts, skill = rng.uniform(-1, 1, episodes), rng.uniform(-10, 10, episodes)
    returns = 100 * np.abs(starts) + skill  # no line in the start explains it
    return make(starts, np.repeat(returns[:, None] / 4, 4, axis=1)), starts, skill


def chosen_episodes(data, rows):
    numbers = np.repeat(np.arange(len(ep.episodes(data).starts)), ep.episodes(data).lengths)
    return np.unique(numbers[rows])


def test_the_normalised_ranking_picks_skill_where_the_raw_one_picks_easy_starts():
    data, starts, skill = easy_and_hard()
    raw = chosen_episodes(data, percentile.percentile_rows(data, 0.1))
    fair = chosen_episodes(data, percentile.percentile_rows(data, 0.1, by="start_normalised"))
    assert len(raw) == len(fair) == 20
    assert np.abs(starts[raw]).min() > 0.85  # nothing but the easiest starts
    assert skill[raw].mean() < 5
    assert skill[fair].mean() > 7.5
    assert np.abs(starts[fair]).min() < 0.3
    scores = percentile.episode_scores(data, by="start_normalised")
    assert np.corrcoef(scores, skill)[0, 1] > 0.9
    assert np.corrcoef(percentile.episode_scores(data), skill)[0, 1] < 0.3


def test_start_normalised_is_the_mean_of_the_nearest_others_by_hand(monkeypatch):
    starts, returns = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([1.0, 2.0, 4.0, 8.0])
    expected = [1 - (2 + 4) / 2, 2 - (1 + 4) / 2, 4 - (2 + 1) / 2, 8 - (4 + 2) / 2]
    np.testing.assert_allclose(percentile.start_normalised(starts, returns, neighbours=2), expected)
    everyone = percentile.start_normalised(starts, returns, neighbours=99)
    np.testing.assert_allclose(everyone, [r - (15 - r) / 3 for r in returns])
    without = percentile.start_normalised(starts, returns, np.array([True, True, True, False]), neighbours=1)
    np.testing.assert_allclose(without, [-1, 1, 2, 4])  # the last is compared with others, no other with it
    rng = np.random.default_rng(0)
    many, scattered = rng.normal(size=(30, 2)), rng.normal(size=30)
    whole = percentile.start_normalised(many, scattered)
    monkeypatch.setattr(percentile, "_BLOCK", 7)
    np.testing.assert_array_equal(percentile.start_normalised(many, scattered), whole)
    with pytest.raises(ValueError, match="needs 2 finished ones"):
        percentile.start_normalised(starts[:1], returns[:1])


def test_raw_and_discounted_returns_rank_differently():
    early, late = [4, 0, 0, 0], [0, 0, 0, 5]
    data = make(np.zeros(2), np.array([early, late]))
    assert percentile.percentile_rows(data, 0.5).tolist() == [4, 5, 6, 7]
    assert percentile.percentile_rows(data, 0.5, by="discounted", discount=0.5).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(percentile.episode_scores(data, by="discounted", discount=0.5), [4, 5 / 8])


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 0.4, 1.0])
def test_the_fraction_of_episodes_is_kept_and_rows_stay_in_order(fraction):
    data, _, _ = easy_and_hard(50)
    for by in percentile.RANKINGS:
        rows = percentile.percentile_rows(data, fraction, by=by)
        assert len(rows) == 4 * max(1, round(50 * fraction))
        assert np.all(np.diff(rows) > 0)


def test_an_unfinished_episode_is_never_kept():
    rewards = np.array([[0.0] * 4, [1.0] * 4, [9.0] * 4])
    data = make(np.arange(3.0), rewards, finished=False)
    for by in percentile.RANKINGS:
        assert percentile.percentile_rows(data, 1.0, by=by).tolist() == list(range(8))


def test_refuses_what_cannot_be_ranked():
    data, _, _ = easy_and_hard(4)
    for fraction in (0.0, 1.5):
        with pytest.raises(ValueError, match="fraction must lie in"):
            percentile.percentile_rows(data, fraction)
    with pytest.raises(ValueError, match="by must be one of raw, discounted"):
        percentile.percentile_rows(data, 0.5, by="best")
    with pytest.raises(ValueError, match="discount must lie"):
        percentile.percentile_rows(data, 0.5, by="discounted", discount=2.0)
    train, _ = ep.split_episodes(data, jax.random.key(0))
    assert len(percentile.percentile_rows(train, 1.0)) == len(train)
