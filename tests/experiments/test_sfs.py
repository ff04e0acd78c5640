"""The experiment `sfs`: tables that agree with each other, and a killed run that is as if never stopped."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from fixtures.killed_run import whole_and_parts

from jaxrl_suite.core.run import Run
from jaxrl_suite.core.stats import Interval
from jaxrl_suite.experiments.sfs import claims, experiment, report
from jaxrl_suite.experiments.sfs import config as sfs_config
from jaxrl_suite.experiments.sfs.searches import COLUMNS
from jaxrl_suite.scaling.forest import ForestNode, ForestResult

SMALL = sfs_config.Config(seeds=(0, 1), problems=4, requests=8, first=2, graphs=20)
TABLES = ["basin_graph", "one_search", "parts", "success", "success_by_budget"]


def rows(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and beside it the same one that was killed in the middle and continued."""
    place = tmp_path_factory.mktemp("sfs")
    whole_and_parts(place, "sfs", experiment.main, SMALL, experiment, "run_searches", 7)
    return place


@pytest.mark.tier2
def test_killed_and_resumed_is_as_if_never_stopped(folder):
    whole = sorted(path.relative_to(folder / "whole") for path in (folder / "whole" / "tables").iterdir())
    assert [path.stem for path in whole] == TABLES
    for path in whole:
        assert (folder / "whole" / path).read_bytes() == (folder / "parts" / path).read_bytes()


@pytest.mark.tier2
def test_budgets_hold_and_curves_end_at_the_share_solved(folder):
    success = {(row["model"], row["tests"], row["method"]): row for row in rows(folder / "whole", "success")}
    assert len(success) == 2 * 2 * 10
    for row in success.values():
        assert float(row["requests"]) <= SMALL.requests
        assert float(row["solved at equal tokens"]) <= float(row["solved"]) <= float(row["written"])
    curves = {}
    for row in rows(folder / "whole", "success_by_budget"):
        curves.setdefault((row["model"], row["tests"], row["method"], row["axis"]), []).append(float(row["solved"]))
    assert len(curves) == 4 * len(success)
    for (*cell, _), shares in curves.items():
        assert (np.diff(shares) >= 0).all()
        assert shares[-1] == float(success[tuple(cell)]["solved"])


@pytest.mark.tier2
def test_searches_on_graphs_keep_their_law(folder):
    for row in rows(folder / "whole", "basin_graph"):
        assert abs(float(row["standard errors apart"])) < 4


@pytest.mark.tier2
def test_every_claim_has_a_verdict(folder):
    found = {claim["id"]: claim for claim in json.loads((folder / "whole" / "results.json").read_text())["claims"]}
    assert set(found) >= {"sfs-1", "sfs-2", "sfs-3", "sfs-4", "sfs-5"}
    assert {claim["verdict"] for claim in found.values()} == {"not comparable"}  # 8 searches are too few


def test_a_tree_is_shown_with_children_below_their_parents():
    parents = (None, None, 0, 1, 0, 2)
    nodes = tuple(ForestNode(i, parent, "", "", 0.0, 0.0, 1, ()) for i, parent in enumerate(parents))
    assert report.in_order(ForestResult(0, nodes)) == [(0, 0), (2, 1), (5, 2), (4, 1), (1, 0), (3, 1)]


ALONE = sfs_config.Config(seeds=(0, 1), problems=3, requests=8, models=("early",), tests=("oracle",), methods=("sfs",))


def searches_of(**solved):
    """What searches that wrote 4 solutions in 6 requests have as columns, float64[2 seeds, 3 problems, columns]."""
    found = {}
    for method, right in solved.items():
        values = np.zeros((2, 3, len(COLUMNS)))
        values[..., :1] = np.asarray(right, np.float64)[:, :, None]
        values[..., COLUMNS.index("solutions")], values[..., COLUMNS.index("requests")] = 4, 6
        found["early", "oracle", method] = values
    return found


