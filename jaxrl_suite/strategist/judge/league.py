"""Leagues: round robins with seat swaps on common random numbers, racing, and ratings.

All pairs play the same deals, once in each seat; so differences between strategies are paired, deal by deal. All of it
is plain numpy on the host; the games themselves are a function that is handed in.

Shapes: `K` strategies, `G` deals, `R` games.

References: Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013 (successive
halving); Hunter, "MM algorithms for generalized Bradley-Terry models", Annals of Statistics 32 (2004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxrl_suite.core import stats
from jaxrl_suite.core.stats import Interval
from jaxrl_suite.errors import UserError

# `(first int[R], second int[R], deal int[R]) -> float[R]`: the reward of `first` in seat 0 against `second` in seat 1
# on a deal; in Avalon `first` plays the good side.
PlayRows = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

ELO = 400 / np.log(10)  # Elo points per unit of log-odds


class League(NamedTuple):
    """A round robin."""

    payoff: np.ndarray  # float[K, K, G], row's mean reward against column on each deal, over both seats
    played: np.ndarray  # bool[K, K, G], which of them count for the row's score
    zero_sum: bool = True  # else rewards of a pair add up to 1, as win rates do

    @property
    def scores(self) -> np.ndarray:
        """float[K]: each one's mean over all it played; 0 if it played nothing."""
        return self._sum(self.payoff, (1, 2)) / np.maximum(self._sum(np.ones_like(self.payoff), (1, 2)), 1)

    @property
    def games(self) -> np.ndarray:
        """int[K]: games each took part in, two a deal and opponent."""
        return 2 * self.played.sum((1, 2))

    def by_deal(self, row: int, without: Sequence[int] = ()) -> np.ndarray:
        """float[G]: one strategy's mean over its opponents on each deal, NaN where it did not play."""
        opponents = [other for other in range(len(self.payoff)) if other != row and other not in without]
        played = self.played[row, opponents]
        total = np.where(played, self.payoff[row, opponents], 0.0).sum(0)
        return np.where(played.any(0), total / np.maximum(played.sum(0), 1), np.nan)

    def improvement(self, child: int, parent: int) -> Interval:
        """The improvement of `child` over `parent` against the same others, on the same deals; Student's interval.

        Their own games against each other count for both. Only deals on which both played the same opponents count.
        """
        difference = self.paired(child, parent)
        return stats.mean_or_value(difference)

    def paired(self, child: int, parent: int) -> np.ndarray:
        """float[G']: the differences behind `improvement`, by deal.

        Raises:
          UserError: if they shared no deal.
        """
        rivals = [other for other in range(len(self.payoff)) if other not in (child, parent)]
        both = self.played[child, rivals] & self.played[parent, rivals]
        against = np.where(both, self.payoff[child, rivals] - self.payoff[parent, rivals], 0.0).sum(0)
        met = self.played[child, parent]
        mutual = np.where(met, self.payoff[child, parent] - self.payoff[parent, child], 0.0)
        count = both.sum(0) + met
        if not count.any():
            raise UserError("parent and child shared no deal: let them play in the same round")
        return ((against + mutual) / np.maximum(count, 1))[count > 0]

    def _sum(self, values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.where(self.played, values, 0.0).sum(axes)


def round_robin(play: PlayRows, num_strategies: int, num_deals: int, *, zero_sum: bool = True) -> League:
    """Every pair, in both seats, on every deal.

    Args:
      play: plays rows of games.
      num_strategies: K, at least 2.
      num_deals: G; deals 0 to G - 1 are used by all pairs.
      zero_sum: whether rewards of a pair add up to 0; else they add up to 1.
    """
    if num_strategies < 2 or num_deals < 1:
        raise UserError(f"a league needs 2 strategies and 1 deal at least, got {num_strategies} and {num_deals}")
    pairs = np.array([(i, j) for i in range(num_strategies) for j in range(i + 1, num_strategies)])
    return _play_pairs(play, pairs, np.arange(num_deals), num_strategies, num_deals, zero_sum)


def versus(play: PlayRows, num_strategies: int, num_deals: int, *, zero_sum: bool = True) -> League:
    """All but the last of `num_strategies` against the last, in both seats, on every deal."""
    if num_strategies < 2 or num_deals < 1:
        raise UserError(f"a match needs 2 strategies and 1 deal at least, got {num_strategies} and {num_deals}")
    pairs = np.array([(i, num_strategies - 1) for i in range(num_strategies - 1)])
    return _play_pairs(play, pairs, np.arange(num_deals), num_strategies, num_deals, zero_sum)


def race(
    play: PlayRows,
    num_strategies: int,
    num_deals: int,
    *,
    first_deals: int,
    keep: float = 0.5,
    always: Sequence[int] = (),
    zero_sum: bool = True,
) -> League:
    """A round robin on few deals; then the better part goes on against all others on further ones, and so on.

    The opponents stay the same for all, so that scores can be compared; only their precision differs.

    Args:
      play: plays rows of games.
      num_strategies: K.
      num_deals: G, what those left in the end have played.
      first_deals: deals of the first round; each further round doubles what the survivors have played.
      keep: share that goes on, rounded up.
      always: strategies that always go on, parents for instance.
      zero_sum: see `round_robin`.

    Raises:
      UserError: if a number is out of range.
    """
    if not (1 <= first_deals <= num_deals and 0 < keep < 1):
        raise UserError(f"first_deals must be 1 to {num_deals} and keep between 0 and 1, got {first_deals} and {keep}")
    first = round_robin(play, num_strategies, first_deals, zero_sum=zero_sum)
    shape = num_strategies, num_strategies, num_deals
    payoff, played = np.zeros(shape), np.zeros(shape, bool)
    payoff[:, :, :first_deals], played[:, :, :first_deals] = first.payoff, first.played
    alive, done = np.arange(num_strategies), first_deals
    while done < num_deals:
        scores = League(payoff, played, zero_sum).scores
        ranked = alive[np.argsort(-scores[alive], kind="stable")]
        best = ranked[: max(1, int(np.ceil(keep * len(ranked))))]
        alive = np.union1d(best, np.asarray(always, int)).astype(int)
        until = min(2 * done, num_deals)
        pairs = np.array(
            sorted({(min(i, j), max(i, j)) for i in alive for j in range(num_strategies) if i != j}), dtype=int
        )
        more = _play_pairs(play, pairs, np.arange(done, until), num_strategies, num_deals, zero_sum)
        # who was dropped is an opponent only: its own score must not count deals that it met the best alone on
        more.played[np.setdiff1d(np.arange(num_strategies), alive)] = False
        payoff, played = payoff + more.payoff, played | more.played
        done = until
    return League(payoff, played, zero_sum)


def successive_halving(pull: Callable[[np.ndarray, int], np.ndarray], num_arms: int, budget: int) -> int:
    """The arm that seems best after `budget` pulls, spent in rounds that each drop the worse half.

    Args:
      pull: `(arms int[k], n) -> float[k, n]`, n rewards of each arm.
      num_arms: how many arms.
      budget: pulls in all; each round gets an equal share.

    Raises:
      UserError: if the budget does not allow one pull of each arm in each round.
    """
    rounds = max(1, int(np.ceil(np.log2(num_arms))))
    if budget < num_arms * rounds:
        raise UserError(f"{num_arms} arms in {rounds} rounds need a budget of {num_arms * rounds} pulls, got {budget}")
    alive, total, count = np.arange(num_arms), np.zeros(num_arms), np.zeros(num_arms)
    for _ in range(rounds):
        each = budget // (len(alive) * rounds)
        total[alive] += pull(alive, each).sum(1)
        count[alive] += each
        ranked = alive[np.argsort(-total[alive] / count[alive], kind="stable")]
        alive = np.sort(ranked[: int(np.ceil(len(ranked) / 2))])
    return int(alive[0])


def bradley_terry(
    wins: np.ndarray, *, prior: float = 0.5, iterations: int = 2000, tolerance: float = 1e-10
) -> np.ndarray:
    """float[K]: log-strengths with mean 0 that make the wins most likely; a draw is half a win for each.

    Args:
      wins: float[K, K], how often row beat column.
      prior: imaginary wins of each over each other, which keep the strength of who won everything finite.
      iterations: of the minorise-maximise update, at most.
      tolerance: on the largest change.

    Raises:
      UserError: if the wins are not a square of numbers from 0 up.
    """
    wins = np.asarray(wins, np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or not np.isfinite(wins).all() or (wins < 0).any():
        raise UserError(f"wins must be a square table of numbers from 0 up, got shape {wins.shape}")
    wins = wins + prior * (1 - np.eye(len(wins)))
    np.fill_diagonal(wins, 0.0)
    games, won = wins + wins.T, wins.sum(1)
    strength = np.ones(len(wins))
    for _ in range(iterations):
        pairs = games / (strength[:, None] + strength[None])
        updated = np.maximum(won, 1e-300) / np.maximum(pairs.sum(1), 1e-300)
        updated /= np.exp(np.mean(np.log(updated)))
        change = np.max(np.abs(np.log(updated) - np.log(strength)))
        strength = updated
        if change < tolerance:
            break
    return np.log(strength)


def ratings(league: League, *, prior: float = 0.5) -> np.ndarray:
    """float[K]: Elo ratings with mean 0.

    What counts is who had more on a deal over both seats (`zero_sum`), or the share of wins.

    Args:
      league: a round robin.
      prior: see `bradley_terry`.
    """
    return ELO * bradley_terry(_points(league).sum(2), prior=prior)


def elo(
    league: League, *, level: float = 0.95, resamples: int = 200, seed: int = 0, prior: float = 0.5
) -> list[Interval]:
    """`ratings` with percentile intervals over resampled deals.

    Args:
      league: a round robin.
      level: coverage aimed at.
      resamples: how often deals are drawn again; all pairs use the same draw, as they shared the deals.
      seed: of the resampling.
      prior: see `bradley_terry`.
    """
    points = _points(league)
    rng, deals = np.random.default_rng(seed), points.shape[2]
    draws = np.stack(
        [
            ELO * bradley_terry(points @ rng.multinomial(deals, np.full(deals, 1 / deals)), prior=prior, tolerance=1e-6)
            for _ in range(resamples)
        ]
    )
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, row)) for row in zip(ratings(league, prior=prior), low, high, strict=True)]


def _points(league: League) -> np.ndarray:
    """float[K, K, G]: wins of the row against the column on each deal, a draw being half a win."""
    points = (np.sign(league.payoff) + 1) / 2 if league.zero_sum else league.payoff
    return np.where(league.played | league.played.transpose(1, 0, 2), points, 0.0)


def _play_pairs(play, pairs, deals, num_strategies, num_deals, zero_sum) -> League:
    first, second = (np.repeat(column, len(deals)) for column in pairs.T)
    deal = np.tile(deals, len(pairs))
    there = np.asarray(play(first, second, deal), np.float64)
    back = np.asarray(play(second, first, deal), np.float64)
    # `there` and `back` are rewards of who sits in seat 0 (or plays good): the other's are their opposites
    opposite = -back if zero_sum else 1 - back
    mean = (there + opposite) / 2
    shape = num_strategies, num_strategies, num_deals
    payoff, played = np.zeros(shape), np.zeros(shape, bool)
    payoff[first, second, deal], payoff[second, first, deal] = mean, (-mean if zero_sum else 1 - mean)
    played[first, second, deal] = played[second, first, deal] = True
    return League(payoff, played, zero_sum)
