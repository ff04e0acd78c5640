"""The experiment `disc`: tables of searches that are known, and a killed run that is as if never stopped."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from fixtures.killed_run import whole_and_parts

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.disc import claims, experiment, report, searches
from jaxrl_suite.experiments.disc import config as disc_config

SMALL = disc_config.Config(
    problems=2, samples=12, chains=("run", "binary"), models=("countdown-early",), task_problems=3, task_samples=4
)


def rows(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and beside it the same one that was killed in the middle and continued."""
    place = tmp_path_factory.mktemp("disc")
    whole_and_parts(place, "disc", experiment.main, SMALL, experiment, "run_searches", 4)
    return place


@pytest.mark.tier2
def test_killed_and_resumed_is_as_if_never_stopped(folder):
    whole = sorted(path.relative_to(folder / "whole") for path in (folder / "whole" / "tables").iterdir())
    assert [path.stem for path in whole] == [
        "learned",
        "one_learned_search",
        "one_search",
        "success",
        "success_by_budget",
    ]
    for path in whole:
        assert (folder / "whole" / path).read_bytes() == (folder / "parts" / path).read_bytes()


@pytest.mark.tier2
def test_a_binary_reward_leaves_no_rule_a_choice(folder):
    found = [
        row for row in rows(folder / "whole", "success") if row["chain"] == "binary" and "sigma" not in row["method"]
    ]
    moving = [row for row in found if row["method"] != "fixed steps"]
    assert len({(row["solved"], row["samples"], row["output tokens"]) for row in moving}) == 1
    assert {row["gain over best of N"] for row in moving} <= {"0", "0.0"}


@pytest.mark.tier2
def test_curves_end_at_the_share_solved_and_never_fall(folder):
    success = {(row["chain"], row["method"]): float(row["solved"]) for row in rows(folder / "whole", "success")}
    curves = {}
    for row in rows(folder / "whole", "success_by_budget"):
        curves.setdefault((row["chain"], row["axis"], row["method"]), []).append(float(row["solved"]))
    assert len(curves) == 2 * 4 * 8
    for (chain, _, method), shares in curves.items():
        assert (np.diff(shares) >= 0).all()
        assert shares[-1] == success[chain, method]


@pytest.mark.tier2
def test_the_search_that_is_shown_goes_on_from_what_it_accepted(folder):
    shown = rows(folder / "whole", "one_search")
    accepted = [row["prefix"] for row in shown if row["accepted"].lower() == "true"]
    assert accepted[0] == "(the prompt)"
    assert all(row["best answer"].startswith(row["prefix"]) for row in shown[1:] if row["prefix"] != "(the prompt)")


@pytest.mark.tier2
def test_the_claim_is_judged_by_paired_intervals(folder):
    found = {claim["id"]: claim for claim in json.loads((folder / "whole" / "results.json").read_text())["claims"]}
    assert set(found) == set(experiment.CLAIMS) == {f"disc-{i}" for i in range(1, 7)}
    assert found["disc-5"]["verdict"] == "not comparable"  # 10 searches are too few
    assert "Paired 95 % intervals" in found["disc-5"]["note"]
    for claim, entry in found.items():
        assert entry["verdict"] == "not comparable"
        assert (entry["measured"] == "not measured") == (claim != "disc-5")


def searches_of(shares, size=100):
    """Columns of 5 seeds x `size` searches, of which the first ones are solved."""
    found = {}
    for cell, share in shares.items():
        found[cell] = np.ones((5, size, len(searches.COLUMNS)))
        found[cell][:, round(share * size) :, 0] = 0
    return found


def test_the_order_of_tree_beam_and_greedy_is_judged_wherever_it_was_measured(tmp_path):
    config = dataclasses.replace(SMALL, problems=100, chains=("run", "trap"), task_problems=100)
    on_chains = {("run", "Z"): 1.0, ("run", "disc_beam"): 0.8, ("run", "disc_tree"): 0.9}
    trap = {("trap", "Z"): 0.0, ("trap", "disc_beam"): 0.1, ("trap", "disc_tree"): 0.1}
    task = {("countdown-early", "Z"): 0.5, ("countdown-early", "disc_beam"): 0.6, ("countdown-early", "disc_tree"): 0.7}
    seen = {}
    for name, chains, tasks in (("reversed", on_chains | trap, {}), ("mixed", on_chains, task), ("whole", {}, task)):
        with Run.start(tmp_path / name, name="disc", config=config, claims={}) as run:
            claims.write_order(config, run, searches_of(chains), searches_of(tasks))
        (seen[name],) = json.loads((tmp_path / name / "results.json").read_text())["claims"]
    assert {name: entry["verdict"] for name, entry in seen.items()} == {
        "reversed": "not held",
        "mixed": "partly",
        "whole": "held",
    }
    assert seen["reversed"]["measured"] == (
        "chain run: tree 0.900, beam 0.800, greedy 1.000; chain trap: tree 0.100, beam 0.100, greedy 0.000"
    )


def test_without_best_of_n_there_is_no_gain(tmp_path):
    config = dataclasses.replace(SMALL, chains=("run",), methods=("Z",))
    shares = {("run", "Z"): 0.75, ("run", "best_of_n"): 0.5}
    for methods in (["Z"], ["Z", "best_of_n"]):
        with Run.start(tmp_path / methods[-1], name="disc", config=config, claims={}) as run:
            report.write_success(config, run, searches_of({("run", m): shares["run", m] for m in methods}, 4))
    (alone,) = rows(tmp_path / "Z", "success")
    assert {alone[name] for name in alone if name.startswith("gain")} == {""}
    ours, plain = rows(tmp_path / "best_of_n", "success")
    assert float(ours["gain over best of N"]) == 0.25
    assert {float(plain[name]) for name in plain if name.startswith("gain")} == {0.0}


def test_presets_are_five_seeds_and_run():
    assert all(len(config.seeds) >= 5 for config in disc_config.PRESETS.values())
    with pytest.raises(ValueError, match="samples"):
        disc_config.Config(samples=1)
