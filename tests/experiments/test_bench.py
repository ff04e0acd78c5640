"""Benchmarks: what runs in a process of its own is found there."""

import numpy as np
import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.bench import distill, scaling, values
from jaxrl_suite.tabular import datasets


def test_data_values_are_measured_in_a_process_of_their_own():
    split = datasets.split_table(datasets.load_table("iris"), (20, 20, 20), 0)
    masks = np.arange(20)[None] < np.array([[5], [20]])
    answer = values.ask(values.OURS, split, masks)
    assert np.shape(answer["scores"]) == (2,)
    assert answer["logistic"] > 0
    assert answer["ridge"] > 0


@pytest.mark.tier2
def test_distillation_is_measured_in_a_process_of_its_own():
    assert float(distill.rows()[0]["per second"].replace(",", "")) > 0


def test_searches_are_measured_and_a_peer_that_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(scaling, "PROBLEMS", 5)
    monkeypatch.setattr(scaling, "SIZES", (4, 8, 16))
    monkeypatch.setattr(scaling, "ask_peers", lambda: {"StandardMCTS 4": 10.0, "its-hub 32": 100.0})
    rows = scaling.rows()
    assert [row["by"] for row in rows].count("jaxrl_suite") == 4
    found = {(row["what"], row["by"]): row for row in rows}
    assert found["adaptive expansions, trees of 4", "TreeQuest, StandardMCTS"]["jaxrl_suite is"].endswith("as fast")
    assert "pip install" in found["adaptive expansions, trees of 8", "TreeQuest, ABMCTSA"]["per CPU second"]
    assert float(rows[0]["per CPU second"].replace(",", "")) > 100


def test_peers_are_asked_in_a_process_of_their_own(monkeypatch):
    monkeypatch.setenv(scaling.PEERS, "/bin/false")
    with pytest.raises(ValueError, match="/bin/false failed: no message"):
        scaling.ask_peers()
    monkeypatch.setenv(scaling.PEERS, "/nope")
    with pytest.raises(UserError, match=r"^cannot run /nope: [^\n]*set JAXRL_SUITE_SCALING_PEERS to a python$"):
        scaling.ask_peers()


def test_peers_are_repeated_as_often_as_we_are(monkeypatch, tmp_path):
    """A peer that counts its searches, in a folder of its own: all its rates are of the fastest of `REPEAT` runs."""
    (tmp_path / "treequest.py").write_text(
        "class StandardMCTS:\n"
        "    made = 0\n"
        "    def init_tree(self):\n"
        "        StandardMCTS.made += 1\n"
        "        open(__file__ + '.log', 'w').write(str(StandardMCTS.made))\n"
        "    def step(self, tree, actions):\n"
        "        sum(range(10000))\n"
        "class ABMCTSA(StandardMCTS):\n"
        "    pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(scaling, "PROBLEMS", 10)
    monkeypatch.setattr(scaling, "SIZES", (4, 8, 16))
    found = scaling.ask_peers()
    assert {"StandardMCTS 16", "ABMCTSA 8"} <= set(found)
    made = int((tmp_path / "treequest.py.log").read_text())
    assert made == 2 + scaling.REPEAT * (10 + 1 + 1 + 1 + 1)  # two to warm up; ABMCTSA: a tenth of the problems
