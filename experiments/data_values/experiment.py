"""Data values as sequential decisions: how far common values fall short of the best order, and what comes closer.

Exact dynamic programs on small sets, orders from a budget of fits on larger ones, surrogates of the utility compared
fairly, wrong labels, and the curvature bound on games where it is a theorem.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments import _data_values_orders as orders
from jaxrl_suite.experiments import _data_values_report as report

SYSTEM = "Data values"
CLAIMS = ("values-1", "values-2", "values-3", "values-4", "values-5")

TableName = Literal["2dplanes", "breast_cancer", "digits", "fried", "wine"]


@dataclasses.dataclass(frozen=True)
class Config:
    """All that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each draws its own splits
    tables: tuple[TableName, ...] = ("breast_cancer", "digits", "wine", "2dplanes", "fried")
    exact_points: int = 12  # with all subsets fitted
    exact_model: Literal["kernel_ridge", "logistic"] = "kernel_ridge"
    per_class: int = 4  # points of each of three classes, in the redundancy experiment
    train: int = 50  # points valued from a budget
    valid: int = 50
    test: int = 200
    budget: int = 500  # fits
    noise: float = 0.2  # share of wrong labels to be found
    games: int = 300  # coverage games for the bound

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            exact_points=(4, 20),
            per_class=(2, 6),
            train=(12, 1000),
            valid=(10, 5000),
            test=(10, 5000),
            budget=(32, 10**6),
            noise=(0.02, 0.5),
            games=(1, 10**5),
        )
        check_distinct(self, "seeds", "tables")


PRESETS = {
    "quick": Config(),
    "full": Config(
        seeds=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), exact_points=16, per_class=5, train=100, valid=100, test=500, budget=1000
    ),
    "accel": Config(
        seeds=tuple(range(20)), exact_points=20, exact_model="logistic", per_class=6, train=200, valid=500, test=1000,
        budget=5000, games=3000,
    ),
}  # fmt: skip


def main(config: Config, run: Run) -> None:
    jobs = [(table, seed) for table in config.tables for seed in config.seeds]
    exact = sweep(config, run, "exact", jobs, (len(orders.EXACT), 2), orders.exact_orders, "all subsets")
    shares = [(share, seed) for share in orders.SHARES for seed in config.seeds]
    mixed = sweep(config, run, "redundancy", shares, (len(orders.MIXED),), orders.redundant_orders, "redundancy")
    curves = sweep(
        config, run, "budget", jobs, (len(orders.BUDGETED), 2), orders.budgeted_orders, "orders from a budget"
    )
    errors = sweep(config, run, "errors", jobs, (len(orders.ERRORS),), orders.surrogate_errors, "surrogates")
    noisy = sweep(config, run, "noise", jobs, (len(orders.DETECTORS),), orders.detection, "wrong labels")
    report.write_exact(config, run, exact)
    report.write_redundancy(config, run, mixed)
    report.write_budget(config, run, curves)
    report.write_errors(config, run, errors)
    report.write_noise(config, run, noisy)
    report.write_bound(config, run)


def sweep(
    config: Config, run: Run, name: str, jobs: list[Any], shape: tuple[int, ...], fn: Callable[..., Any], what: str
) -> np.ndarray:
    """float64[first, seeds, ...]: `fn(config, run, *job)` for every job, checkpointed after each."""
    loop = run.chunks(len(jobs), np.zeros((len(jobs), *shape)), what, name=name)
    for job in loop:
        loop.carry[job] = fn(config, run, *jobs[job])
        run.log(job=str(jobs[job][0]), seed=jobs[job][1], first=float(np.ravel(loop.carry[job])[0]))
    return np.asarray(loop.carry).reshape(-1, len(config.seeds), *shape)
