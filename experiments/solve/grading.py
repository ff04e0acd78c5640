"""Grades of `solve`: visible tests for a search, hidden ones and answers at the end; programs run in the sandbox."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from jaxrl_suite.experiments.solve.problems import HiddenTask, VisibleTask, checks
from jaxrl_suite.llm.fences import without_thinking
from jaxrl_suite.llm.parsing import code_of
from jaxrl_suite.sandbox import Limits, Program, Sandbox, SandboxVerdict, run_programs
from jaxrl_suite.scaling.forest.text import TextAnswer
from jaxrl_suite.scaling.forest.thinker import Feedback
from jaxrl_suite.scaling.records import GradedAnswer

LIMITS = Limits(seconds=10.0)
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_SAID = re.compile(r"answer\W{0,6}(?:is|:|=)\s*(.+)", re.IGNORECASE)


class TestJudge:
    """Visible tests of all problems, those included that a model has written.

    Args:
      sandbox: where programs run.
      tasks: by the number of the problem.
    """

    __test__ = False  # no test of pytest's

    def __init__(self, sandbox: Sandbox, tasks: Sequence[VisibleTask]):
        self.sandbox, self.tasks = sandbox, tasks
        self.written: dict[int, tuple[str, ...]] = {}

    def tests(self, number: int) -> tuple[str, ...]:
        return self.tasks[number].tests or self.written.get(number, ())

    def feedback(self, answers: Sequence[TextAnswer]) -> list[Feedback]:
        """Verdicts of the tests on programs; an answer without a program, or a problem without tests, scores 0."""
        programs, tests, places = [], [], []
        for place, answer in enumerate(answers):
            task, code = self.tasks[answer.number], self.tests(answer.number)
            if answer.text.strip() and code:
                programs.append(Program(answer.text, task.entry))
                tests.append(checks(code, task.setup))
                places.append(place)
        found = [Feedback(0.0) for _ in answers]
        for place, report in zip(places, run_programs(self.sandbox, programs, tests, LIMITS), strict=True):
            code = self.tests(answers[place].number)
            passed = tuple(outcome.verdict is SandboxVerdict.PASS for outcome in report.outcomes)
            lines = tuple(
                f"{test.strip()}: {o.feedback or o.verdict}" for test, o in zip(code, report.outcomes, strict=True)
            )
            found[place] = Feedback(report.reward, passed, lines)
        return found

    def rewards(self, answers: Sequence[GradedAnswer]) -> list[float]:
        """Rewards of whole answers in words, of which the program is taken."""
        texts = [code_of("".join(map(str, a.tokens)), self.tasks[a.number].entry) for a in answers]
        graded = [TextAnswer(a.number, "" if t.problem else t.text) for a, t in zip(answers, texts, strict=True)]
        return [feedback.score for feedback in self.feedback(graded)]


def final_answer(text: str) -> str | None:
    """The end of an answer in words: its last box, else what follows "answer", else its last line."""
    text = without_thinking(text).strip()
    boxed = _BOXED.findall(text)
    if boxed:
        return normal(boxed[-1])
    said = _SAID.findall(text)
    lines = [line for line in text.splitlines() if line.strip()]
    chosen = said[-1] if said else lines[-1] if lines else ""
    return normal(chosen) or None


def normal(text: str) -> str:
    """An answer in one form: no dollars, stars, blanks or last point; numbers without separators or last zeros."""
    text = re.sub(r"[\s$*`]+", " ", text).strip().rstrip(".").strip()
    number = text.replace(",", "") if _GROUPED.fullmatch(text) else text
    try:
        value = Decimal(number)
    except InvalidOperation:
        return text.casefold()
    return format(value.normalize() + 0, "f") if value.is_finite() else text.casefold()


def judge(sandbox: Sandbox | None, visible: VisibleTask, hidden: HiddenTask, text: str) -> bool | None:
    """Decides at the end whether an answer is right: by hidden tests, by the answer, else by nothing (None).

    Args:
      sandbox: where programs run; needed for hidden tests alone.
      visible: the problem.
      hidden: what decides.
      text: the program, or the answer in words.
    """
    if hidden.tests and sandbox is not None:
        if not text.strip():
            return False
        program = Program(text, visible.entry)
        return run_programs(sandbox, [program], [checks(hidden.tests, visible.setup)], LIMITS)[0].passed
    if hidden.answer is not None:
        return final_answer(text) == normal(hidden.answer)
    return None
