"""Trials of a search over whole solutions: what was written, from what, and how it scored; best-of-N on the same terms.

The tree of solutions is `evolve`'s, and so is the queue of directions: a solution is a strategy, a direction an idea,
and a trial's improvement is the child's score less its parent's.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.evolve.selection import IdeaQueue
from jaxrl_suite.evolve.tree import StrategyTree
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.scaling.forest.thinker import (
    EDIT,
    IDEA,
    INSIGHT,
    Asking,
    Direction,
    DraftSolution,
    Feedback,
    Subject,
    Thinker,
)
from jaxrl_suite.scaling.records import SOLVED

GENERIC = Direction("Find out why the failing tests fail, and write the solution anew so that they pass.")


class ForestNode(NamedTuple):
    """A solution in the trace of a search."""

    id: int  # in order of birth
    parent: int | None
    direction: str  # in which its parent was edited; "" for a first solution
    text: str
    score: float
    value: float  # by which the search chose; its score where it does not back up
    visits: int
    solution: Any


class ForestResult(NamedTuple):
    """Result of a search over whole solutions."""

    submitted: int | None  # node; None if nothing was written
    nodes: tuple[ForestNode, ...]
    insights: str = ""

    @property
    def submission(self) -> ForestNode | None:
        return None if self.submitted is None else self.nodes[self.submitted]

    @property
    def solved_after(self) -> int | None:
        """Solutions up to the first that passes all visible tests; None if none does."""
        return next((node.id + 1 for node in self.nodes if node.score >= SOLVED), None)

    def way(self, number: int) -> tuple[int, ...]:
        """From a first solution to the node."""
        path = [number]
        while (parent := self.nodes[path[-1]].parent) is not None:
            path.append(parent)
        return tuple(reversed(path))


@dataclasses.dataclass
class Forest:
    """The solutions of one search, and the trials that made them.

    Args:
      thinker: of the problem.
      most: solutions that may be written.
    """

    thinker: Thinker
    most: int
    tree: StrategyTree = StrategyTree()  # noqa: RUF009 (it is frozen)
    queue: IdeaQueue = IdeaQueue()  # noqa: RUF009 (it is frozen)

    def __post_init__(self):
        if self.most < 1:
            raise UserError(f"the number of solutions must be at least 1, got {self.most}")
        self.directions: list[Direction] = []  # by number in the queue
        self.drafts: list[DraftSolution] = []
        self.feedback: list[Feedback] = []
        self.values: list[float] = []
        self.visits: list[int] = []
        self.insights: Any = self.thinker.no_insights
        self._requests = 0

    def __len__(self) -> int:
        return len(self.drafts)

    @property
    def is_over(self) -> bool:
        """True if a solution has passed, or there is no room for another."""
        return len(self) >= self.most or (bool(self.feedback) and self.feedback[-1].score >= SOLVED)

    @property
    def best(self) -> int | None:
        """The node with the highest score, the earliest of several."""
        return max(range(len(self)), key=lambda i: self.feedback[i].score, default=None)

    def score(self, node: int) -> float:
        return self.feedback[node].score

    def subject(self, node: int) -> Subject:
        return Subject(self.drafts[node].solution, self.feedback[node])

    def untried(self, node: int) -> list[int]:
        """Directions of a node that were not tried, in their order."""
        return [idea.id for idea in self.queue.ideas if idea.source == node and not idea.count + idea.pending]

    def plant(self, draw: int, theme: int | None = None) -> Asking[int]:
        """Writes first solution `draw`; its node."""
        draft = yield from self.thinker.seed(draw, theme)
        return (yield from self.add(draft))

    def ask(self, node: int, count: int, *, scatter: bool, insights: Any, anew: bool = True) -> Asking[int]:
        """Has directions of a node written; how many new ones came.

        Args:
          node: which.
          count: wanted.
          scatter: they should differ.
          insights: that the thinker is given.
          anew: leave out directions that the node has had; else a repeated one is one more trial.
        """
        old = [self.directions[idea.id] for idea in self.queue.ideas if idea.source == node]
        self._requests += 1
        path = (IDEA, node, self._requests)
        found = yield from self.thinker.directions(self.subject(node), insights, old, count, path, scatter=scatter)
        names = {direction.text for direction in old}
        new = [direction for direction in found if not anew or direction.text not in names]
        for direction in new:
            self.suggest(node, direction)
        return len(new)

    def suggest(self, node: int, direction: Direction) -> int:
        """Adds a direction; its number."""
        self.queue = self.queue.add(direction.text, node)
        self.directions.append(direction)
        return len(self.directions) - 1

    def attempt(self, node: int, number: int | None) -> Asking[int]:
        """Edits a solution along a direction of the queue, or as the model likes; the new node."""
        direction = None if number is None else self.directions[number]
        if number is not None:
            self.queue = self.queue.begin(number)
        path = (EDIT, node, len(self))
        draft = yield from self.thinker.edit(self.subject(node), direction, path)
        child = yield from self.add(draft, node, number)
        if number is not None:
            self.queue = self.queue.update(number, self.score(child) - self.score(node))
        return child

    def learn(self, insights: Any, child: int) -> Asking[Any]:
        """The insights after the trial that wrote `child`."""
        one = self.tree[child]
        assert one.parent is not None
        direction = None if one.idea is None else self.directions[one.idea]
        path = (INSIGHT, child)
        before, after = self.subject(one.parent), self.subject(child)
        return (yield from self.thinker.learn(insights, before, direction, after, path))

    def add(self, draft: DraftSolution, parent: int | None = None, number: int | None = None) -> Asking[int]:
        """Grades a draft and adds it; its node."""
        feedback = yield from self.thinker.grade(draft.solution)
        node = len(self)
        text = self.thinker.show(draft.solution)
        self.tree = self.tree.add(Strategy(node, "solution", text, parent, number, score=feedback.score), node)
        self.drafts.append(draft)
        self.feedback.append(feedback)
        self.values.append(feedback.score)
        self.visits.append(1)
        return node

    def result(self, *, last: bool = False) -> ForestResult:
        """The result, with the best solution submitted, or the last."""
        nodes = tuple(
            ForestNode(
                one.id, one.parent, "" if one.parent is None else self._named(one.idea), one.text, self.score(one.id),
                self.values[one.id], self.visits[one.id], self.drafts[one.id].solution,
            )
            for one in self.tree
        )  # fmt: skip
        chosen = (len(self) - 1 if len(self) else None) if last else self.best
        return ForestResult(chosen, nodes, str(self.insights))

    def _named(self, number: int | None) -> str:
        return "repair" if number is None else self.directions[number].text


def run_forest(
    forest: Forest, search: Callable[[Forest], Generator[Any, Any, Any]], *, last: bool = False
) -> Algorithm:
    """Runs a search until it ends by itself or its budget does; its `ForestResult`."""
    with contextlib.suppress(BudgetExhaustedError):
        yield from search(forest)
    return forest.result(last=last)


def resample(thinker: Thinker, num_solutions: int) -> Algorithm:
    """Best-of-N by a thinker: first solutions without theme, until one passes the visible tests."""

    def search(forest: Forest) -> Asking[None]:
        while not forest.is_over:
            yield from forest.plant(len(forest))

    return run_forest(Forest(thinker, num_solutions), search)
