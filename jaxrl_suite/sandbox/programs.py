"""Candidate programs run against tests, with a verdict for each test.

A `Case` is a call and its expected value, a `StdinCase` an input and what must be printed. What the program returns or
prints comes out of the sandbox as plain data and is compared here; the expected value never goes in, so a pass cannot
be forged, only computed or guessed. A `Check` is test code with assertions. It runs in the sandbox too, but in another
process than the candidate, which it reaches only through questions; the candidate can make it fail, and cannot make it
pass: that needs test code that ran to its end, called the candidate, and finds its process alive then.

Values that are plain data, see `Case`, are carried between the two; functions that test code hands over, and objects of
the program's classes, stay where they are and answer from there. An argument that a call changes in place is changed
for the test too if the call returns nothing. What cannot be carried or compared so has a verdict of its own,
UNSUPPORTED. The arguments of a call are known to the program while it answers that call, and no test's to another: each
test is a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.cases import Case, Check, StdinCase, Test
from jaxrl_suite.sandbox.inside import plain
from jaxrl_suite.sandbox.records import SHOWN, Limits, Process, SandboxJob, SandboxVerdict
from jaxrl_suite.sandbox.sandbox import Sandbox
from jaxrl_suite.sandbox.verdicts import TestOutcome, after_change, changed_arguments, judge


@dataclasses.dataclass(frozen=True)
class Program:
    """Python source; the standard library is there to import.

    Args:
      source: the text.
      entry: name of the function or class in it that tests call; a program on standard input has none.
    """

    source: str
    entry: str = ""


@dataclasses.dataclass(frozen=True)
class ProgramReport:
    """The outcomes of a program on its tests, in their order."""

    tests: tuple[Test, ...]
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
                lines.append(_line(test, outcome))
        return "\n".join(lines)


def run_programs(
    sandbox: Sandbox,
    programs: Sequence[Program],
    tests: Sequence[Sequence[Test]],
    limits: Limits = Limits(),  # noqa: B008
) -> list[ProgramReport]:
    """Runs each program against its tests.

    Args:
      sandbox: of the toolset `PROGRAMS`.
      programs: candidates.
      tests: for each program its tests, at least one.
      limits: of each test.

    Returns:
      A report for each program. Nothing that a program does raises here, or changes what another's report says.

    Raises:
      UserError: if a program has no test, or no entry for a test that calls it.
    """
    if len(programs) != len(tests) or not all(tests):
        raise UserError("give each program a list of at least one test")
    pairs = [(program, test) for program, group in zip(programs, tests, strict=True) for test in group]
    if any(not program.entry and not isinstance(test, StdinCase) for program, test in pairs):
        raise UserError("a test calls the program: give Program the name of its function as entry")
    outcomes = sandbox.run([_job(program, test, limits) for program, test in pairs])
    judged = [judge(test, outcome) for (_, test), outcome in zip(pairs, outcomes, strict=True)]
    again = [i for i, (_, test) in enumerate(pairs) if changed_arguments(test, outcomes[i])]
    repeated = sandbox.run([_job(*pairs[i], limits, in_place=True) for i in again]) if again else []
    for i, outcome in zip(again, repeated, strict=True):
        judged[i] = after_change(judged[i], judge(pairs[i][1], outcome))
    in_order = iter(judged)
    return [ProgramReport(tuple(group), tuple(next(in_order) for _ in group)) for group in tests]


def _job(program: Program, test: Test, limits: Limits, in_place: bool = False) -> SandboxJob:
    if isinstance(test, StdinCase):
        return SandboxJob(
            (Process("script", *(text.encode(errors="surrogatepass") for text in (program.source, test.stdin))),),
            limits,
        )
    task = dataclasses.asdict(program)
    if isinstance(test, Case):
        task |= {"args": plain.encode(test.args), "kwargs": plain.encode(dict(test.kwargs))}
        return SandboxJob((Process("serve", json.dumps(task).encode()),), limits)
    check = dataclasses.asdict(test) | {"entry": program.entry, "in_place": in_place}
    return SandboxJob(
        (Process("serve", json.dumps(task).encode()), Process("judge", json.dumps(check).encode())), limits
    )


def _line(test: Test, outcome: TestOutcome) -> str:
    if isinstance(test, Check):
        return f"the test code {outcome.feedback}"
    if isinstance(test, StdinCase):
        return f"input {test} {outcome.feedback}, expected {plain.shorten(repr(test.stdout), SHOWN)}"
    return f"call({test}) {outcome.feedback}, expected {plain.show(plain.encode(test.expected), SHOWN)}"
