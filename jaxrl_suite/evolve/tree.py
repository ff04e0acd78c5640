"""The strategy tree: what was written, from what, in which round, and what is known of its strength.

In population self-play a mean reward depends on who else took part, so that means of different rounds do not compare.
`fitted` therefore explains all rewards by one rating a strategy and one level a round; parents, which are played again
beside their children, link the rounds.

Shapes: `N` strategies, `R` rounds, `O` observations (one strategy in one round).

Reference: arXiv 2408.10635, section 3 (strategy tree; its node value is the mean reward of self-play).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Strategy

Ranking = Literal["mean", "fitted"]
_PRIOR_GAMES = 0.5  # how much, in games, a rating is drawn to the middle: it ties what is not linked


class Dropped(NamedTuple):
    """An attempt that did not become a strategy."""

    parent: int | None
    idea: int | None
    round: int
    text: str
    failures: tuple[str, ...]


class RoundScore(NamedTuple):
    """The reward of one strategy in one round."""

    round: int
    strategy: int
    score: float
    games: int

    @property
    def weight(self) -> int:
        """The weight of the reward: its games; one where there were none."""
        return max(self.games, 1)


@dataclasses.dataclass(frozen=True)
class StrategyTree:
    """All strategies of one search.

    Args:
      strategies: by id.
      born: the round of each.
      dropped: attempts without a strategy, in order.
      played: the rewards of all rounds, in order.
    """

    strategies: tuple[Strategy, ...] = ()
    born: tuple[int, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    played: tuple[RoundScore, ...] = ()

    def __len__(self) -> int:
        return len(self.strategies)

    def __getitem__(self, number: int) -> Strategy:
        return self.strategies[number]

    def __iter__(self) -> Iterator[Strategy]:
        return iter(self.strategies)

    def add(self, strategy: Strategy, born: int) -> StrategyTree:
        """With one more strategy.

        Raises:
          UserError: if its id is not the next, or its parent is not there.
        """
        if strategy.id != len(self):
            raise UserError(f"the next strategy has id {len(self)}, got {strategy.id}")
        if strategy.parent is not None and not 0 <= strategy.parent < len(self):
            raise UserError(f"strategy {strategy.id} has parent {strategy.parent}, which is not in the tree: add it")
        return dataclasses.replace(self, strategies=(*self.strategies, strategy), born=(*self.born, born))

    def drop(self, attempt: Dropped) -> StrategyTree:
        return dataclasses.replace(self, dropped=(*self.dropped, attempt))

    def play(self, played: RoundScore) -> StrategyTree:
        """With one more reward; the strategy's score is the mean over all its games.

        A reward that is not of games, as a critic's, counts as one.

        Raises:
          UserError: if the reward is not a number.
        """
        if not math.isfinite(played.score) or played.games < 0:
            raise UserError(f"a reward must be finite, got {played.score} over {played.games} games")
        old = self[played.strategy]
        mine = [*(one for one in self.played if one.strategy == old.id), played]
        score = float(np.average([one.score for one in mine], weights=[one.weight for one in mine]))
        new = dataclasses.replace(old, score=score, games=old.games + played.games)
        strategies = (*self.strategies[: old.id], new, *self.strategies[old.id + 1 :])
        return dataclasses.replace(self, strategies=strategies, played=(*self.played, played))

    @property
    def judged(self) -> frozenset[int]:
        """Ids of the strategies that have a reward."""
        return frozenset(one.strategy for one in self.played)

    def children(self, number: int) -> tuple[int, ...]:
        return tuple(one.id for one in self if one.parent == number)

    def lineage(self, number: int) -> tuple[int, ...]:
        """From a seed to the strategy."""
        path, at = [number], self[number]
        while at.parent is not None:
            at = self[at.parent]
            path.append(at.id)
        return tuple(reversed(path))

    def depth(self, number: int) -> int:
        """Generations from a seed, which is 0."""
        return len(self.lineage(number)) - 1

    def values(self, ranking: Ranking) -> np.ndarray:
        """float[N]: how strong each is held to be."""
        return fitted(self) if ranking == "fitted" else np.array([one.score for one in self], float)

    def ranked(self, ranking: Ranking) -> tuple[int, ...]:
        """Ids of those that have been judged, the strongest first; of equals the older first."""
        values = self.values(ranking)
        return tuple(sorted(self.judged, key=lambda i: (-values[i], i)))


def fitted(tree: StrategyTree) -> np.ndarray:
    """float[N]: ratings that explain the rewards of all rounds, in units of reward; their mean is 0.

    Least squares of `score[round, i] = rating[i] + level[round]`, weighted by games. It is exact for rewards against
    fixed opponents. In a round robin of K a reward is K / (K - 1) times the lead over the round's mean, so that there
    ratings are stretched a little, the more the smaller the round; their order in a round is right.
    """
    ratings = np.zeros(len(tree))
    seen = tree.played
    if not seen:
        return ratings
    rounds = {number: place for place, number in enumerate(sorted({result.round for result in seen}))}
    design = np.zeros((len(seen), len(tree) + len(rounds)))
    for row, result in enumerate(seen):
        design[row, result.strategy] = design[row, len(tree) + rounds[result.round]] = 1.0
    games = np.array([result.weight for result in seen], float)
    prior = np.diag(np.r_[np.full(len(tree), _PRIOR_GAMES), np.full(len(rounds), 1e-9)])
    scores = np.array([result.score for result in seen])
    normal = design.T @ (games[:, None] * design) + prior
    ratings = np.linalg.solve(normal, design.T @ (games * scores))[: len(tree)]
    return ratings - ratings.mean()


def to_json(tree: StrategyTree) -> dict[str, Any]:
    """The tree as JSON values; `from_json` gives it back."""
    return {
        "strategies": [dataclasses.asdict(one) | {"born": born} for one, born in zip(tree, tree.born, strict=True)],
        "dropped": [one._asdict() for one in tree.dropped],
        "played": [one._asdict() for one in tree.played],
    }


def from_json(data: Mapping[str, Any]) -> StrategyTree:
    rows = [dict(row) for row in data["strategies"]]
    born = tuple(row.pop("born") for row in rows)
    dropped = tuple(Dropped(**row | {"failures": tuple(row["failures"])}) for row in data["dropped"])
    return StrategyTree(
        tuple(strategy_from_json(row) for row in rows),
        born,
        dropped,
        tuple(RoundScore(**row) for row in data["played"]),
    )


def strategy_from_json(row: Mapping[str, Any]) -> Strategy:
    weights = None if row["weights"] is None else tuple(row["weights"])
    return Strategy(**{**row, "weights": weights, "failures": tuple(row["failures"])})
