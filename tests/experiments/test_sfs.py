"""The experiment `sfs`: tables that agree with each other, and a killed run that is as if never stopped."""

import csv
import json

import numpy as np
import pytest

from jaxrl_suite.cli import catalog
from jaxrl_suite.core.claims import load_claims
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.sfs import config as sfs_config
from jaxrl_suite.experiments.sfs import experiment, report
from jaxrl_suite.scaling.forest import ForestNode, ForestResult

SMALL = sfs_config.Config(seeds=(0, 1), problems=4, requests=8, first=2, graphs=20)
TABLES = ["basin_graph", "one_search", "parts", "success", "success_by_budget"]


def rows(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


class _KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and beside it the same one that was killed in the middle and continued."""
    place = tmp_path_factory.mktemp("sfs")
    claims = load_claims(catalog.experiments_folder() / "claims.csv")
    with Run.start(place / "whole", name="sfs", config=SMALL, claims=claims) as run:
        experiment.main(SMALL, run)
    original, calls = experiment.run_searches, []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 7:
            raise _KilledError
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "run_searches", dies)
        with pytest.raises(_KilledError), Run.start(place / "parts", name="sfs", config=SMALL, claims=claims) as run:
            experiment.main(SMALL, run)
    with Run.start(place / "parts", name="sfs", config=SMALL, claims=claims, resume=True) as run:
        experiment.main(SMALL, run)
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
    claims = {claim["id"]: claim for claim in json.loads((folder / "whole" / "results.json").read_text())["claims"]}
    assert set(claims) >= {"sfs-1", "sfs-2", "sfs-3", "sfs-4", "sfs-5"}
    assert {claim["verdict"] for claim in claims.values()} == {"not comparable"}  # 8 searches are too few


def test_a_tree_is_shown_with_children_below_their_parents():
    parents = (None, None, 0, 1, 0, 2)
    nodes = tuple(ForestNode(i, parent, "", "", 0.0, 0.0, 1, ()) for i, parent in enumerate(parents))
    assert report.in_order(ForestResult(0, nodes)) == [(0, 0), (2, 1), (5, 2), (4, 1), (1, 0), (3, 1)]


def test_presets_are_five_seeds_and_run():
    assert all(len(config.seeds) >= 5 for config in sfs_config.PRESETS.values())
    with pytest.raises(ValueError, match="requests"):
        sfs_config.Config(requests=1)
    with pytest.raises(ValueError, match="shortest"):
        sfs_config.Config(shortest=3, longest=2)
