"""How many modules the command passes through on its way to a language model and back, and which call each other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MODULES, TWO_WAY = 70, 3


@pytest.mark.tier2
def test_a_prompt_passes_through_few_modules_and_hardly_any_call_each_other():
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(TESTS / "fixtures" / "call_path.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["modules"]) <= MODULES, found["modules"]
    assert len(found["two_way"]) <= TWO_WAY, found["two_way"]
