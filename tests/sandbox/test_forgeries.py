"""No way to a pass without solving: at least one for each verdict and each style of test, and what is right passes."""

import pytest
from forgeries import EMPTY, FORGERIES, RIGHT, SCRIPT, TESTS

from jaxrl_suite.sandbox import Check, Limits, Program, SandboxVerdict, StdinCase, run_programs

LIMITS = Limits(seconds=10.0, cpu_seconds=1, memory_bytes=256 << 20)


def grade(sandbox, pairs):
    programs = [Program(source, "add") for source, _ in pairs]
    return run_programs(sandbox, programs, [[test] for _, test in pairs], LIMITS)


def test_a_program_that_adds_passes_every_test(sandbox):
    pairs = [(SCRIPT if isinstance(test, StdinCase) else RIGHT, test) for test in TESTS.values()]
    reports = dict(zip(TESTS, grade(sandbox, pairs), strict=True))
    assert {name: report.feedback() for name, report in reports.items() if not report.passed} == {}


@pytest.mark.parametrize("name", FORGERIES)
def test_nothing_else_does(sandbox, name):
    source, test, expected = FORGERIES[name]
    outcome = grade(sandbox, [(source, TESTS[test])])[0].outcomes[0]
    assert outcome.verdict is not SandboxVerdict.PASS
    assert outcome.verdict in expected, outcome


@pytest.mark.parametrize("name", EMPTY)
def test_test_code_that_tests_nothing_has_a_verdict_of_its_own(sandbox, name):
    for source in (RIGHT, "def add(a, b): return 0"):
        assert grade(sandbox, [(source, Check(EMPTY[name]))])[0].outcomes[0].verdict is SandboxVerdict.UNTESTED


def test_every_verdict_and_every_test_is_tried():
    assert len(FORGERIES) + len(EMPTY) >= 60
    tried = {verdict for *_, verdicts in FORGERIES.values() for verdict in verdicts}
    left = set(SandboxVerdict) - tried - {SandboxVerdict.UNTESTED}
    assert left == {SandboxVerdict.PASS, SandboxVerdict.REFUSED, SandboxVerdict.UNAVAILABLE}
    assert set(TESTS) - {test for _, test, _ in FORGERIES.values()} == {"pytest_class", "callback"}
