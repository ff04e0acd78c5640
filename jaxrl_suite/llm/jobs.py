"""An algorithm as a generator that asks for samples and verdicts, and the state of one that is running.

    def best_of(n, ledger):
        reply = yield Sample(Request(prompt, num_samples=n))
        verdicts = yield Verify("tests", tuple(completion.text for completion in reply.completions))
        return max(verdicts.values)

It yields a question or a tuple of them, is sent the answer or a tuple of them, and returns its result. See `lockstep`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, TypeAlias

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.ledger import Budget, BudgetExhaustedError, Ledger
from jaxrl_suite.llm.protocol import Reply, Usage
from jaxrl_suite.llm.questions import Answer, Question, Sample, SampleSlot, Slot, Verify, VerifySlot

PATIENCE = 1000  # refusals in a row that a job may answer with another question

Algorithm: TypeAlias = Generator[Question | tuple[Question, ...], Any, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """One algorithm on one problem and seed.

    Args:
      name: tells the jobs of a run apart.
      start: makes the generator; its ledger tells it what is left, and takes note of what it discards.
      budget: of this job alone. When nothing of what the job asks for may be spent, `BudgetExhaustedError` is raised
        where it asked, so that it can return the best that it has.
    """

    name: str
    start: Callable[[Ledger], Algorithm]
    budget: Budget = Budget()  # noqa: RUF009 (it is frozen)


@dataclasses.dataclass(frozen=True)
class JobOutcome:
    """The end of a job.

    Args:
      name: of the job.
      value: what it returned; None if it raised.
      error: what it raised, or None.
      ledger: what it cost, or had cost when it was recorded.
      fresh: what its samples cost now.
    """

    name: str
    value: Any
    error: Exception | None
    ledger: Ledger
    fresh: Usage


class SamplerFailedError(Exception):
    """A model failed. Raised where a job asked; `answers` holds what was paid for, one a question."""

    def __init__(self, message: str, answers: tuple[Answer, ...]):
        super().__init__(message)
        self.answers = answers


class Running:
    """A job that is running: the questions that it waits for, and what they may cost.

    Args:
      job: which.
      samplers: names that it may ask.
      verifiers: names that it may ask.
    """

    def __init__(self, job: Job, samplers: Collection[str], verifiers: Collection[str]):
        self.job, self.ledger = job, Ledger(job.budget)
        self._fresh = Usage()
        self.outcome: JobOutcome | None = None
        self._known = {Sample: samplers, Verify: verifiers}
        self._algorithm: Algorithm | None = None
        self._slots: list[Slot] = []
        self._several = False
        self._refusals = 0

    def orders(self) -> list[Slot]:
        """Runs the algorithm until it waits for something that may be paid for; what that is. None if it has ended."""
        while self.outcome is None:
            granted = self._grant()
            if granted:
                return granted
            self._resume()
        return []

    def close(self) -> None:
        """Ends the algorithm where it is. What its clean-up raises is no one's answer any more."""
        if self._algorithm is not None:
            with contextlib.suppress(Exception):
                self._algorithm.close()

    def _grant(self) -> list[Slot]:
        """Slots with something to serve. After one that was cut the others wait, so that their order decides."""
        granted: list[Slot] = []
        for slot in self._slots:
            if slot.is_done:
                continue
            if slot.grant(alone=not granted):
                granted.append(slot)
            if not slot.is_done and not slot.is_whole:
                break
        return granted

    def _resume(self) -> None:
        """Gives the answers to the algorithm, or raises in it, and takes its next questions."""
        try:
            if self._algorithm is None:
                algorithm = self.job.start(self.ledger)
                if not isinstance(algorithm, Generator):
                    raise UserError(
                        f"{self.job.name} starts with a {type(algorithm).__name__}, not a generator: write its "
                        "algorithm with yield"
                    )
                self._algorithm = algorithm
                asked = next(algorithm)
            else:
                answers = tuple(slot.answer() for slot in self._slots)
                for answer in answers:
                    if isinstance(answer, Reply):
                        self._fresh += answer.fresh
                problem = self._problem(answers)
                if problem is not None:
                    asked = self._algorithm.throw(problem)
                else:
                    asked = self._algorithm.send(answers if self._several else answers[0])
            self._several = isinstance(asked, tuple)
            self._slots = [self._slot(question) for question in (asked if isinstance(asked, tuple) else (asked,))]
        except StopIteration as stop:
            self.outcome = JobOutcome(self.job.name, stop.value, None, self.ledger, self._fresh)
        except Exception as error:
            self.close()
            self.outcome = JobOutcome(self.job.name, None, error, self.ledger, self._fresh)

    def _slot(self, question: Any) -> Slot:
        kind = next((kind for kind in self._known if isinstance(question, kind)), None)
        if kind is None:
            raise UserError(
                f"{self.job.name} asked for a {type(question).__name__}: yield Sample or Verify, or a tuple"
            )
        slot = SampleSlot(self.ledger, question) if isinstance(question, Sample) else VerifySlot(self.ledger, question)
        if slot.service not in self._known[kind]:
            word = "sampler" if kind is Sample else "verifier"
            raise UserError(
                f"{self.job.name}: no {word} is called {slot.service!r}{suggest(slot.service, self._known[kind])}"
            )
        return slot

    def _problem(self, answers: tuple[Answer, ...]) -> Exception | None:
        """The error to raise in the algorithm instead of answering."""
        raised = next((slot.raised for slot in self._slots if slot.raised is not None), None)
        if raised is not None:
            return raised
        failed = next((answer.error for answer in answers if answer.error and not answer.exhausted), None)
        if failed is not None:
            return SamplerFailedError(failed, answers)
        if not self._slots or any(slot.has_something for slot in self._slots):
            self._refusals = 0
            return None
        self._refusals += 1
        if self._refusals > PATIENCE:
            raise UserError(f"{self.job.name} asked {PATIENCE} times after its budget was spent: let it return")
        return BudgetExhaustedError(answers[0].error)


