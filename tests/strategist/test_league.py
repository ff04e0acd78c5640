"""Leagues, races and ratings against closed forms, plain counting and simulation."""

import numpy as np
import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.strategist.judge import league

LEVELS = np.array([0.0, 1.0, 3.0, -2.0, 0.5])


def additive(noise=0.0, seed=0):
    """Rewards are differences of levels, an advantage of seat 0, and noise of the deal and of the pair."""
    asked = []

    def play(first, second, deal):
        asked.append((first, second, deal))
        rng = np.random.default_rng(seed)
        deck = rng.normal(size=(64,)) * 5
        wobble = noise * np.random.default_rng(seed + len(asked)).normal(size=len(first))
        return LEVELS[first] - LEVELS[second] + 0.7 + deck[deal] + wobble

    return play, asked


def test_round_robin_cancels_seats_and_decks():
    play, asked = additive()
    result = league.round_robin(play, 5, 8)
    expected = LEVELS[:, None] - LEVELS[None]
    np.testing.assert_allclose(result.payoff, np.broadcast_to(expected[..., None], (5, 5, 8)), atol=1e-12)
    np.testing.assert_allclose(result.payoff, -result.payoff.transpose(1, 0, 2))
    np.testing.assert_allclose(result.scores, expected.sum(1) / 4)
    np.testing.assert_array_equal(result.games, 2 * 4 * 8)
    assert sum(len(first) for first, _, _ in asked) == 5 * 4 * 8


def test_a_fixed_opponent_is_met_by_all_and_nobody_else_meets():
    play, asked = additive()
    result = league.versus(play, 5, 8)
    np.testing.assert_allclose(result.scores[:4], LEVELS[:4] - LEVELS[4])
    np.testing.assert_array_equal(result.games, [16, 16, 16, 16, 64])
    assert result.improvement(2, 1).estimate == pytest.approx(2.0)
    assert sum(len(first) for first, _, _ in asked) == 4 * 16


def test_improvement_counts_the_same_opponents_on_the_same_deals():
    """Of five in a league, both met the other three, and each other: (3 x 2 + 4) / 4."""
    play, _ = additive()
    result = league.round_robin(play, 5, 8)
    interval = result.improvement(2, 1)
    assert interval.estimate == pytest.approx((3 * 2 + 2 * 2) / 4)
    assert interval.high - interval.low < 1e-9
    assert result.improvement(1, 2).estimate == pytest.approx(-interval.estimate)


def test_pairing_by_deals_narrows_the_interval():
    """On some decks all is worth more: two that are both ahead have a lead with it, their difference less."""
    stakes = 1 + np.random.default_rng(0).exponential(size=64)

    def play(first, second, deal):
        return stakes[deal] * (LEVELS[first] - LEVELS[second])

    result = league.round_robin(play, 5, 64)
    paired = result.paired(2, 1)
    order = np.random.default_rng(1).permutation(64)
    assert np.std(paired) < 0.85 * np.std(result.by_deal(2) - result.by_deal(1)[order])
    np.testing.assert_allclose(paired, result.by_deal(2) - result.by_deal(1))


def test_win_rates_of_a_pair_add_up_to_one():
    def play(first, second, deal):
        return np.where(first < second, 1.0, 0.25)

    result = league.round_robin(play, 3, 4, zero_sum=False)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose((result.payoff + result.payoff.transpose(1, 0, 2))[off], 1.0)
    np.testing.assert_allclose(result.payoff[0, 1], (1.0 + 0.75) / 2)


def test_a_race_spends_its_games_on_the_best():
    play, asked = additive(noise=1.0)
    result = league.race(play, 5, 32, first_deals=4, always=(3,))
    assert int(np.argmax(result.scores)) == 2
    assert result.games[2] == 2 * 4 * 32
    assert result.games[3] == 2 * 4 * 32  # goes on whatever it does
    assert (result.games < 2 * 4 * 32).sum() >= 2
    np.testing.assert_allclose(result.scores, (LEVELS[:, None] - LEVELS[None]).sum(1) / 4, atol=1.0)
    assert sum(len(first) for first, _, _ in asked) < 5 * 4 * 32


def test_halving_finds_the_best_arm_more_often_than_equal_shares():
    """Eight arms, the best ahead by 0.5 standard deviations, 320 pulls; 400 repetitions."""
    means = np.array([0.5, 0.0, 0.0, 0.0, -0.5, -0.5, -1.0, -1.0])
    found, even = 0, 0
    for seed in range(400):
        rng = np.random.default_rng(seed)

        def pull(arms, count, rng=rng):
            return means[arms][:, None] + 1.5 * rng.normal(size=(len(arms), count))

        order = rng.permutation(8)
        best = league.successive_halving(lambda arms, count, order=order: pull(order[arms], count), 8, 320)
        found += int(order[best] == 0)
        even += int(np.argmax(pull(np.arange(8), 40).mean(1)) == 0)
    assert found > even + 10
    assert found / 400 > 0.9


def test_two_players_have_the_ratings_of_the_closed_form():
    """Strengths p and 1 - p: the log-odds are those of the wins."""
    strength = league.bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]), prior=0.0)
    assert strength[0] - strength[1] == pytest.approx(np.log(3), abs=1e-6)
    assert strength.sum() == pytest.approx(0, abs=1e-9)
    tied = league.bradley_terry(np.array([[0.0, 1000.0], [0.0, 0.0]]))
    assert tied[0] - tied[1] == pytest.approx(np.log(1000.5 / 0.5), rel=1e-5)


def test_ratings_maximise_the_likelihood():
    """No step away from the fit makes the results more likely: in plain numpy."""
    rng = np.random.default_rng(3)
    wins = rng.integers(1, 30, (6, 6)).astype(float)
    np.fill_diagonal(wins, 0)

    def likelihood(theta):
        return float(np.sum(wins * -np.log1p(np.exp(theta[None] - theta[:, None]))))

    fit = league.bradley_terry(wins, prior=0.0)
    for _ in range(50):
        assert likelihood(fit + 0.05 * rng.normal(size=6)) < likelihood(fit)


def test_ratings_recover_known_ones():
    truth = np.array([0.0, 100.0, 250.0, -350.0])
    chance = 1 / (1 + 10 ** ((truth[None] - truth[:, None]) / 400))
    rng = np.random.default_rng(0)
    payoff = np.zeros((4, 4, 800))
    for i in range(4):
        for j in range(i + 1, 4):
            payoff[i, j] = np.where(rng.random(800) < chance[i, j], 1.0, -1.0)
            payoff[j, i] = -payoff[i, j]
    played = np.broadcast_to(~np.eye(4, dtype=bool)[..., None], payoff.shape)
    ratings = league.elo(league.League(payoff, played), resamples=100)
    np.testing.assert_array_equal([one.estimate for one in ratings], league.ratings(league.League(payoff, played)))
    for interval, true in zip(ratings, truth, strict=True):
        assert interval.low - 10 < true < interval.high + 10
        assert abs(interval.estimate - true) < 40
        assert 5 < interval.high - interval.low < 80


@pytest.mark.parametrize(
    "call",
    [
        lambda: league.round_robin(additive()[0], 1, 4),
        lambda: league.race(additive()[0], 5, 4, first_deals=5),
        lambda: league.successive_halving(lambda arms, count: np.zeros((len(arms), count)), 8, 10),
        lambda: league.bradley_terry(np.full((2, 3), 1.0)),
        lambda: league.bradley_terry(np.array([[0.0, -1.0], [2.0, 0.0]])),
    ],
)
def test_refuses_what_makes_no_sense(call):
    with pytest.raises(UserError):
        call()
