"""The methods of the high level: one registry, one loop.

They differ in which strategy they improve and in where the idea comes from: a queue of ideas that are tried on many
strategies and remembered by what they brought, or a fresh look at the weaknesses of the one that is to be improved.
Each is given the same number of strategies; what else it costs (calls, tokens, games) is counted beside its curve.

Reference: arXiv 2408.10635, tables 2 and C4: Reflexion-like line search, greedy search, best-first search, best-first
search with thought, Strategist.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, get_args

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.core.files import Row
from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.evolve.selection import Bandit, IdeaQueue, Rule, Setting
from jaxrl_suite.evolve.tree import Ranking, StrategyTree


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to search over strategies.

    Args:
      name: its key in `METHODS`.
      summary: in a line.
      rule: which strategy to improve, see `selection`.
      queue: ideas come from a queue; else from conclusions about the strategy itself, each used once.
      thought: keep a summary beside the text: it is revised first, and then carried out.
      forward_fill: an attempt that fails becomes a copy of its parent.
      sequential: one strategy at a time, each made from the one before: a round is as many steps as others make
        strategies.
    """

    name: str
    summary: str
    rule: Rule
    queue: bool = False
    thought: bool = False
    forward_fill: bool = False
    sequential: bool = False

    def __post_init__(self):
        if self.queue and self.thought:
            raise UserError(f"{self.name}: a thought is revised instead of taking an idea from a queue: choose one")


_ALL = (
    Method("line", "refine the newest strategy, one at a time", "newest", forward_fill=True, sequential=True),
    Method("greedy", "refine the best strategy of the last round", "generation"),
    Method("best-first", "refine the best strategies of the tree in turn", "top"),
    Method("best-first-thought", "best-first, with a thought that is revised before the text", "top", thought=True),
    Method("strategist", "idea queue; softmax over the two best strategies", "softmax", queue=True),
    Method("strategist-bandit", "idea queue; upper confidence bounds over strategies", "bandit", queue=True),
    Method("strategist-tree", "idea queue; UCT over the tree of strategies", "tree", queue=True),
)
METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})


@dataclasses.dataclass(frozen=True)
class EvolveConfig:
    """Constants of one search over strategies.

    Args:
      method: a key of `METHODS`.
      strategies: to generate, the seeds not counted.
      rounds: of improvement; each makes `strategies / rounds`.
      ideas: new ones a round, from one call.
      feedback: key states that a call for conclusions is shown.
      repairs: calls that may mend one text, beside the first that writes it.
      seed_tries: texts that may be tried for the first strategy, where none is given.
      best: k of the rules `top` and `softmax`.
      temperature: of the softmax over ideas and over strategies.
      exploration: c of the upper confidence bounds of ideas.
      parent_exploration: c of the rules `bandit` and `tree`, which have as many arms as strategies.
      bandit: rule of the idea queue, see `ideas`.
      ranking: what strategies are ranked by: `fitted` ratings or the `mean` of all games, see `tree`.
      scale: unit of reward in softmax and bounds; None takes the usual size of an improvement in this search.
      count_failures: an attempt that is dropped counts as a trial of its idea that brought nothing.
      refuse_copies: a text that is its parent's, unchanged, goes back for repair.

    Raises:
      UserError: if a name is unknown, a value is out of range, or the rounds do not divide the strategies.
    """

    method: str = "strategist"
    strategies: int = 40
    rounds: int = 10
    ideas: int = 3
    feedback: int = 10
    repairs: int = 8
    seed_tries: int = 10
    best: int = 2
    temperature: float = 1.0
    exploration: float = math.sqrt(2)
    parent_exploration: float = 0.5
    bandit: Bandit = "fresh"
    ranking: Ranking = "fitted"
    scale: float | None = None
    count_failures: bool = True
    refuse_copies: bool = True

    def __post_init__(self):
        if self.method not in METHODS:
            raise UserError(f"there is no method {self.method!r}{suggest(self.method, METHODS)}")
        for name, options in (("bandit", get_args(Bandit)), ("ranking", get_args(Ranking))):
            if (value := getattr(self, name)) not in options:
                raise UserError(f"there is no {name} {value!r}{suggest(str(value), options)}")
        check_ranges(
            self,
            strategies=(1, 10**6),
            rounds=(1, self.strategies),
            ideas=(1, 100),
            feedback=(1, 1000),
            repairs=(0, 100),
            seed_tries=(1, 100),
            best=(1, 10**6),
            temperature=(0.0, 1e9),
            exploration=(0.0, 1e9),
            parent_exploration=(0.0, 1e9),
        )
        if self.strategies % self.rounds:
            raise UserError(f"rounds must divide the {self.strategies} strategies, got {self.rounds}")
        if self.strategies_per_round > 1000:
            raise UserError(f"a round makes at most 1000 strategies, got {self.strategies_per_round}: use more rounds")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise UserError(f"scale must be a positive number, or none, got {self.scale}")

    @property
    def strategies_per_round(self) -> int:
        """Strategies that a round makes."""
        return self.strategies // self.rounds

    @property
    def most_players(self) -> int:
        """Strategies that are judged together at most: new ones and their parents."""
        method = METHODS[self.method]
        if method.sequential:
            return 2
        count = self.strategies_per_round
        parents = {"newest": 1, "generation": 1, "top": self.best, "softmax": self.best}.get(method.rule, count)
        return count + min(parents, count)

    @property
    def setting(self) -> Setting:
        return Setting(self.best, self.temperature, self.parent_exploration, self.ranking, self.scale)


# As published. One idea a round is our reading of "one (or k)". Games (32 a step for GOPS) are the judge's to set.
_PAPER = dict(ideas=1, bandit="stale", ranking="mean", scale=1.0, count_failures=False, refuse_copies=False)
PRESETS: Mapping[str, EvolveConfig] = MappingProxyType(
    {
        "default": EvolveConfig(),
        "paper-gops": EvolveConfig(strategies=40, rounds=10, feedback=10, **_PAPER),  # pyright: ignore[reportArgumentType]
        "paper-avalon": EvolveConfig(strategies=24, rounds=6, feedback=10, **_PAPER),  # pyright: ignore[reportArgumentType]
    }
)

# What each field changes in which the default departs from the published search, for a report.
DIFFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "ideas": "A call for ideas gives three, not one: the bandit has something to choose from.",
        "bandit": "Bonuses of ideas are worked out when one is chosen. As published they are those of the idea's last "
        "change, which is random choice among untried ideas, and the first idea is practically never tried.",
        "ranking": "Strategies are ranked by ratings fitted to all rounds. A mean of rewards of self-play depends on "
        "who else took part: a strong strategy that met strong ones looks weak.",
        "scale": "Softmax and bonuses are in units of the usual improvement. In raw units a temperature of 1 is a "
        "choice where rewards are points, and next to none where they are shares of games won.",
        "count_failures": "An idea that no attempt could carry out counts as tried. Otherwise it stays untried, and is "
        "tried again and again.",
        "refuse_copies": "A text that is its parent's, unchanged, goes back for repair instead of being played.",
    }
)


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
