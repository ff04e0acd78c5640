"""The first experiment at its smallest: what its tables say, on one device and on eight, and after being killed."""

import csv
import json
import signal
from pathlib import Path

import pytest
from fixtures.mortal_command import run_command

from jaxrl_suite.experiments.gops_search import experiment as gops_search
from jaxrl_suite.experiments.gops_search import matches

SMALLEST = (
    "run gops_search --resume --seeds 0,1 --num-cards 3 --small-cards 2 --rules regret_matching --simulations 4 "
    "--rival-simulations 4 --games 8 --policy-samples 1"
)


def run(folder, *lines, dies=""):
    return run_command(folder, *(f"{SMALLEST} {line}" for line in lines), dies=dies, JAX_NUM_CPU_DEVICES="8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds `one` and `eight`: the same run on one device and on eight."""
    folder = tmp_path_factory.mktemp("gops")
    done = run(folder, "--out eight --devices 8", "--out one --devices 1")
    assert done.returncode == 0, done.stderr
    return folder


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_results(left: Path, right: Path) -> None:
    names = [p.relative_to(left) for kind in ("tables", "figures") for p in sorted((left / kind).iterdir())]
    assert len(names) == 8
    for name in [*names, Path("metrics.jsonl")]:
        assert (left / name).read_bytes() == (right / name).read_bytes(), name


@pytest.mark.tier2
def test_one_device_and_eight_give_the_same_bytes(folder):
    assert_same_results(folder / "one", folder / "eight")


@pytest.mark.tier2
def test_killed_in_both_loops_is_as_if_never_stopped(folder):
    for moment in ("main-5", "exploitability-0"):
        done = run(folder, "--out parts --devices 8", dies=moment)
        assert done.returncode == -signal.SIGKILL, done.stderr
    done = run(folder, "--out parts --devices 8")
    assert done.returncode == 0, done.stderr
    assert "matches: continues at 14/14" in done.stderr
    assert_same_results(folder / "eight", folder / "parts")


@pytest.mark.tier2
def test_tables_make_sense(folder):
    strength = read(folder / "one", "strength")
    assert [(row["rule"], row["simulations"], row["games"]) for row in strength] == [("regret_matching", "4", "32")]
    for row in (*strength, *(row | {"return": row["points"]} for row in read(folder / "one", "budget"))):
        assert float(row["low"]) <= float(row["return"]) <= float(row["high"])
    for row in read(folder / "one", "exploitability"):
        assert 0 <= float(row["exploitability"]) <= 1


@pytest.mark.tier2
def test_round_robin_is_antisymmetric_and_nobody_beats_the_equilibrium(folder):
    rows = {row["player"]: row for row in read(folder / "one", "round_robin_carry")}
    assert set(rows) == {"regret_matching@4", *matches.FIXED}
    for one, row in rows.items():
        assert row[one] == "0"
        others = [float(row[two]) for two in rows if two != one]
        assert float(row["mean"]) == pytest.approx(sum(others) / len(others), abs=1e-5)
        for two in rows:
            assert float(row[two]) == -float(rows[two][one])
    for policy in matches.FIXED:
        assert float(rows["nash"][policy]) >= 0  # exact, not played
    assert float(rows["nash"]["uniform"]) > 0.3


@pytest.mark.tier2
def test_another_game_than_the_published_one_gets_no_verdict(folder):
    claims = json.loads((folder / "one" / "results.json").read_text())["claims"]
    assert [(claim["id"], claim["verdict"]) for claim in claims] == [("strat-11", "not comparable")]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_cards", 8, "num_cards must be 2 to 7"),
        ("games", 12, "multiple of 8"),
        ("seeds", (0, 2**32), "each of seeds must be 0 to 4294967295"),  # JAX would take it for 0
        ("seeds", (), "at least one value"),
        ("simulations", (4, 4), "none twice"),
        ("simulations", (0,), "each of simulations must be 1 to"),
    ],
)
def test_refuses_what_cannot_be_run(field, value, message):
    with pytest.raises(ValueError, match=message):
        gops_search.Config(**{field: value})


def test_presets_play_enough_seeds_for_a_claim():
    for preset in gops_search.PRESETS.values():
        assert len(preset.seeds) >= 5
