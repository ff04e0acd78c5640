"""The idea queue: a bandit whose arms are ideas and whose reward is the improvement that an idea brought.

Fresh (default): an idea that was never tried comes first, then `mean + c s sqrt(ln T / n)` with all counts as they are
when one is chosen, where `T` is the number of trials of all ideas, `n` of this one (those under way included, so that a
round's choices spread) and `s` the root mean square of the improvements seen, which makes the rule free of units.
Stale, as published: the bonus counts every change of the queue, is worked out only when its idea changes, and starts
from `n = 0.01`; ideas that were not tried have a bonus of about 20, except the very first, which has none.

Reference: arXiv 2408.10635, algorithm 1 (idea queue); the stale rules are those of its released code.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxrl_suite.errors import UserError

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
