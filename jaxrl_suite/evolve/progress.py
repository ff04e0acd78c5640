"""Progress of a search over strategies: its tree, its ideas, what it has cost, and its curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from jaxrl_suite.core.files import Row
from jaxrl_suite.evolve.methods import EvolveConfig
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.evolve.selection import IdeaQueue
from jaxrl_suite.evolve.tree import StrategyTree


class Cost(NamedTuple):
    """The cost of a search so far."""

    strategies: int = 0  # that were played, the seeds not counted
    dropped: int = 0
    calls: int = 0  # of the proposer
    prompt_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0  # that the proposer wrote; for one that has no tokens
    checks: int = 0
    games: int = 0  # counted once for each strategy in them


class Point(NamedTuple):
    """A point of a search's curve: where it stood after a round, and what it had cost."""

    round: int
    best: int
    score: float  # of the best: mean reward
    value: float  # of the best: what it is ranked by
    cost: Cost


@dataclasses.dataclass(frozen=True)
class Search:
    """The state of a search after a round.

    Args:
      config: of the search.
      tree: its strategies.
      queue: its ideas; methods without a queue keep theirs there too.
      states: the latest key states of each strategy.
      round: how many are done.
      cost: so far.
      curve: a point for each round, the seeds' first.
      stopped: why it ended early.
    """

    config: EvolveConfig
    tree: StrategyTree
    queue: IdeaQueue
    states: Mapping[int, tuple[KeyState, ...]]
    round: int = 0
    cost: Cost = Cost()  # noqa: RUF009 (a tuple)
    curve: tuple[Point, ...] = ()
    stopped: str = ""

    @property
    def best(self) -> Strategy:
        """The strongest strategy."""
        return self.tree[self.tree.ranked(self.config.ranking)[0]]

    @property
    def is_done(self) -> bool:
        return bool(self.stopped) or self.round >= self.config.rounds

    def point(self) -> Point:
        """The point of the curve where the search stands now."""
        best = self.best
        value = float(self.tree.values(self.config.ranking)[best.id])
        return Point(self.round, best.id, best.score, value, self.cost)


def rows(search: Search) -> list[Row]:
    """The curve as a table: one row a round, what it had cost, and the best strategy then."""
    return [
        {"round": at.round, "best": at.best, "score": at.score, "value": at.value, **at.cost._asdict()}
        for at in search.curve
    ]
