"""Candidate programs run against tests, with a verdict for each test.

A `Case` is a call and its expected value. The value that the program returns comes out of the sandbox as plain data and
is compared here; the expected value never goes in, so a pass cannot be forged, only computed or guessed. A `Check` is
test code with assertions. It runs in the sandbox too, but in another process than the candidate, which it reaches only
through calls with plain data; the candidate can make it fail, and cannot make it pass.

What follows from plain data: arguments that a program changes in place look unchanged to a test, an object of a class
of its own cannot be returned, and test code cannot look inside the program. The arguments of a call are known to the
program while it answers that call, and no test's to another: each test is a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.inside import plain
from jaxrl_suite.sandbox.records import SHOWN, Limits, Process, SandboxJob, SandboxOutcome, SandboxVerdict, read_reply
from jaxrl_suite.sandbox.sandbox import Sandbox


@dataclasses.dataclass(frozen=True)
class Program:
    """Python source and the name of the function in it that tests call; the standard library is there to import."""

    source: str
    entry: str


@dataclasses.dataclass(frozen=True)
class Case:
    """One call and what it must return.

    Args:
      args: plain data: None, bools, numbers, strings, bytes, lists, tuples, dicts, sets.
      expected: plain data; compared as `==` does, nan equal to nan.
      kwargs: the same, by name.
      tolerance: largest absolute or relative difference of floats.

    Raises:
      UserError: if a value is not plain data, or the tolerance is negative.
    """

    args: tuple[Any, ...]
    expected: Any
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tolerance: float = 0.0

    def __post_init__(self):
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UserError(f"tolerance must be a number of at least 0, got {self.tolerance}")
        for value in (self.args, dict(self.kwargs), self.expected):
            try:
                plain.encode(value)
            except plain.NotPlainError as error:
                raise UserError(f"a test holds {error}: use numbers, strings, lists, tuples, dicts and sets") from None

    def __str__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return plain.shorten(", ".join([*map(repr, self.args), *named]), SHOWN)


@dataclasses.dataclass(frozen=True)
class Check:
    """Test code that passes if it raises nothing.

    Args:
      code: calls the candidate by the entry's name, or as `candidate`; a function `check` in it is called with the
        candidate, as HumanEval has it.
    """

    code: str


class TestOutcome(NamedTuple):
    """The outcome of a program on one test."""

    __test__ = False  # not one of pytest's

    verdict: SandboxVerdict
    feedback: str  # one line for a repair prompt: what was returned or raised; empty after a pass
    seconds: float


@dataclasses.dataclass(frozen=True)
class ProgramReport:
    """The outcomes of a program on its tests, in their order."""

    tests: tuple[Case | Check, ...]
    outcomes: tuple[TestOutcome, ...]

    @property
    def reward(self) -> float:
        """The fraction of tests passed, 0 to 1."""
        return sum(outcome.verdict is SandboxVerdict.PASS for outcome in self.outcomes) / len(self.outcomes)

    @property
    def passed(self) -> bool:
        return all(outcome.verdict is SandboxVerdict.PASS for outcome in self.outcomes)

    def feedback(self, most: int = 3) -> str:
        """The first tests that failed, a line each, for a repair prompt. It holds their calls and expected values."""
        lines = []
        for test, outcome in zip(self.tests, self.outcomes, strict=True):
            if outcome.verdict is not SandboxVerdict.PASS and len(lines) < most:
                call = f"call({test})" if isinstance(test, Case) else "the test code"
                wanted = (
                    f", expected {plain.show(plain.encode(test.expected), SHOWN)}" if isinstance(test, Case) else ""
                )
                lines.append(f"{call} {outcome.feedback}{wanted}")
        return "\n".join(lines)


def run_programs(
    sandbox: Sandbox,
    programs: Sequence[Program],
    tests: Sequence[Sequence[Case | Check]],
    limits: Limits = Limits(),  # noqa: B008
) -> list[ProgramReport]:
    """Runs each program against its tests.

    Args:
      sandbox: of the toolset `PROGRAMS`.
      programs: candidates.
      tests: for each program its tests, at least one.
      limits: of each test.

    Returns:
      A report for each program. Nothing that a program does raises here.

    Raises:
      UserError: if a program has no test.
    """
    if len(programs) != len(tests) or not all(tests):
        raise UserError("give each program a list of at least one test")
    pairs = [(program, test) for program, group in zip(programs, tests, strict=True) for test in group]
    outcomes = sandbox.run([_job(program, test, limits) for program, test in pairs])
    judged = iter([_judge(test, outcome) for (_, test), outcome in zip(pairs, outcomes, strict=True)])
    return [ProgramReport(tuple(group), tuple(next(judged) for _ in group)) for group in tests]


def _job(program: Program, test: Case | Check, limits: Limits) -> SandboxJob:
    if isinstance(test, Case):
        task = dataclasses.asdict(program) | {
            "args": plain.encode(test.args),
            "kwargs": plain.encode(dict(test.kwargs)),
        }
        return SandboxJob((Process("serve", json.dumps(task).encode()),), limits)
    judge = {"code": test.code, "entry": program.entry}
    serve = Process("serve", json.dumps(dataclasses.asdict(program)).encode())
    return SandboxJob((serve, Process("judge", json.dumps(judge).encode())), limits)


def _judge(test: Case | Check, outcome: SandboxOutcome) -> TestOutcome:
    if outcome.verdict is not None:
        verdict, feedback = outcome.verdict, f"did not finish: {outcome.verdict} ({outcome.detail})"
    else:
        verdict, feedback = _case(test, outcome) if isinstance(test, Case) else _check(outcome)
    return TestOutcome(verdict, feedback, outcome.seconds)


def _case(test: Case, outcome: SandboxOutcome) -> tuple[SandboxVerdict, str]:
    reply = read_reply(outcome.replies[0])
    if reply is None:
        return SandboxVerdict.CRASH, "ended without a result"
    if "error" in reply:
        return _error(reply["error"])
    try:
        actual = plain.check(reply["value"])
        equal = plain.equal(plain.encode(test.expected), actual, test.tolerance)
    except (KeyError, plain.NotPlainError):
        return SandboxVerdict.CRASH, "ended without a result"
    if equal:
        return SandboxVerdict.PASS, ""
    return SandboxVerdict.WRONG, f"returned {plain.show(actual, SHOWN)}"


def _check(outcome: SandboxOutcome) -> tuple[SandboxVerdict, str]:
    reply = read_reply(outcome.replies[1])
    if reply is None:
        return SandboxVerdict.CRASH, "ended without a result"
    if reply.get("passed") is True:
        return SandboxVerdict.PASS, ""
    error = reply.get("error")
    if not isinstance(error, dict):  # the candidate's process ended first
        verdict, detail = outcome.ends[0]
        return verdict or SandboxVerdict.CRASH, f"did not finish: {detail or 'it ended without a result'}"
    if error.get("candidate") or error.get("type") != "AssertionError":
        return _error(error)
    reason = error.get("message") or error.get("text") or ""
    return SandboxVerdict.WRONG, f"failed: {plain.shorten(str(reason), SHOWN)}"


def _error(error: Any) -> tuple[SandboxVerdict, str]:
    fields = error if isinstance(error, dict) else {}
    kind, message, text = (plain.shorten(str(fields.get(name) or ""), SHOWN) for name in ("type", "message", "text"))
    line = fields.get("line")
    where = f" at line {line}, {text!r}" if isinstance(line, int) and text else ""
    verdict = SandboxVerdict.MEMORY if kind == "MemoryError" else SandboxVerdict.ERROR
    return verdict, f"raised {kind}{': ' if message else ''}{message}{where}"
