"""Several algorithms as one, whose questions go out together; see `jobs` for what an algorithm is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm, SamplerFailedError
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.questions import Answer, Question


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
