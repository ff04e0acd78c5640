"""Many programs in one call, some of them hostile: each of the others has the verdict that it has alone."""

import pytest
from escapes import ESCAPES
from forgeries import FORGERIES, RIGHT, SCRIPT, TESTS

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox import Case, Check, Limits, Program, Sandbox, SandboxVerdict, StdinCase, run_programs

LIMITS = Limits(seconds=4.0, cpu_seconds=2, memory_bytes=256 << 20)
HOSTILE = [
    "fork_bomb", "many_threads", "memory_bomb", "memory_outside_the_heap", "busy_loop", "long_c_call",
    "kill_everything", "signal_the_worker", "sabotage_the_worker", "ptrace_the_worker", "big_file", "many_files",
    "stdout_flood", "reply_flood", "stop_itself", "block_signals", "zombies", "daemon", "hostile_reply",
    "close_descriptors",
]  # fmt: skip
QUICK = {SandboxVerdict.WRONG, SandboxVerdict.ERROR, SandboxVerdict.UNSUPPORTED, SandboxVerdict.CRASH}


def ordinary(count):
    """(program, tests): right, wrong, failing and cheating ones in every style."""
    pairs = []
    for test in TESTS.values():
        if isinstance(test, StdinCase):
            pairs += [(SCRIPT, test), ("print(0)", test), ("int('x')", test)]
        else:
            pairs += [(RIGHT, test), ("def add(a, b): return a - b", test), ("def add(a, b): return {10 ** 400}", test)]
    pairs += [(source, TESTS[test]) for source, test, ends in FORGERIES.values() if len(ends) == 1 and ends <= QUICK]
    pairs.append((RIGHT, Check("")))
    return [(f"{pairs[i % len(pairs)][0]}\n# {i}\n", pairs[i % len(pairs)][1]) for i in range(count)]


@pytest.mark.parametrize(
    "count", [pytest.param(98, marks=pytest.mark.tier2), pytest.param(980, marks=pytest.mark.slow)]
)
def test_each_verdict_stands_alone(count):
    """One in 50 is hostile; of 1,000 in all that is every kind once."""
    pairs = ordinary(count)
    try:
        sandbox = Sandbox(workers=2)
    except UserError as error:
        pytest.skip(str(error))
    programs = [Program(source, "add") for source, _ in pairs]
    target = {
        "file": "/x",
        "folder": "/x",
        "home": "/x",
        "port": 1,
        "victim": 1,
        "unix": "/x",
        "abstract": "x",
        "site": "/x",
    }
    with sandbox:
        alone = [
            run_programs(sandbox, [program], [[test]], LIMITS)[0].outcomes[0]
            for program, (_, test) in zip(programs, pairs, strict=True)
        ]
        group, tests, hostile = [], [], iter(HOSTILE)
        for i, (program, (_, test)) in enumerate(zip(programs, pairs, strict=True)):
            if i % 49 == 0:
                group.append(Program(ESCAPES[next(hostile)], "f"))
                tests.append([Case((target,), "token")])
            group.append(program)
            tests.append([test])
        reports = run_programs(sandbox, group, tests, LIMITS)
    assert len(reports) == count + count // 49
    found = [report.outcomes[0] for report, program in zip(reports, group, strict=True) if program.entry == "add"]
    assert len(found) == count
    differ = [(a.verdict, b.verdict, b.feedback) for a, b in zip(alone, found, strict=True) if a.verdict != b.verdict]
    assert differ == []
    ended = SandboxVerdict.CRASH  # in one way or another
    assert [a for a, b in zip(alone, found, strict=True) if a[:2] != b[:2] and b.verdict is not ended] == []
    assert sum(outcome.verdict is SandboxVerdict.PASS for outcome in found) > count // 5
    assert all(report.reward == 0 for report, program in zip(reports, group, strict=True) if program.entry == "f")
