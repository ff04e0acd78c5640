"""The Avalon experiment at its smallest: its tables add up, and small scales get no verdict."""

import csv
import json

import pytest

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.avalon_bots import experiment as avalon_bots

SMALLEST = avalon_bots.Config(
    seeds=(0, 1),
    players=(5,),
    bot_games=64,
    search_players=(5,),
    pairings=("naive-search",),
    search_games=8,
    simulations=4,
    belief_games=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avalon") / "run"
    with Run.start(folder, name="avalon_bots", config=SMALLEST) as run:
        avalon_bots.main(SMALLEST, run)
    return folder


def read(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.tier2
def test_every_pairing_of_bots_is_there_and_adds_up(folder):
    rows = read(folder, "bots")
    assert [(row["good"], row["evil"]) for row in rows] == [
        (good, evil) for good in avalon_bots.KINDS for evil in avalon_bots.KINDS
    ]
    for row in rows:
        ends = (row["good wins"], row["evil by missions"], row["evil by assassination"])
        assert sum(map(float, ends)) == pytest.approx(1, abs=1e-5)
        assert row["games"] == "128"


@pytest.mark.tier2
def test_the_searching_side_is_counted(folder):
    (row,) = read(folder, "search")
    assert (row["good-evil"], row["winner counted"], row["games"]) == ("naive-search", "evil", "16")
    ends = float(row["evil by missions"]) + float(row["evil by assassination"])
    assert float(row["wins"]) == pytest.approx(ends, abs=1e-5)
    assert float(row["low"]) <= float(row["wins"]) <= float(row["high"])


@pytest.mark.tier2
def test_beliefs_improve_over_the_game(folder):
    rows = read(folder, "beliefs")
    for model in avalon_bots.MODELS:
        first, *_, last = (float(row["log-loss"]) for row in rows if row["model"] == model)
        assert last < first


@pytest.mark.tier2
def test_too_few_games_get_no_verdict(folder):
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["id"]: claim["verdict"] for claim in claims} == {
        "avalon-1": "not comparable",
        "avalon-2": "not comparable",
    }


@pytest.mark.parametrize(
    "bad", [dict(players=(4,)), dict(search_games=4), dict(epsilon=0.0), dict(seeds=()), dict(pairings=())]
)
def test_refuses_what_cannot_be_run(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        avalon_bots.Config(**bad)
