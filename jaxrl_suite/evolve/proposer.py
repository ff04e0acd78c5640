"""The protocol of a proposer: it draws conclusions, has ideas, and writes, mends and revises strategies.

Every method is a generator in the manner of `jaxrl_suite.llm.jobs`: it yields questions to a model, is sent the
answers, and returns its result; one that needs no model returns at once. `path` names its random stream: the same
arguments and path give the same result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.llm.questions import Question

T = TypeVar("T")
Asking: TypeAlias = Generator["Question | tuple[Question, ...]", Any, T]
Path: TypeAlias = tuple[int, ...]

# Part of a request's path, so that no two kinds of call share a random stream.
CALLS: Mapping[str, int] = {
    "seed": 0,
    "conclusions": 1,
    "ideas": 2,
    "revise": 3,
    "implement": 4,
    "follow": 5,
    "repair": 6,
}


@dataclasses.dataclass(frozen=True)
class Draft:
    """A text that is to become a strategy.

    Args:
      text: the source or worksheet; what was answered instead if there is none in it.
      weights: of the same function in compact form.
      thought: the summary that it follows.
      problem: why there is no text in the answer, for a repair; empty if there is one.
    """

    text: str
    weights: tuple[float, ...] | None = None
    thought: str = ""
    problem: str = ""


class Proposer(Protocol):
    """Writes strategies. See `GrammarProposer` (no model) and `LanguageModelProposer`."""

    @property
    def name(self) -> str: ...

    def seed(self, path: Path) -> Asking[Draft]:
        """A first strategy."""
        ...

    def conclusions(self, strategy: Strategy, states: Sequence[KeyState], path: Path) -> Asking[str]:
        """Conclusions about the strategy from the states in which search and heuristic disagree."""
        ...

    def ideas(
        self, strategy: Strategy, conclusions: str, known: Sequence[str], count: int, path: Path
    ) -> Asking[tuple[str, ...]]:
        """Up to `count` ideas how to improve it, other than those `known`."""
        ...

    def revise(self, strategy: Strategy, conclusions: str, path: Path) -> Asking[str]:
        """The strategy's thought in the light of the conclusions."""
        ...

    def implement(self, strategy: Strategy, idea: str, path: Path) -> Asking[Draft]:
        """The strategy with the idea carried out."""
        ...

    def follow(self, strategy: Strategy, thought: str, path: Path) -> Asking[Draft]:
        """The strategy rewritten after a revised thought."""
        ...

    def repair(self, draft: Draft, failure: str, path: Path) -> Asking[Draft | None]:
        """A draft without the failure that it had; None if the proposer has nothing else to offer."""
        ...


class ReplayProposer:
    """Proposes what a journal says was proposed.

    Args:
      known: (call, path) to the result, see `Journal.proposals`.
      name: of the proposer that it stands in for.
    """

    def __init__(self, known: Mapping[tuple[str, Path], Any], name: str = "replay"):
        self.known, self.name = known, name

    def _answer(self, call: str, path: Path, read: Callable[[Any], T]) -> Asking[T]:
        if (call, path) not in self.known:
            raise UserError(f"the journal has no {call} proposal of path {path}: replay the same method and seed")
        return read(self.known[call, path])
        yield  # makes it a generator

    def seed(self, path: Path) -> Asking[Draft]:
        return self._answer("seed", path, draft_from_json)

    def conclusions(self, strategy: Strategy, states: Sequence[KeyState], path: Path) -> Asking[str]:
        return self._answer("conclusions", path, str)

    def ideas(
        self, strategy: Strategy, conclusions: str, known: Sequence[str], count: int, path: Path
    ) -> Asking[tuple[str, ...]]:
        return self._answer("ideas", path, tuple)

    def revise(self, strategy: Strategy, conclusions: str, path: Path) -> Asking[str]:
        return self._answer("revise", path, str)

    def implement(self, strategy: Strategy, idea: str, path: Path) -> Asking[Draft]:
        return self._answer("implement", path, draft_from_json)

    def follow(self, strategy: Strategy, thought: str, path: Path) -> Asking[Draft]:
        return self._answer("follow", path, draft_from_json)

    def repair(self, draft: Draft, failure: str, path: Path) -> Asking[Draft | None]:
        return self._answer("repair", path, lambda data: None if data is None else draft_from_json(data))


def draft_from_json(data: Mapping[str, Any]) -> Draft:
    weights = None if data["weights"] is None else tuple(data["weights"])
    return Draft(**{**data, "weights": weights})
