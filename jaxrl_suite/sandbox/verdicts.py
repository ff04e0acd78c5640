"""From a job's outcome to the verdict on one test, with a line for a repair prompt. All that is read here is data."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from jaxrl_suite.sandbox.cases import Case, Check, StdinCase, Test
from jaxrl_suite.sandbox.inside import plain
from jaxrl_suite.sandbox.records import SHOWN, SandboxOutcome, SandboxVerdict, read_reply

SCRIPT_FAILED = "exit code 71"  # of a script that raised, see `inside.program`
UNREADABLE = SandboxVerdict.CRASH, "ended without a result"


class TestOutcome(NamedTuple):
    """The outcome of a program on one test."""

    __test__ = False  # not one of pytest's

    verdict: SandboxVerdict
    feedback: str  # one line for a repair prompt: what was returned or raised; empty after a pass
    seconds: float


def judge(test: Test, outcome: SandboxOutcome) -> TestOutcome:
    """The verdict on one test. Whatever the sandbox answered, nothing is raised: other programs wait for theirs."""
    try:
        if isinstance(test, StdinCase):
            verdict, feedback = _script(test, outcome)
        elif outcome.verdict is not None:
            verdict, feedback = outcome.verdict, f"did not finish: {outcome.verdict} ({outcome.detail})"
        elif isinstance(test, Case):
            verdict, feedback = _case(test, outcome)
        else:
            verdict, feedback = _check(outcome)
    except Exception:
        verdict, feedback = UNREADABLE
    return TestOutcome(verdict, feedback, outcome.seconds)


def changed_arguments(test: Test, outcome: SandboxOutcome) -> bool:
    """True if test code ran to an end, and a call had changed an argument in a way that the test did not see."""
    if not isinstance(test, Check) or outcome.verdict is not None:
        return False
    reply = read_reply(outcome.replies[1])
    return reply is not None and reply.get("changed") is True and ("error" in reply or "passed" in reply)


def after_change(first: TestOutcome, second: TestOutcome) -> TestOutcome:
    """The verdict on test code that was run again and saw every change of its arguments.

    It is what Python would say, with one exception: no pass is given if the test failed before. A program that empties
    its argument could return what the test computes from that argument then.
    """
    if second.verdict is not SandboxVerdict.PASS or first.verdict is SandboxVerdict.PASS:
        return second
    line = "the program changes an argument in place and returns a value, and the test looks at both"
    return first._replace(verdict=SandboxVerdict.UNSUPPORTED, feedback=_unsupported(line))


def _case(test: Case, outcome: SandboxOutcome) -> tuple[SandboxVerdict, str]:
    reply = read_reply(outcome.replies[0])
    if reply is None:
        return UNREADABLE
    if "error" in reply:
        return _error(reply["error"])
    if "uncarried" in reply:
        return SandboxVerdict.UNSUPPORTED, _unsupported(reply["uncarried"])
    actual = plain.check(reply["value"])
    if plain.equal(plain.encode(test.expected), actual, test.tolerance):
        return SandboxVerdict.PASS, ""
    return SandboxVerdict.WRONG, f"returned {plain.show(actual, SHOWN)}"


def _check(outcome: SandboxOutcome) -> tuple[SandboxVerdict, str]:
    reply = read_reply(outcome.replies[1])
    if reply is None:
        return UNREADABLE
    if reply.get("passed") is True:
        return SandboxVerdict.PASS, ""
    if reply.get("untested") is True:
        return SandboxVerdict.UNTESTED, "never called the program: it tests nothing"
    if "uncarried" in reply:
        return SandboxVerdict.UNSUPPORTED, _unsupported(reply["uncarried"])
    error = reply.get("error")
    if not isinstance(error, dict):  # the candidate's process ended first
        verdict, detail = outcome.ends[0]
        return verdict or SandboxVerdict.CRASH, f"did not finish: {detail or 'it ended without a result'}"
    if error.get("candidate") or error.get("type") != "AssertionError":
        return _error(error)
    reason = _text(error.get("message")) or _text(error.get("text"))
    return SandboxVerdict.WRONG, f"failed: {plain.shorten(reason, SHOWN)}"


def _script(test: StdinCase, outcome: SandboxOutcome) -> tuple[SandboxVerdict, str]:
    if outcome.verdict is not None and outcome.detail == SCRIPT_FAILED:
        lines = outcome.outputs[0].decode(errors="replace").strip().splitlines()
        return _error(json.loads(lines[-1]))
    if outcome.verdict is not None:
        return outcome.verdict, f"did not finish: {outcome.verdict} ({outcome.detail})"
    printed = outcome.replies[0].decode(errors="replace")
    if test.accepts(printed):
        return SandboxVerdict.PASS, ""
    return SandboxVerdict.WRONG, f"printed {plain.shorten(repr(printed[: 2 * SHOWN]), SHOWN)}"


def _error(error: Any) -> tuple[SandboxVerdict, str]:
    fields = error if isinstance(error, dict) else {}
    kind, message, text = (plain.shorten(_text(fields.get(name)), SHOWN) for name in ("type", "message", "text"))
    line = fields.get("line")
    where = f" at line {line}, {text!r}" if isinstance(line, int) and 0 < line < 1 << 30 and text else ""
    raised = f"raised {kind}{': ' if message else ''}{message}{where}"
    if (kind == "BlockingIOError" and "[Errno 11]" in message) or "can't start new thread" in message:
        raised += ": more processes and threads than the limits allow"
    if kind == "ZoneInfoNotFoundError":
        return SandboxVerdict.UNSUPPORTED, _unsupported(f"{message}: no such time zone on this machine")
    return SandboxVerdict.MEMORY if kind == "MemoryError" else SandboxVerdict.ERROR, raised


def _unsupported(what: Any) -> str:
    return f"cannot be judged: {plain.shorten(_text(what), 2 * SHOWN)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
