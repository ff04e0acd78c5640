"""Records of inference scaling: the part of a problem that a search may see, solutions, and what a search reports.

A search is an algorithm as `llm.jobs` runs them. It sees a `VisibleProblem`; what decides success but must stay hidden
(tests, an answer) is not reachable from it: the verifier that it may ask gives the visible reward alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.protocol import Decoding, Prefix, Request
from jaxrl_suite.llm.questions import Sample, Verify
from jaxrl_suite.scaling.units import Units, continued, units_of

SOLVED = 1.0 - 1e-9  # a reward from here on is the whole one; shares that add up to 1 fall short of it in floats


@dataclasses.dataclass(frozen=True)
class VisibleProblem:
    """A problem as a search sees it.

    Args:
      number: names it, to the random streams and the verifier.
      prompt: token ids, or a text or chat: its answers are made of words then.
      decoding: how answers are drawn; `max_tokens` is the longest whole answer.
      verifier: which gives the visible reward in [0, 1] of an `GradedAnswer`.
      seed: of the search; two searches with the same seed share the draws from the prompt.

    Raises:
      UserError: if the prompt is empty.
    """

    number: int
    prompt: Prefix
    decoding: Decoding
    verifier: str = "reward"
    seed: int = 0

    def __post_init__(self):
        if not self.prompt:
            raise UserError("the prompt is empty: give at least one token")


class GradedAnswer(NamedTuple):
    """Answer that a verifier grades."""

    number: int  # of the problem
    tokens: Units  # the whole answer, its end included


class Solution(NamedTuple):
    """An answer and its visible reward."""

    tokens: Units
    reward: float


class SearchVisit(NamedTuple):
    """A prefix that a search drew from, for its trace."""

    prefix: Units  # the part of the answer that was held fixed
    solutions: tuple[Solution, ...]  # in the order of the draws
    priority: float  # by which the search chose; nan where it had no choice
    accepted: bool


class ScalingResult(NamedTuple):
    """Result of a search."""

    best: Solution | None  # the highest visible reward, the earliest of several; None if nothing was drawn
    visits: tuple[SearchVisit, ...]
    votes: tuple[tuple[Any, float], ...] = ()  # what was answered and its votes, in the order of the first ones

    @property
    def solutions(self) -> tuple[Solution, ...]:
        """Solutions that were drawn, in order."""
        return tuple(solution for visit in self.visits for solution in visit.solutions)

    @property
    def solved_after(self) -> int | None:
        """Samples up to the first whole reward; None if there was none."""
        return next((i for i, solution in enumerate(self.solutions, 1) if solution.reward >= SOLVED), None)


def best_of(solutions: Generator[Solution] | tuple[Solution, ...] | list[Solution]) -> Solution | None:
    """The solution with the highest reward, the earliest of several."""
    return max(solutions, key=lambda solution: solution.reward, default=None)


def draw(
    problem: VisibleProblem, prefix: Units, node: int, first: int, count: int = 1
) -> Generator[Any, Any, list[Solution]]:
    """Draws answers that begin with `prefix`, and has them graded; fewer than asked for if the budget ends.

    Args:
      problem: which.
      prefix: the part of the answer that is held fixed.
      node: names the random stream of the prefix.
      first: number of the first draw of that stream.
      count: draws.

    Raises:
      BudgetExhaustedError: if nothing may be drawn, or graded, any more.
    """
    decoding = dataclasses.replace(problem.decoding, max_tokens=problem.decoding.max_tokens - len(prefix))
    path = (problem.seed, problem.number, node)
    request = Request(continued(problem.prompt, prefix), count, decoding, path, first_draw=first)
    reply = yield Sample(request)
    answers = [prefix + units_of(completion, problem.prompt) for completion in reply.completions]
    verdicts = yield Verify(problem.verifier, tuple(GradedAnswer(problem.number, answer) for answer in answers))
    if not verdicts.values:
        raise BudgetExhaustedError(verdicts.error)
    return [Solution(answer, float(reward)) for answer, reward in zip(answers, verdicts.values, strict=False)]
