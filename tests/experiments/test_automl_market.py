"""The market's experiment at its smallest: certificates above, baselines below, and no verdict from small scales."""

import csv
import json

import numpy as np
import pytest

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.automl_market import experiment as automl_market
from jaxrl_suite.experiments.automl_market import pricing as _automl_market_pricing

SMALLEST = automl_market.Config(
    seeds=(0, 1),
    sizes=("5x5x1", "6x4x9"),
    program_nodes=1000,
    types=6,
    samples=(2, 8),
    perturbation_restarts=2,
    batches=(100,),
    rounds=100,
    datasets=("wine",),
    noise=4,
    shuffled=2,
    periods=10,
    trajectories=4,
    discovery_periods=5,
)


def read(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def check_prices_lie_between_baselines_and_certificates(folder):
    rows = read(folder, "instances")
    assert [row["types x metrics x sets"] for row in rows] == ["5x5x1", "6x4x9"]
    for row in rows:
        mine = float(row["portfolio"])
        assert max(float(row[name]) for name in ("single", "independent", "shift", "jiggle")) <= mine + 1e-6
        assert mine <= float(row["its bound"]) + 1e-5
        assert float(row["its bound"]) <= float(row["lottery bound"]) + 1e-5 or row["closed"] != "2"
        assert float(row["lottery bound"]) <= 1 + 1e-6
        assert row["closed"] == "2"
        assert float(row["lowest ratio where closed"]) > 0.99


def check_what_is_fitted_to_all_sets_is_the_same_in_and_out_of_sample(folder):
    *few, every = read(folder, "out_of_sample")
    assert [row["sets"] for row in few] == ["2", "8"]
    for rule in ("portfolio", "hedged", "jiggle"):
        assert every[f"{rule}, in sample"] == every[f"{rule}, all sets"]
        for row in few:
            assert float(row[f"{rule}, all sets"]) <= float(every["portfolio, all sets"]) + 0.01


def check_learning_and_discovery_report_every_method(folder):
    rows = read(folder, "learning")
    assert len(rows) == 4 * 5
    assert all(0 <= float(row["divergence"]) <= float(row["highest of a seed"]) for row in rows)
    rows = read(folder, "discovery")
    assert len(rows) == len(automl_market.discovery.SEARCHES)
    assert all(0.3 < float(row["test accuracy"]) <= 1 for row in rows)


def check_the_menu_and_the_cost_are_there(folder):
    rows = read(folder, "menu_wine")
    assert 0 < sum(float(row["buyers"]) for row in rows) <= 1
    for row in read(folder, "costs"):
        assert float(row["for the cost"]) >= float(row["as if free"]) - 1e-6


def check_forced_purchase_is_unbounded_and_small_scales_get_no_other_verdict(folder):
    for row in read(folder, "forced"):
        assert float(row["forced optimum"]) == pytest.approx(float(row["cap"]), rel=1e-4)
    claims = json.loads((folder / "results.json").read_text())["claims"]
    assert {claim["id"]: claim["verdict"] for claim in claims} == {
        "market-1": "not comparable",
        "market-2": "not comparable",
        "market-3": "not comparable",
        "market-4": "not held",
    }


@pytest.mark.tier2
def test_a_run_says_what_it_must(tmp_path):
    """One test, so that one worker makes the run."""
    folder = tmp_path / "run"
    with Run.start(folder, name="automl_market", config=SMALLEST) as run:
        automl_market.main(SMALLEST, run)
    check_prices_lie_between_baselines_and_certificates(folder)
    check_what_is_fitted_to_all_sets_is_the_same_in_and_out_of_sample(folder)
    check_learning_and_discovery_report_every_method(folder)
    check_the_menu_and_the_cost_are_there(folder)
    check_forced_purchase_is_unbounded_and_small_scales_get_no_other_verdict(folder)


@pytest.mark.parametrize(
    ("jiggle", "spread", "seeds", "verdict"),
    [
        (0.70, 0.01, 6, "held"),
        (0.79, 0.20, 6, "partly"),  # its mean is under 0.8, its interval is not
        (0.85, 0.01, 6, "partly"),
        (0.95, 0.01, 6, "not held"),
        (0.70, 0.01, 4, "not comparable"),
    ],
)
def test_the_verdict_in_sample_follows_from_intervals(jiggle, spread, seeds, verdict):
    shares = np.tile([0.8, 0.5, 0.6, jiggle, 0.9], (seeds, 1))
    shares[:, 3] += spread * np.linspace(-0.5, 0.5, seeds)
    assert _automl_market_pricing.in_sample_verdict(shares) == verdict


@pytest.mark.parametrize(
    "bad", [dict(types=1), dict(samples=(300,)), dict(periods=2), dict(seeds=()), dict(datasets=("wine", "wine"))]
)
def test_refuses_what_cannot_be_run(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        automl_market.Config(**bad)
