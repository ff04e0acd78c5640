"""The interface between a search over whole solutions and a model that thinks about them.

A search decides which solution to improve and when; a `Thinker` writes: first solutions, directions of improvement,
edits along a direction, and insights that later directions take account of. There is one for text and one for tokens,
and one whose probabilities are known. A thinker serves one problem; its calls are generators that ask through
`llm.jobs`, so that the searches of many problems share their batches. Each role (solve, idea, edit, insight, verbalize,
test) is a column of the ledger, and may be served by a model of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from jaxrl_suite.llm.questions import Question

T = TypeVar("T")
Asking: TypeAlias = Generator[Question | tuple[Question, ...], Any, T]
Path: TypeAlias = tuple[int, ...]
Models: TypeAlias = Mapping[str, str]  # role to the name of a sampler; "main" for those that it leaves out

# The second number of every path after the seed and the problem: what the draw is for. 0 is what best-of-N draws from.
SOLVE, IDEA, EDIT, INSIGHT, VERBALIZE, TEST = range(6)


class Feedback(NamedTuple):
    """Feedback of the visible tests on a solution; all that a search learns of it."""

    score: float  # share of the tests that passed
    passed: tuple[bool, ...] = ()  # one a test
    outputs: tuple[str, ...] = ()  # a line a test: what came out, for those that a thinker can be shown


class Direction(NamedTuple):
    """A direction of improvement."""

    text: str  # names it; of tokens too
    logprob: float = 0.0  # of the whole direction, where it is known
    token: int = -1  # of a thinker whose directions are tokens


class DraftSolution(NamedTuple):
    """A solution as it was written."""

    solution: Any  # token ids, or text
    logprob: float = 0.0  # summed over its tokens; 0 where unknown


class Subject(NamedTuple):
    """A solution with its feedback, as a thinker is shown it."""

    solution: Any
    feedback: Feedback


class Thinker(Protocol):
    """Writes solutions, directions, edits and insights for one problem.

    Attributes:
      key: (seed, number of the problem), the first two numbers of every path.
      num_themes: of first solutions; 0 if there is none.
      no_insights: before anything was learnt.
    """

    @property
    def key(self) -> tuple[int, int]: ...
    @property
    def num_themes(self) -> int: ...
    @property
    def no_insights(self) -> Any: ...

    def seed(self, draw: int, theme: int | None) -> Asking[DraftSolution]:
        """First solution `draw`; without a theme the very draw of best-of-N."""
        ...

    def several(self, count: int, draw: int) -> Asking[tuple[DraftSolution, ...]]:
        """Up to `count` different solutions from one request, by verbalized sampling."""
        ...

    def directions(
        self, subject: Subject, insights: Any, tried: Sequence[Direction], count: int, path: Path, *, scatter: bool
    ) -> Asking[tuple[Direction, ...]]:
        """Up to `count` directions in which to improve a solution, from one request.

        Args:
          subject: which.
          insights: what was learnt so far.
          tried: directions that it has been given before.
          count: how many.
          path: names the draw.
          scatter: they should differ from each other and from those tried; else each is drawn by itself.
        """
        ...

    def edit(self, subject: Subject, direction: Direction | None, path: Path) -> Asking[DraftSolution]:
        """The solution, rewritten along a direction; repaired as the model thinks best if there is none."""
        ...

    def learn(
        self, insights: Any, before: Subject, direction: Direction | None, after: Subject, path: Path
    ) -> Asking[Any]:
        """The insights, after a direction was tried."""
        ...

    def grade(self, solution: Any) -> Asking[Feedback]:
        """Feedback of the visible tests.

        Raises:
          BudgetExhaustedError: if they may not be run any more.
        """
        ...

    def show(self, solution: Any) -> str:
        """The solution as text, for a trace."""
        ...
