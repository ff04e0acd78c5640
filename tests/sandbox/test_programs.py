"""Programs against tests: graded verdicts, limits for each test, feedback, and comparison of plain data."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.inside import plain
from jaxrl_suite.sandbox.programs import Case, Check, Program, run_programs
from jaxrl_suite.sandbox.records import Limits, SandboxVerdict, read_reply


def verdicts(sandbox, source, tests, **limits):
    limits = {"seconds": 10.0} | limits
    report = run_programs(sandbox, [Program(source, "f")], [tests], Limits(**limits))[0]
    return [str(outcome.verdict) for outcome in report.outcomes], report


def test_each_test_has_a_verdict_and_a_limit_of_its_own(sandbox):
    source = """
import time
def f(x):
    if x == 1:
        return 10
    if x == 2:
        raise KeyError("no such card")
    if x == 3:
        time.sleep(100)
    if x == 4:
        return bytearray(1 << 30)
    return "ten" * 100
"""
    found, report = verdicts(sandbox, source, [Case((x,), 10) for x in (1, 2, 3, 4, 5, 1)], seconds=1.0)
    assert found == ["pass", "error", "timeout", "memory", "wrong", "pass"]
    assert report.reward == pytest.approx(2 / 6)
    assert not report.passed
    lines = report.feedback(most=4).splitlines()
    assert len(lines) == 4
    assert (
        lines[0]
        == """call(2) raised KeyError: 'no such card' at line 7, 'raise KeyError("no such card")', expected 10"""
    )
    assert lines[1] == "call(3) did not finish: timeout (more than 1 s), expected 10"
    assert lines[3].startswith("call(5) returned 'tenten")
    assert lines[3].endswith("..., expected 10")
    assert len(lines[3]) < 150
    assert report.outcomes[0].seconds < 1.0


def test_results_do_not_depend_on_the_batch_and_keep_their_order(sandbox):
    programs = [Program(f"def f(x): return x + {i % 3}", "f") for i in range(24)]
    tests = [[Case((i,), i), Check(f"assert f({i}) == {i} + 1")] for i in range(24)]
    together = run_programs(sandbox, programs, tests, Limits(seconds=10.0))
    for i, report in enumerate(together):
        expected = [
            SandboxVerdict.PASS if i % 3 == 0 else SandboxVerdict.WRONG,
            SandboxVerdict.PASS if i % 3 == 1 else SandboxVerdict.WRONG,
        ]
        assert [outcome.verdict for outcome in report.outcomes] == expected
        assert report.tests == tuple(tests[i])


def test_state_does_not_pass_from_one_test_to_the_next(sandbox):
    source = """
calls = []
def f(x):
    calls.append(x)
    open("/tmp/calls", "a").write(str(x))
    return [len(calls), open("/tmp/calls").read()]
"""
    found, report = verdicts(sandbox, source, [Case((x,), [1, str(x)]) for x in range(4)])
    assert found == ["pass"] * 4, report.feedback()


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        ("def f(x): return x * 2", "assert f(2) == 4\nassert candidate(x=3) == 6", "pass"),
        ("def f(x): return x * 2", "def check(candidate):\n    assert candidate(2) == 5", "wrong"),
        (
            "def f(x): raise ValueError('odd')",
            "try:\n    f(1)\nexcept ValueError as e:\n    assert 'odd' in str(e)",
            "pass",
        ),
        ("def f(x): raise ValueError('odd')", "f(1)", "error"),
        ("def f(x): assert False, 'mine'", "f(1)", "error"),  # the candidate's assertion is not the test's
        ("def f(x): return {(1, 2): {3}}", "assert f(1) == {(1, 2): {3}}", "pass"),
        ("def f(x): return x", "assert f({'a': [1, (2, None)]}) == {'a': [1, (2, None)]}", "pass"),
        ("def f(x) return x", "f(1)", "error"),
        ("x = 1", "f(1)", "error"),
        ("def f(x): return x", "assert unknown(1)", "error"),
        ("def f(x): import os; os._exit(0)", "try:\n    f(1)\nexcept Exception:\n    pass", "crash"),
        ("def f(x): return object()", "f(1)", "pass"),  # as in Python: nothing is asked of it
        ("def f(x): return object()", "assert f(1) == 1", "unsupported"),
        ("def f(x):\n    while True: pass", "f(1)", "timeout"),
    ],
)
def test_test_code(sandbox, source, code, expected):
    found, report = verdicts(sandbox, source, [Check(code)], seconds=1.0 if expected == "timeout" else 10.0)
    assert found == [expected], report.feedback()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    while True: pass", "timeout"),
        ("import signal\ndef f():\n    signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n    while True: pass", "timeout"),
        ("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f():\n    g = lambda: repr(A())\n    return g()\n"
         "class A:\n    def __repr__(self): return repr([self])", "crash"),
    ],
)  # fmt: skip
def test_how_the_candidate_ended_is_told_from_how_the_test_code_did(sandbox, source, expected):
    found, report = verdicts(sandbox, source, [Check("f()"), Case((), 1)], seconds=30.0, cpu_seconds=1)
    assert found == [expected, expected], report.feedback()


def test_feedback_names_the_line_and_what_the_assertion_says(sandbox):
    source = "def g(x):\n    return 1 / x\n\ndef f(x):\n    return g(x)\n"
    checks = [Check("assert f(2) == 1, f'half is {f(2)}'"), Check("f(0)"), Check("assert f(1) == 2")]
    _, report = verdicts(sandbox, source, checks)
    assert report.feedback().splitlines() == [
        "the test code failed: half is 0.5",
        "the test code raised ZeroDivisionError: division by zero at line 2, 'return 1 / x'",
        "the test code failed: assert f(1) == 2",
    ]


def test_classes_dataclasses_and_the_standard_library_work(sandbox):
    source = """
