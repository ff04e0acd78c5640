"""Ctrl-C, SIGTERM and kill -9 at any moment: one line, its exit code, and a run that continues to the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WALK = str(Path(__file__).parent / "fixtures" / "walk.py")
STEPS = "20"
SAME = ("metrics.jsonl", "tables/walk.csv", "figures/walk.svg", "config.json")

HEARING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
os.execv(sys.executable, [sys.executable, "-m", "jaxrl_suite.cli", *sys.argv[1:]])
"""


def start(folder, *more):
    return subprocess.Popen(
        [sys.executable, "-c", HEARING, "run", WALK, "--steps", STEPS, "--out", str(folder), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_first_line(process):
    """Returns when the command's own code has begun, which takes SIGTERM; Python itself ends as it likes before."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1):
            return
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = start(folder)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return folder


def end(folder, number, seconds):
    """Ends a run after some seconds of its own code; checks what it says."""
    process = start(folder, "--resume")
    wait_for_first_line(process)
    time.sleep(seconds)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    if process.returncode == 0:
        assert out.endswith("report.html\n")
        return  # it was through
    said = f"at {seconds} s: {process.returncode}\n{err}"
    assert process.returncode == 128 + number, said
    word = "terminated" if number == signal.SIGTERM else "interrupted"
    assert err.splitlines()[-1].startswith(f"jaxrl-suite: {word}; continue with: jaxrl-suite run {WALK}"), said
    assert "Traceback" not in err, said
    assert "xception" not in err, said


def finish(folder, whole):
    process = start(folder, "--resume")
    _, err = process.communicate()
    assert process.returncode == 0, err
    for name in SAME:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    return err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_that_continues(number, whole, tmp_path):
    for seconds in (0.0, 0.25, 1.5):
        end(tmp_path / "run", number, seconds)
    finish(tmp_path / "run", whole)


@pytest.mark.tier2
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_every_tenth_of_a_second(number, whole, tmp_path):
    for tenth in range(30):
        folder = tmp_path / f"{tenth}"
        end(folder, number, tenth / 10)
        if tenth % 3 == 0:
            finish(folder, whole)


@pytest.mark.tier2
def test_40_random_kills(whole, tmp_path):
    rng, folder, died = random.Random(0), tmp_path / "run", 0
    while died < 40:
        process = start(folder, "--resume")
        time.sleep(rng.uniform(0.0, 3.0))
        process.kill()
        process.communicate()
        if process.returncode == 0:  # it was through: another one
            finish(folder, whole)
            folder = tmp_path / f"run-{died}"
        else:
            assert process.returncode == -signal.SIGKILL
            died += 1
    finish(folder, whole)


STOPS = """
import dataclasses, os, signal, sys
import jax.numpy as jnp
import numpy as np
from jaxrl_suite.core.run import Run

SYSTEM, CLAIMS = "Strategist", ()

@dataclasses.dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = (0,)

PRESETS = {"quick": Config()}

def main(config, run):
    loop = run.chunks(6, {"x": jnp.zeros(2), "seen": np.zeros(6)}, "counting", every=1e9)
    for step in loop:
        state = loop.carry
        state["seen"][step] += 1  # in place: what was done of a step that is not through must not be kept
        run.log(step_begun=step)
        if step == 3 and "STOP" in os.environ:
            os.kill(os.getpid(), int(os.environ["STOP"]))
        loop.carry = {"x": state["x"] + 1, "seen": state["seen"]}
    run.table("seen", [{"step": i, "seen": float(n)} for i, n in enumerate(loop.carry["seen"])])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_last_step_that_was_done_is_kept(number, tmp_path):
    (tmp_path / "stops.py").write_text(STOPS)

    def run(folder, **environment):
        words = [sys.executable, "-c", HEARING, "run", "stops.py", "--out", folder, "--resume"]
        return subprocess.run(words, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True)

    assert run("whole").returncode == 0
    done = run("parts", STOP=str(int(number)))
    assert done.returncode == 128 + number, done.stderr
    assert [path.name for path in (tmp_path / "parts" / "checkpoint" / "main").iterdir()] == ["3"]
    done = run("parts")
    assert done.returncode == 0, done.stderr
    assert "counting: continues at 3/6" in done.stderr
    for name in ("metrics.jsonl", "tables/seen.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
