"""Scattered Forest Search (SFS): several first solutions, each the root of a tree of edits, searched by UCT.

    scattering   directions of improvement are asked for several at a time, and should differ; so should first solutions
    foresting    several trees under one virtual root; else one
    scouting     insights from every trial are given to later requests for directions

From the virtual root the search descends to the child with the highest bound, as long as all directions of a node are
used up and some child scores higher than it. Where it stops it takes an untried direction, having new ones written if
there is none, and edits. A value is backed up as a maximum. A node whose children do not beat it is so given fresh
directions again and again: nothing else limits its children, unless `branching` does.

Reference: Light et al., "Scattered Forest Search: Smarter code space exploration with LLMs", arXiv 2411.05010.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.scaling.forest.thinker import Asking, Thinker
from jaxrl_suite.scaling.forest.trial import GENERIC, Forest, run_forest

Descent = Literal["UCT", "PUCT"]
Themes = Literal["cycle", "random", "none"]


@dataclasses.dataclass(frozen=True)
class SfsConfig:
    """The constants of SFS.

    Args:
      num_solutions: most solutions in all, first ones counted; 10 in the published comparison.
      seeds: first solutions, with foresting.
      ideas: directions that one request asks for.
      scattering, foresting, scouting: the three parts, each of which can be left out.
      descent: rule of the way down.
      exploration: c of UCT.
      puct_base, puct_init: constants of PUCT's weight, ln((1 + N + base) / base) + init.
      backup: share of a child's lead over its parent that the parent's value takes over; 1 is the maximum.
      branching: children after which a node is descended from, whatever they score; 0 for the published rule.
      themes: of first solutions, with scattering: one after the other, at random with repetition as published, or none.
      idea_tries: requests for directions before a generic one is taken.
      seed: of random themes.

    Raises:
      UserError: if a value is out of range.
    """

    num_solutions: int = 10
    seeds: int = 5
    ideas: int = 2
    scattering: bool = True
    foresting: bool = True
    scouting: bool = True
    descent: Descent = "UCT"
    exploration: float = math.sqrt(2)
    puct_base: float = 10.0
    puct_init: float = 2.0
    backup: float = 1.0
    branching: int = 0
    themes: Themes = "cycle"
    idea_tries: int = 6
    seed: int = 0

    def __post_init__(self):
        for name in ("num_solutions", "seeds", "ideas", "idea_tries"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.branching < 0 or self.seed < 0 or not 0 <= self.exploration < math.inf:
            raise UserError(
                f"branching, seed and exploration must be at least 0, got {self.branching}, {self.seed}, "
                f"{self.exploration}"
            )
        if not 0 <= self.backup <= 1 or not self.puct_base > 0 or not self.puct_init >= 0:
            raise UserError(
                "backup must lie between 0 and 1, puct_base be above 0 and puct_init at least 0, got "
                f"{self.backup}, {self.puct_base}, {self.puct_init}"
            )
        if self.descent not in ("UCT", "PUCT"):
            raise UserError(f"descent must be UCT or PUCT, got {self.descent!r}")
        if self.themes not in ("cycle", "random", "none"):
            raise UserError(f"themes must be cycle, random or none, got {self.themes!r}")


def sfs(thinker: Thinker, config: SfsConfig = SfsConfig()) -> Algorithm:
    """Scattered Forest Search.

    Args:
      thinker: of the problem.
      config: its constants.

    Returns:
      A `ForestResult`; the best visible score is submitted, the earliest of several.
    """
    search = ForestSearch(config)
    return run_forest(Forest(thinker, config.num_solutions), search.run)


class ForestSearch:
    """The way down, the expansion and the backup of SFS."""

    def __init__(self, config: SfsConfig):
        self.config = config
        self.root_visits = 1

    def run(self, forest: Forest) -> Asking[None]:
        yield from self.plant(forest)
        while not forest.is_over:
            yield from self.step(forest)

    def plant(self, forest: Forest) -> Asking[None]:
        """First solutions; one that passes ends it."""
        config, themes = self.config, forest.thinker.num_themes
        scatter = config.scattering and config.themes != "none" and themes > 0
        rng = np.random.default_rng((config.seed, *forest.thinker.key))
        for draw in range(config.seeds if config.foresting else 1):
            if forest.is_over:
                return
            theme = None
            if scatter:
                theme = draw % themes if config.themes == "cycle" else int(rng.integers(themes))
            yield from forest.plant(draw, theme)

    def step(self, forest: Forest) -> Asking[int]:
        """One more solution: descend, edit, back up, learn."""
        config = self.config
        node = self.descend(forest)
        number = yield from self.direction(forest, node)
        child = yield from forest.attempt(node, number)
        back_up(forest, child, config.backup)
        if config.scouting and not forest.is_over:
            forest.insights = yield from forest.learn(forest.insights, child)
        return child

    def descend(self, forest: Forest) -> int:
        """The node to edit; visits are counted on the way."""
        roots = [one.id for one in forest.tree if one.parent is None]
        self.root_visits += 1  # the virtual root scores below all of its children: it is always descended from
        node = self.choose(forest, roots, self.root_visits)
        while True:
            forest.visits[node] += 1
            children = forest.tree.children(node)
            if not children or not self.is_used_up(forest, node, children):
                return node
            node = self.choose(forest, list(children), forest.visits[node])

    def is_used_up(self, forest: Forest, node: int, children: tuple[int, ...]) -> bool:
        """True if the search goes on below a node."""
        if self.config.branching:
            return len(children) >= self.config.branching
        return not forest.untried(node) and any(forest.score(child) > forest.score(node) for child in children)

    def choose(self, forest: Forest, children: list[int], visits: int) -> int:
        """The child with the highest bound, the earliest of several."""
        values = np.asarray([forest.values[child] for child in children])
        counts = np.asarray([forest.visits[child] for child in children], float)
        if self.config.descent == "UCT":
            bounds = uct(values, counts, visits, self.config.exploration)
        else:
            logprobs = np.asarray([forest.drafts[child].logprob for child in children])
            bounds = puct(values, counts, visits, logprobs, self.config.puct_base, self.config.puct_init)
        return children[int(np.argmax(bounds))]

    def direction(self, forest: Forest, node: int) -> Asking[int]:
        """An untried direction of a node."""
        config = self.config
        insights = forest.insights if config.scouting else forest.thinker.no_insights
        for _ in range(config.idea_tries):
            if untried := forest.untried(node):
                return untried[0]
            scatter = config.scattering
            yield from forest.ask(node, config.ideas, scatter=scatter, insights=insights, anew=scatter)
        untried = forest.untried(node)
        return untried[0] if untried else forest.suggest(node, GENERIC)


def back_up(forest: Forest, child: int, share: float) -> None:
    """Raises the values of a node's ancestors towards its own, from the nearest up."""
    way = forest.tree.lineage(child)
    for parent, node in zip(reversed(way[:-1]), reversed(way[1:]), strict=True):
        forest.values[parent] += share * max(0.0, forest.values[node] - forest.values[parent])


def uct(values: np.ndarray, counts: np.ndarray, visits: float, exploration: float) -> np.ndarray:
    """float[children]: value + c sqrt(ln(visits of the parent) / visits)."""
    return values + exploration * np.sqrt(math.log(visits) / counts)


def puct(
    values: np.ndarray, counts: np.ndarray, visits: float, logprobs: np.ndarray, base: float, init: float
) -> np.ndarray:
    """float[children]: value + weight prior sqrt(ln N / (1 + n)), with the softmax of log-probabilities as the prior.

    Args:
      values, counts: of the children; n are their visits.
      visits: N, of the parent.
      logprobs: of the children, summed over their tokens.
      base, init: of the weight ln((1 + N + base) / base) + init.
    """
    prior = np.exp(logprobs - logprobs.max())
    prior /= prior.sum()
    weight = math.log((1 + visits + base) / base) + init
    return values + weight * prior * np.sqrt(math.log(visits) / (1 + counts))
