"""A run folder that was damaged, and a disk that is full: one line, nothing lost, and a run that can go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from core.test_run import start

from jaxrl_suite.core.folder import read_metrics
from jaxrl_suite.errors import UserError

WALK = str(Path(__file__).parent.parent / "fixtures" / "walk.py")


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def program(run, until=None):
    run.log(about="start")
    for name in ("first", "second"):
        loop = run.chunks(3, 0, name=name, every=0)
        for step in loop:
            run.log(step_of=name, square=step**2)
            loop.carry += 1
            if (name, step) == until:
                raise RuntimeError("stopped")
        run.log(about=name)


def replaced(lines, place, by):
    return [by if i == place else line for i, line in enumerate(lines)]


DAMAGES = {
    "gone": (lambda lines: None, "metrics.jsonl is gone: put it back"),
    "empty": (lambda lines: [], "metrics.jsonl is gone: put it back"),
    "short": (lambda lines: lines[:3], "has lost lines, or they were changed"),
    "a line less": (lambda lines: lines[:2] + lines[3:], "has lost lines, or they were changed"),
    "changed": (lambda lines: replaced(lines, 2, lines[2].replace(b"1", b"7")), "has lost lines, or they were changed"),
    "torn": (lambda lines: replaced(lines, 2, b'{"loop": "fi\n'), "line 3 is damaged"),
    "no text": (lambda lines: replaced(lines, 2, b"\xff\x00\n"), "line 3 is damaged"),
    "no object": (lambda lines: replaced(lines, 2, b"[1]\n"), "line 3 is damaged"),
    "no step": (lambda lines: replaced(lines, 2, b'{"loop": "first"}\n'), "line 3 is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("until", [None, ("second", 1)])
def test_lines_of_metrics_are_never_lost_without_a_word(tmp_path, damage, until):
    if until is None:
        with start(tmp_path) as run:
            program(run)
    else:
        with pytest.raises(RuntimeError), start(tmp_path) as run:
            program(run, until)
    how, message = DAMAGES[damage]
    path = tmp_path / "metrics.jsonl"
    before = path.read_bytes()
    lines = how(before.splitlines(keepends=True))
    path.unlink() if lines is None else path.write_bytes(b"".join(lines))
    left = path.read_bytes() if path.exists() else None
    with pytest.raises(UserError, match=message) as caught, start(tmp_path, resume=True) as run:
        program(run)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.exists() else None) == left
    path.write_bytes(before)
    with start(tmp_path, resume=True) as run:
        program(run)
    assert len(read_metrics(path)) == 9


@pytest.mark.parametrize(
    "limit", [pytest.param(300, marks=pytest.mark.tier2), 2000, pytest.param(5000, marks=pytest.mark.tier2)]
)
def test_a_full_disk_ends_with_a_line_and_a_run_that_continues(limit, tmp_path):
    words = [sys.executable, "-m", "jaxrl_suite.cli", "run", WALK, "--out", str(tmp_path / "run"), "--resume"]
    quiet = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    limited = [sys.executable, "-c", LIMITED, str(limit), *words]
    done = subprocess.run(limited, capture_output=True, text=True, env=quiet)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("jaxrl-suite: cannot write ")
    assert "make room" in done.stderr.splitlines()[-1]
    again = subprocess.run(words, capture_output=True, text=True, env=quiet)
    assert again.returncode == 0, again.stderr