def together(algorithms: Sequence[Algorithm]) -> Algorithm:
    """Runs `algorithms` side by side; returns what they returned, in their order.

    Each is answered as if it ran alone: a failure of the model, or the end of the budget, is raised in those whose
    questions it left without an answer. If one of them raises, the others are closed and this raises the same.

        drafts = yield from together([implement(idea) for idea in ideas])
    """
    results: list[Any] = [None] * len(algorithms)
    waiting: dict[int, tuple[tuple[Question, ...], bool]] = {}
    try:
        for place, algorithm in enumerate(algorithms):
            _advance(place, algorithm, None, results, waiting)
        while waiting:
            places = list(waiting)
            sizes = [len(waiting[place][0]) for place in places]
            problem: Exception | None = None
            answers: tuple[Answer, ...] = ()
            try:
                answers = yield tuple(question for place in places for question in waiting[place][0])
            except SamplerFailedError as error:
                answers = error.answers
            except Exception as error:
                problem = error
            for place, size in zip(places, sizes, strict=True):
                mine, answers = answers[:size], answers[size:]
                said = problem if problem is not None else _judged(mine, several=waiting[place][1])
                _advance(place, algorithms[place], said, results, waiting)
    finally:
        for algorithm in algorithms:
            algorithm.close()
    return results


def _advance(place: int, algorithm: Algorithm, answer: Any, results: list[Any], waiting: dict[int, Any]) -> None:
    """Gives an algorithm its answer, or raises in it, and notes what it asks next or has returned."""
    waiting.pop(place, None)
    try:
        asked = algorithm.throw(answer) if isinstance(answer, Exception) else algorithm.send(answer)
    except StopIteration as stop:
        results[place] = stop.value
        return
    if isinstance(asked, tuple) and not asked:
        raise UserError("an algorithm asked nothing: yield at least one question")
    waiting[place] = (asked, True) if isinstance(asked, tuple) else ((asked,), False)


def _judged(answers: tuple[Answer, ...], *, several: bool) -> Any:
    """The answers as the algorithm expects them, or what to raise in it."""
    failed = next((answer.error for answer in answers if answer.error and not answer.exhausted), None)
    if failed is not None:
        return SamplerFailedError(failed, answers)
    if not any(getattr(answer, "completions", None) or getattr(answer, "values", None) for answer in answers):
        spent = next((answer.error for answer in answers if answer.exhausted), None)
        if spent is not None:
            return BudgetExhaustedError(spent)
    return answers if several else answers[0]