import collections, dataclasses, functools, heapq, itertools, json, math, re, typing
@dataclasses.dataclass
class Card:
    value: int
@functools.lru_cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
def f(n):
    counts = collections.Counter("abca")
    return fib(n), Card(3).value, counts, collections.OrderedDict(a=1), heapq.nsmallest(1, [3, 1])
"""
    case = Case((90,), (2880067194370816120, 3, {"a": 2, "b": 1, "c": 1}, {"a": 1}, [1]))
    found, report = verdicts(sandbox, source, [case])
    assert found == ["pass"], report.feedback()


def test_two_threads_may_share_a_sandbox(sandbox):
    import threading

    reports = {}

    def run(i):
        case = Case((i,), i + 1)
        reports[i] = run_programs(
            sandbox, [Program("def f(x): return x + 1", "f")] * 5, [[case]] * 5, Limits(seconds=10.0)
        )

    for turn in range(2):  # workers started by a thread that has ended serve the next one
        threads = [threading.Thread(target=run, args=(2 * turn + i,)) for i in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert len(reports) == 4
    assert all(report.passed for group in reports.values() for report in group)


def test_a_test_that_cannot_be_asked_is_refused_before_anything_runs(sandbox):
    with pytest.raises(UserError, match="an object of type object"):
        Case((object(),), 1)
    with pytest.raises(UserError, match="tolerance"):
        Case((1,), 1, tolerance=float("nan"))
    with pytest.raises(UserError, match="at least one test"):
        run_programs(sandbox, [Program("", "f")], [[]])


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5)
)
KEYS = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(KEYS, inner, max_size=3) | st.sets(KEYS)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES)
def test_plain_data_goes_out_and_back_and_compares_as_python_does(value, other):
    data = json.loads(json.dumps(plain.encode(value)))
    back = plain.decode(plain.check(data))
    assert back == value
    assert type(back) is type(value)
    assert plain.equal(data, plain.encode(value))
    assert plain.equal(data, plain.encode(other)) == (value == other)
    assert len(plain.show(data, 20)) <= 20
    if len(repr(value)) <= 100 and not isinstance(value, (set, frozenset, dict)) and "{" not in repr(value):
        assert eval(plain.show(data, 10_000), {"inf": math.inf}) == value


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "same"),
    [
        (1.0, 1, 0.0, True),
        (True, 1, 0.0, True),
        ([1, 2], (1, 2), 0.0, False),
        (math.nan, math.nan, 0.0, True),
        (math.inf, math.inf, 0.1, True),
        (math.inf, 1e308, 0.1, False),
        (1.0, math.inf, 0.1, False),
        (0.3, 0.1 + 0.2, 0.0, False),
        ([0.3], [0.1 + 0.2], 1e-9, True),
        ({"a": 1.0}, {"a": 1.0005}, 1e-3, True),
        ({"a": 1.0}, {"a": 1.0, "b": 2}, 1e-3, False),
        (1000.0, 1000.5, 1e-3, True),
        (1, 2, 5.0, False),  # whole numbers are exact
        (10**400, 10**400, 0.0, True),
        (1.5, 10**400, 0.1, False),
        ({1, 2}, frozenset({2, 1}), 0.0, True),
        ({1: "a"}, {1.0: "a"}, 0.0, True),
        ("1", 1, 0.0, False),
        (None, False, 0.0, False),
        (b"a", "a", 0.0, False),
    ],
)
def test_equality(expected, actual, tolerance, same):
    assert plain.equal(plain.encode(expected), plain.encode(actual), tolerance) is same


@pytest.mark.parametrize(
    "message",
    [
        ["list", ["list", {"a": 1}]],
        ["what", 1],
        [],
        [["list"]],
        ["int", "zz"],
        ["int", 5],
        ["bytes", "xyz"],
        ["dict", [1]],
        ["dict", 1],
        {"a": 1},
    ],
)
def test_a_malformed_message_is_refused(message):
    with pytest.raises(plain.NotPlainError):
        plain.check(message)


def test_values_that_are_not_plain_are_refused():
    cyclic = []
    cyclic.append(cyclic)
    for value in (object(), cyclic, [1, {2: object()}], iter(()), print):
        with pytest.raises(plain.NotPlainError):
            plain.encode(value)


def test_hostile_replies_are_read_without_harm():
    for data in (
        b"",
        b"[" * 100_000,
        b"{" * 10,
        b"\xff\xfe",
        b"[1]",
        b"1" * 10_000,
        b'{"value": ' + b"9" * 10_000 + b"}",
    ):
        reply = read_reply(data)
        assert reply is None
    deep = json.loads('["list",' * 500 + "1" + "]" * 500)
    with pytest.raises(plain.NotPlainError, match="too deeply"):
        plain.check(deep)
    quotes = "'\"\\"
    for _ in range(90):
        quotes = [quotes]
    assert len(plain.key(plain.encode(quotes))) < 2000  # no escape of escapes
