"""Selection of the strategy to improve next, and by which idea of a queue: a bandit over ideas, see `IdeaQueue`.

    newest          the last one written (line search, as in Reflexion)
    generation      the best of the last generation (greedy)
    top             the best k of the whole tree, in turn (best-first, beam)
    softmax         drawn from the softmax over the best k (the published BFS2 with k = 2)
    bandit          every strategy is an arm: the mean of itself and its children, with an upper confidence bound
    tree            UCT: descend from the seed to where improving pays most; one way down is to stop and improve here

The last two count what is chosen in the same round as tried, so that a round's choices spread.

Reference: arXiv 2408.10635, section 3.2 and table 2; Kocsis and Szepesvari, "Bandit based Monte-Carlo planning", 2006.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.evolve.tree import Ranking, StrategyTree

Rule = Literal["newest", "generation", "top", "softmax", "bandit", "tree"]


class Setting(NamedTuple):
    """Constants of a rule of selection."""

    best: int = 2  # k, of `top` and `softmax`
    temperature: float = 1.0
    exploration: float = 2**0.5
    ranking: Ranking = "fitted"
    scale: float | None = None  # unit of temperature and exploration; None: the usual size of an improvement


_DEFAULT = Setting()


def choose_parents(
    rule: Rule, tree: StrategyTree, count: int, rng: np.random.Generator, setting: Setting = _DEFAULT
) -> tuple[int, ...]:
    """`count` strategies to improve, which may repeat.

    Args:
      rule: see the module.
      tree: with at least one strategy that was played.
      count: how many.
      rng: for `softmax`.
      setting: its constants.

    Raises:
      UserError: if there is no such rule, or no strategy was played yet.
    """
    if rule not in get_args(Rule):
        raise UserError(f"there is no rule {rule!r}{suggest(rule, get_args(Rule))}")
    ranked, values = tree.ranked(setting.ranking), tree.values(setting.ranking)
    if not ranked:
        raise UserError("no strategy was played yet: judge the seeds first")
    scale = setting.scale if setting.scale is not None else improvement_scale(tree, values)
    chosen: list[int] = []
    for place in range(count):
        if rule == "newest":
            chosen.append(max(ranked))
        elif rule == "generation":
            last = max(tree.born[number] for number in ranked)
            chosen.append(next(number for number in ranked if tree.born[number] == last))
        elif rule == "top":
            chosen.append(ranked[place % min(setting.best, len(ranked))])
        elif rule == "softmax":
            best = ranked[: setting.best]
            chosen.append(best[softmax_choice(rng, values[list(best)] / scale, setting.temperature)])
        elif rule == "bandit":
            chosen.append(_bandit(tree, values, chosen, setting.exploration * scale))
        else:
            chosen.append(_descend(tree, values, chosen, setting.exploration * scale))
    return tuple(chosen)


def improvement_scale(tree: StrategyTree, values: np.ndarray) -> float:
    """Root mean square of the differences between children and parents; 1 if there are none, or they are 0."""
    judged = tree.judged
    steps = [values[one.id] - values[one.parent] for one in tree if one.parent is not None and one.id in judged]
    size = float(np.sqrt(np.mean(np.square(steps)))) if steps else 0.0
    return size or 1.0


def _trials(tree: StrategyTree, values: np.ndarray) -> list[list[float]]:
    """Values that improving each strategy led to: its own value first, and again for every attempt that was dropped."""
    judged = tree.judged
    trials = [[float(value)] if one.id in judged else [] for one, value in zip(tree, values, strict=True)]
    for one in tree:
        if one.parent is not None and one.id in judged:
            trials[one.parent].append(float(values[one.id]))
    for attempt in tree.dropped:
        if attempt.parent is not None:
            trials[attempt.parent].append(float(values[attempt.parent]))
    return trials


def _bandit(tree: StrategyTree, values: np.ndarray, chosen: Sequence[int], exploration: float) -> int:
    trials = _trials(tree, values)
    arms = sorted(tree.judged)
    means = [float(np.mean(trials[arm])) for arm in arms]
    counts = [len(trials[arm]) + chosen.count(arm) for arm in arms]
    return arms[int(np.argmax(fresh_bounds(means, counts, exploration)))]


def _descend(tree: StrategyTree, values: np.ndarray, chosen: Sequence[int], exploration: float) -> int:
    """The arms of a strategy are to improve it, and the subtree of each child."""
    trials = _trials(tree, values)
    below = [list(rewards) for rewards in trials]  # of the whole subtree
    waiting = [chosen.count(strategy.id) for strategy in tree]
    for strategy in reversed(tree.strategies):  # children have larger ids
        if strategy.parent is not None:
            below[strategy.parent] += below[strategy.id]
            waiting[strategy.parent] += waiting[strategy.id]

    def best(arms: Sequence[tuple[Sequence[float], int]]) -> int:
        counts = [len(rewards) + pending for rewards, pending in arms]
        return int(np.argmax(fresh_bounds([float(np.mean(rewards)) for rewards, _ in arms], counts, exploration)))

    judged = tree.judged
    seeds = [strategy.id for strategy in tree if strategy.parent is None and strategy.id in judged]
    at = seeds[best([(below[seed], waiting[seed]) for seed in seeds])]
    while True:
        children = [child for child in tree.children(at) if child in judged]
        ways = [(trials[at], chosen.count(at)), *((below[child], waiting[child]) for child in children)]
        way = best(ways)
        if way == 0:
            return at
        at = children[way - 1]


Bandit = Literal["fresh", "stale", "stale-root"]  # the last: sqrt(T / n), without the logarithm


@dataclasses.dataclass(frozen=True)
class Idea:
    """An idea and what trying it has brought.

    Args:
      id: its number in the queue.
      text: what to do.
      source: the strategy whose weaknesses suggested it.
      mean: of its improvements; 0 before any.
      count: of its trials.
      pending: trials under way.
      bound: the stale upper confidence bound, of when the idea last changed.
    """

    id: int
    text: str
    source: int | None = None
    mean: float = 0.0
    count: int = 0
    pending: int = 0
    bound: float = 0.0


@dataclasses.dataclass(frozen=True)
class IdeaQueue:
    """All ideas of one search, and the rule that chooses among them.

    Args:
      ideas: by id.
      bandit: the rule.
      exploration: c.
      changes: how often an idea was added or its mean changed.
      squares: sum of the squared improvements.
    """

    ideas: tuple[Idea, ...] = ()
    bandit: Bandit = "fresh"
    exploration: float = math.sqrt(2)
    changes: int = 0
    squares: float = 0.0

    def __len__(self) -> int:
        return len(self.ideas)

    def __getitem__(self, number: int) -> Idea:
        return self.ideas[number]

    @property
    def scale(self) -> float:
        """Root mean square of the improvements so far; 1 before any. The stale rules have no scale."""
        trials = sum(idea.count for idea in self.ideas)
        return math.sqrt(self.squares / trials) if self.bandit == "fresh" and self.squares > 0 else 1.0

    def add(self, text: str, source: int | None = None) -> IdeaQueue:
        return self._with(Idea(len(self), text, source))

    def begin(self, number: int) -> IdeaQueue:
        """A trial is under way."""
        idea = self[number]
        return self._replace(dataclasses.replace(idea, pending=idea.pending + 1))

    def cancel(self, number: int) -> IdeaQueue:
        """A trial ended without a result."""
        idea = self[number]
        return self._replace(dataclasses.replace(idea, pending=idea.pending - 1))

    def update(self, number: int, improvement: float) -> IdeaQueue:
        """A trial that had begun has brought `improvement`.

        Raises:
          UserError: if the improvement is not a number.
        """
        if not math.isfinite(improvement):
            raise UserError(f"an improvement must be finite, got {improvement}")
        idea = self.cancel(number)[number]
        count = idea.count + 1
        idea = dataclasses.replace(idea, count=count, mean=idea.mean + (improvement - idea.mean) / count)
        return dataclasses.replace(self, squares=self.squares + improvement**2)._with(idea)

    def bounds(self) -> np.ndarray:
        """float[ideas]: upper confidence bounds; infinite for an untried idea under the fresh rule."""
        if self.bandit != "fresh":
            return np.array([idea.bound for idea in self.ideas])
        return fresh_bounds(
            [idea.mean for idea in self.ideas],
            [idea.count + idea.pending for idea in self.ideas],
            self.exploration * self.scale,
        )

    def choose(self, rng: np.random.Generator, temperature: float = 1.0) -> int:
        """An idea drawn from the softmax of the bounds, in units of the scale; untried ones first, at random.

        Raises:
          UserError: if there is none.
        """
        if not self.ideas:
            raise UserError("there is no idea to choose from: add one")
        return softmax_choice(rng, self.bounds() / self.scale, temperature)

    def _with(self, idea: Idea) -> IdeaQueue:
        """With an idea that is new or has another mean, and its stale bound."""
        changes = self.changes + 1
        tried = max(idea.count, 0.01)
        ratio = changes / tried if self.bandit == "stale-root" else math.log(changes) / tried
        idea = dataclasses.replace(idea, bound=idea.mean + self.exploration * math.sqrt(ratio))
        return dataclasses.replace(self, changes=changes)._replace(idea)

    def _replace(self, idea: Idea) -> IdeaQueue:
        return dataclasses.replace(self, ideas=(*self.ideas[: idea.id], idea, *self.ideas[idea.id + 1 :]))


def fresh_bounds(means: Sequence[float], counts: Sequence[int], exploration: float) -> np.ndarray:
    """float[arms]: `mean + exploration sqrt(ln total / count)`; infinite where nothing was tried (UCB1).

    Reference: Auer, Cesa-Bianchi and Fischer, "Finite-time analysis of the multiarmed bandit problem", 2002.
    """
    tried = np.asarray(counts, float)
    bonus = np.sqrt(np.log(max(tried.sum(), 1.0)) / np.maximum(tried, 1.0))
    return np.where(tried > 0, np.asarray(means, float) + exploration * bonus, np.inf)


def softmax_choice(rng: np.random.Generator, values: np.ndarray, temperature: float) -> int:
    """An index with probability proportional to `exp(value / temperature)`; infinite values share it, 0 is greedy."""
    best = values.max()
    if np.isinf(best) or temperature == 0:
        return int(rng.choice(np.flatnonzero(values == best)))
    weights = np.exp((values - best) / temperature)
    return int(rng.choice(len(values), p=weights / weights.sum()))
