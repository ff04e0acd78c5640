"""Benchmarks: what runs in a process of its own is found there."""

import numpy as np
import pytest

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