def test_without_best_of_n_there_is_no_gain_and_nothing_dies(tmp_path):
    found = searches_of(sfs=[[1, 0, 1], [1, 0, 0]])
    with Run.start(tmp_path, name="sfs", config=ALONE, claims={}) as run:
        report.write_success(ALONE, run, found)
        report.write_parts(ALONE, run, found)
        claims.write_claims(ALONE, run, found)
    (row,) = rows(tmp_path, "success")
    assert {row[name] for name in row if name.startswith("gain")} == {""}
    low, high = (float(row[name]) for name in ("low", "high"))
    half = 4.302653 * 0.5 / np.sqrt(3)  # Student's, of the problems' 1, 0 and .5
    assert (low, high) == (pytest.approx(0.5 - half, rel=1e-5), pytest.approx(0.5 + half, rel=1e-5))
    assert not (tmp_path / "tables" / "parts.csv").exists()


def test_best_of_n_gains_nothing_over_itself(tmp_path):
    config = dataclasses.replace(ALONE, methods=("best_of_n", "sfs"))
    found = searches_of(best_of_n=[[1, 0, 1], [1, 0, 0]], sfs=[[1, 1, 1], [1, 1, 0]])
    with Run.start(tmp_path, name="sfs", config=config, claims={}) as run:
        report.write_success(config, run, found)
    plain, ours = rows(tmp_path, "success")
    assert {float(plain[name]) for name in plain if name.startswith("gain")} == {0.0}
    assert float(ours["gain at equal requests"]) == pytest.approx(1 / 3, rel=1e-5)


def test_a_ratio_is_judged_by_its_interval():
    both = np.asarray([[True, True], [True, False], [False, False]])
    ours, plain = np.asarray([[1.0, 3.0], [2.0, 99.0], [99.0, 99.0]]), np.asarray([[4.0, 4.0], [4.0, 1.0], [1.0, 1.0]])
    ratio = claims.cost_ratio(ours, plain, both)
    assert ratio == (0.5, 0.5, 0.5)  # each problem that counts has 1/2
    assert claims.cost_ratio(ours[:1], plain[:1], both[:1]) == (0.5, 0.5, 0.5)
    ratio = claims.cost_ratio(np.asarray([[1.0], [3.0]]), np.asarray([[2.0], [2.0]]), np.ones((2, 1), bool))
    assert ratio == (1.0, 0.5, 1.5)  # both problems are the one, or the other
    verdicts = {(0.4, 0.55): "held", (0.4, 0.9): "partly", (0.7, 1.2): "not held", (0.5, 1.5): "not comparable"}
    for (low, high), verdict in verdicts.items():
        assert claims.halved(Interval((low + high) / 2, low, high)) == verdict


def test_a_budget_of_solutions_must_be_reached_by_all_that_are_compared(tmp_path):
    """Line search stops at 8 solutions of 10: what is solved within 10 is not compared."""
    config = dataclasses.replace(ALONE, seeds=(0, 1, 2, 3, 4), problems=100, requests=12)
    found = {}
    for method, solutions in (("sfs", 10), ("best_of_n", 12), ("line", 12)):
        values = np.zeros((5, 100, len(COLUMNS)))
        values[..., COLUMNS.index("solutions")], values[..., COLUMNS.index("requests")] = solutions, 12
        found["early", "oracle", method] = values
    config = dataclasses.replace(config, methods=("sfs", "best_of_n", "line"))
    seen = []
    for name in ("reached", "short"):
        with Run.start(tmp_path / name, name="sfs", config=config, claims={}) as run:
            claims.write_claims(config, run, found)
        entries = json.loads((tmp_path / name / "results.json").read_text())["claims"]
        seen += [entry["verdict"] for entry in entries if entry["id"] == "sfs-3"]
        found["early", "oracle", "line"][0, 0, COLUMNS.index("solutions")] = 8
    assert seen == ["partly", "not comparable"]


def test_presets_are_five_seeds_and_run():
    assert all(len(config.seeds) >= 5 for config in sfs_config.PRESETS.values())
    with pytest.raises(ValueError, match="requests"):
        sfs_config.Config(requests=1)
    with pytest.raises(ValueError, match="shortest"):
        sfs_config.Config(shortest=3, longest=2)
