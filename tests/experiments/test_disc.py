"""The experiment `disc`: tables of searches that are known, and a killed run that is as if never stopped."""

import csv
import json

import numpy as np
import pytest

from jaxrl_suite.cli import catalog
from jaxrl_suite.core.claims import load_claims
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.disc import config as disc_config
from jaxrl_suite.experiments.disc import experiment, searches

SMALL = disc_config.Config(
    problems=2, samples=12, chains=("run", "binary"), models=("countdown-early",), task_problems=3, task_samples=4
)


def rows(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


class _KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and beside it the same one that was killed in the middle and continued."""
    place = tmp_path_factory.mktemp("disc")
    claims = load_claims(catalog.experiments_folder() / "claims.csv")
    with Run.start(place / "whole", name="disc", config=SMALL, claims=claims) as run:
        experiment.main(SMALL, run)
    original, calls = searches.run_searches, []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise _KilledError
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "run_searches", dies)
        with pytest.raises(_KilledError), Run.start(place / "parts", name="disc", config=SMALL, claims=claims) as run:
            experiment.main(SMALL, run)
    with Run.start(place / "parts", name="disc", config=SMALL, claims=claims, resume=True) as run:
        experiment.main(SMALL, run)
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
    claim = json.loads((folder / "whole" / "results.json").read_text())["claims"][0]
    assert (claim["id"], claim["verdict"]) == ("disc-5", "not comparable")  # 10 searches are too few
    assert "Paired 95 % intervals" in claim["note"]


def test_presets_are_five_seeds_and_run():
    assert all(len(config.seeds) >= 5 for config in disc_config.PRESETS.values())
    with pytest.raises(ValueError, match="samples"):
        disc_config.Config(samples=1)
