"""Questions to a proposer: conclusions, ideas, and strategies that can be played, or what went wrong.

Every generator here asks through `jaxrl_suite.llm.jobs`, so that the attempts of a round, and of many searches, share
their calls. A text that cannot be used is never an error: it is a failure in a line, shown to the proposer and logged.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.journal import Journal, Log, service
from jaxrl_suite.evolve.methods import METHODS, EvolveConfig, Method, Search
from jaxrl_suite.evolve.proposer import Asking, Draft, Path, Proposer
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.llm.jobs import together
from jaxrl_suite.llm.ledger import BudgetExhaustedError, Ledger
from jaxrl_suite.llm.questions import Verify

T = TypeVar("T", bound="Draft | str | tuple[str, ...]")


@dataclasses.dataclass(frozen=True)
class SearchSetup:
    """One search: what it is made of.

    Args:
      config: the method and its constants.
      proposer: writes strategies.
      seed: of its random choices, and the first part of every path.
      kind: of the strategies, by name.
      judge: name of the judge, where there are several.
      log: takes note of each event, see `Journal.log`.
      games: that the judge plays in a round, a quarter of them to judge the seeds; None leaves it to the judge.
    """

    config: EvolveConfig
    proposer: Proposer
    seed: int = 0
    kind: str = "heuristic"
    judge: str = ""
    log: Log = dataclasses.field(default_factory=lambda: Journal().log("search"))
    games: int | None = None

    def __post_init__(self):
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise UserError(f"seed must be a whole number from 0 to 2**32 - 1, got {self.seed!r}")

    @property
    def method(self) -> Method:
        return METHODS[self.config.method]


class Tally:
    """Counts what one round asks for, beside the ledger: calls of the proposer and what it wrote."""

    def __init__(self, ledger: Ledger):
        self.ledger, self.calls, self.characters, self.checks = ledger, 0, 0, 0
        self._before = ledger.total

    @property
    def tokens(self) -> tuple[int, int]:
        """Prompt and output tokens since the tally began."""
        now = self.ledger.total
        return now.prompt_tokens - self._before.prompt_tokens, now.output_tokens - self._before.output_tokens


@dataclasses.dataclass(frozen=True)
class Attempt:
    """The end of an attempt.

    Args:
      draft: the last text.
      failures: a line for each text that could not be used.
      passed: whether the last one can.
      spent: why it was broken off, if the budget ended.
    """

    draft: Draft
    failures: tuple[str, ...]
    passed: bool
    spent: str = ""


def propose(setup: SearchSetup, tally: Tally, call: str, path: Path, *args: Any) -> Asking[Any]:
    """The proposer's answer to `call`, counted and logged."""
    result = yield from getattr(setup.proposer, call)(*args, path)
    if result is not None:
        texts = (result.text,) if isinstance(result, Draft) else (result,) if isinstance(result, str) else result
        tally.calls += 1
        tally.characters += sum(map(len, texts))
    setup.log("proposal", call=call, path=path, result=_to_json(result))
    return result


def attempt(
    setup: SearchSetup, tally: Tally, call: str, path: Path, *args: Any, parent: Strategy | None = None, repairs: int
) -> Asking[Attempt]:
    """A text from the proposer's `call`, mended up to `repairs` times.

    It ends early when the proposer has nothing else to offer, or the budget ends.

    Args:
      setup: the search.
      tally: counts.
      call: seed, implement or follow.
      path: of the first text, three integers; mends have their number behind it.
      args: of the call.
      parent: a text that is its own, unchanged, counts as a failure, if the config says so.
      repairs: at most.
    """
    failures: list[str] = []
    draft = Draft("", problem="the budget ended before it was written")
    try:
        draft = yield from propose(setup, tally, call, (*path, 0), *args)
        for number in range(repairs + 1):
            failure = yield from _failure(setup, tally, draft, parent)
            if not failure:
                return Attempt(draft, tuple(failures), passed=True)
            failures.append(failure)
            setup.log("failure", path=(*path, number), failure=failure)
            if number == repairs:
                break
            mended = yield from propose(setup, tally, "repair", (*path, number + 1), draft, failure)
            if mended is None:
                break
            draft = mended
    except BudgetExhaustedError as error:
        return Attempt(draft, tuple(failures), passed=False, spent=str(error))
    return Attempt(draft, tuple(failures), passed=False)


def conclude(setup: SearchSetup, search: Search, tally: Tally, strategy: int, path: Path) -> Asking[str]:
    """Conclusions from the states that a strategy was judged on."""
    states = search.states.get(strategy, ())[: search.config.feedback]
    return (yield from propose(setup, tally, "conclusions", path, search.tree[strategy], states))


def new_ideas(
    setup: SearchSetup, search: Search, tally: Tally, parent: int, count: int, path: Path
) -> Asking[tuple[str, ...]]:
    """A strategy is looked at, and up to `count` ideas come of it."""
    said = yield from conclude(setup, search, tally, parent, path)
    known = tuple(idea.text for idea in search.queue.ideas if idea.source == parent)
    return (yield from propose(setup, tally, "ideas", path, search.tree[parent], said, known, count))


def revised_thoughts(
    setup: SearchSetup, search: Search, tally: Tally, parent: int, count: int, path: Path
) -> Asking[list[str]]:
    """A strategy is looked at, and its thought is revised `count` times."""
    said = yield from conclude(setup, search, tally, parent, path)
    revisions = [propose(setup, tally, "revise", (*path, place), search.tree[parent], said) for place in range(count)]
    return (yield from together(revisions))


def _failure(setup: SearchSetup, tally: Tally, draft: Draft, parent: Strategy | None) -> Asking[str]:
    """Reason why a draft cannot be used, or "". One in compact form needs no check: it is right by construction."""
    if draft.problem:
        return draft.problem
    if setup.config.refuse_copies and parent is not None and _same(draft, parent):
        return "nothing was changed: carry out the idea"
    if draft.weights is not None:
        return ""
    tally.checks += 1
    verdicts = yield Verify(service("check", setup.judge), (draft.text,), role="check")
    return verdicts.values[0]


def _same(draft: Draft, parent: Strategy) -> bool:
    if draft.weights is not None and parent.weights is not None:
        return draft.weights == parent.weights
    return draft.text.split() == parent.text.split()


def _to_json(result: Draft | str | tuple[str, ...] | None) -> Any:
    """A proposer's answer as JSON values."""
    return dataclasses.asdict(result) if isinstance(result, Draft) else result
