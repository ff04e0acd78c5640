"""Selection of the strategy of the tree to improve next.

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

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.evolve.idea_queue import fresh_bounds, softmax_choice
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
