"""The experiment on data values at its smallest: nothing beats the exact order, and small scales get no verdict."""

import csv
import json

import numpy as np
import pytest

from jaxrl_suite.core.run import Run
from jaxrl_suite.datavalue.redundancy import gaussian_mixture
from jaxrl_suite.experiments.data_values import experiment as data_values
from jaxrl_suite.experiments.data_values import orders

SMALLEST = data_values.Config(
    seeds=(0, 1), datasets=("wine",), exact_points=6, per_class=2, train=14, valid=30, test=30, budget=64, games=5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values") / "run"
    with Run.start(folder, name="data_values", config=SMALLEST) as run:
        data_values.main(SMALLEST, run)
    return folder


def read(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_no_order_is_above_the_dynamic_program(folder):
    rows = read(folder, "exact")
    assert [row["order"] for row in rows] == list(orders.EXACT)
    assert float(rows[0]["gap %"]) == 0
    assert all(float(row["gap %"]) >= -1e-6 for row in rows)
    best = float(rows[0]["wine valid"])
    assert all(float(row["wine valid"]) <= best + 1e-6 for row in rows)


def test_every_method_is_scored(folder):
    for name, column, methods, key in (
        ("budget", "order", orders.BUDGETED, "mean"),
        ("errors", "surrogate", orders.ERRORS, "mse"),
        ("noise", "values", orders.DETECTORS, "auc"),
    ):
        rows = read(folder, name)
        assert [row[column] for row in rows] == list(methods)
        assert all(0 <= float(row[key]) <= 1 for row in rows)
        assert all(float(row["low"]) <= float(row[key]) <= float(row["high"]) for row in rows)
    assert len(read(folder, "redundancy")) == len(orders.MIXED) * len(orders.SHARES)


def test_too_few_seeds_get_no_verdict_but_the_theorem_does(folder):
    claims = json.loads((folder / "results.json").read_text())["claims"]
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    assert verdicts.pop("values-5") == "held"
    assert verdicts == {f"values-{i}": "not comparable" for i in (1, 2, 3, 4)}


def test_redundant_points_move_together():
    free, half, whole = (gaussian_mixture(4, 20, 0, redundancy=p) for p in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(free.test_x, whole.test_x)
    spread = [np.mean([s.x[s.y == c].std(axis=0).mean() for c in range(3)]) for s in (free, half, whole)]
    assert spread[0] > spread[1] > spread[2] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="redundancy must be"):
        gaussian_mixture(4, 20, 0, redundancy=1.5)


@pytest.mark.parametrize(
    "bad", [dict(seeds=()), dict(exact_points=25), dict(train=2), dict(noise=0.9), dict(datasets=("wine", "wine"))]
)
def test_refuses_what_cannot_be_run(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        data_values.Config(**bad)
