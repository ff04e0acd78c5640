"""A search over a server, killed after every single line that it puts on disk: it ends as if never stopped."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fixtures.fake_server import FakeServer
from fixtures.toy_strategies import sensible

TESTS = Path(__file__).parents[1]


class WritingServer(FakeServer):
    """Answers by the prompt alone, so that a second answer to one prompt would be the same."""

    def reply(self, number, received):
        data = super().reply(number, received)
        prompt = received.body["messages"][-1]["content"]
        rng = np.random.default_rng(list(hashlib.sha256(prompt.encode()).digest()))
        role = "ideas" if "Give " in prompt else "conclusions" if "Write no code" in prompt else "implement"
        text = sensible(role, prompt, rng)
        if role == "implement" and "Carry out" in prompt and rng.random() < 0.5:
            text = text.replace("evaluate_state", "BROKEN")
        data["choices"][0]["message"]["content"] = text
        return data


@pytest.fixture
def server(tmp_path):
    with WritingServer() as server:
        yield server


def start(server, folder, *args):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, str(TESTS / "fixtures" / "evolve_run.py"), server.base_url, str(folder), *args],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def prompts(server):
    asked = Counter(str(received.body) for received in server.requests)
    server.requests.clear()
    return asked


def asked_of_judge(folder):
    return Counter((folder / "asked").read_text().splitlines())


def lines(folder, name):
    return sorted((folder / name).read_text().splitlines())


def test_killed_after_every_line_it_pays_for_nothing_twice(server, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = start(server, whole)
    assert done.returncode == 0, done.stderr
    paid = prompts(server)
    assert len(paid) >= 6
    deaths = 0
    while (killed := start(server, parts, "1")).returncode == -9:
        deaths += 1
        assert deaths < 100
    assert killed.returncode == 0, killed.stderr
    assert killed.stdout == done.stdout
    assert prompts(server) == paid
    assert asked_of_judge(parts) == asked_of_judge(whole)
    for name in ("draws.jsonl", "journal.jsonl"):
        strip = [[line for line in lines(folder, name) if '"draw"' not in line] for folder in (whole, parts)]
        assert strip[0] == strip[1]
    assert deaths >= 20


def test_a_line_torn_by_the_end_is_made_again(server, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert start(server, whole).returncode == 0
    prompts(server)
    for _ in range(2):
        assert start(server, parts, "9", "torn").returncode == -9
    done = start(server, parts)
    assert done.returncode == 0, done.stderr
    assert lines(parts, "journal.jsonl") == lines(whole, "journal.jsonl")
