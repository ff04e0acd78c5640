"""Data values as sequential decisions: how far common values fall short of the best order, and what comes closer.

Exact dynamic programs on small sets, orders from a budget of fits on larger ones, surrogates of the utility compared
fairly, wrong labels, and the curvature bound on games where it is a theorem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.data_values import orders, report
from jaxrl_suite.experiments.data_values.config import PRESETS, Config

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main"]

SYSTEM = "Data values"
CLAIMS = ("values-1", "values-2", "values-3", "values-4", "values-5")


def main(config: Config, run: Run) -> None:
    jobs = [(table, seed) for table in config.datasets for seed in config.seeds]
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
