"""SFS: Scattered Forest Search, its ablations and its rivals, on list programs that a small model writes and edits.

All methods have one editing model, one budget of requests and one set of visible tests; what they submit is judged on
inputs that none of them sees. Beside it stand the exact laws of what scattering, foresting and scouting are good for.
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.sfs import report
from jaxrl_suite.experiments.sfs.claims import write_claims
from jaxrl_suite.experiments.sfs.config import PRESETS, Config, MethodName, ModelName, TestsName
from jaxrl_suite.experiments.sfs.laws import write_laws
from jaxrl_suite.experiments.sfs.searches import COLUMNS, run_searches

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main"]

SYSTEM = "SFS"
CLAIMS = ("sfs-1", "sfs-2", "sfs-3", "sfs-4", "sfs-5", "sfs-6")


def main(config: Config, run: Run) -> None:
    cells: list[tuple[ModelName, TestsName, MethodName]] = [
        (model, tests, method) for model in config.models for tests in config.tests for method in config.methods
    ]
    carry = np.zeros((len(cells), len(config.seeds), config.problems, len(COLUMNS)))
    loop = run.chunks(len(cells), carry, "searches")
    for cell in loop:
        model, tests, method = cells[cell]
        loop.carry[cell] = run_searches(config, model, tests, method)
        run.log(model=model, tests=tests, method=method, solved=float(loop.carry[cell][..., 0].mean()))
    found = dict(zip(cells, loop.carry, strict=True))
    run.throughput("requests", float(loop.carry[..., COLUMNS.index("requests")].sum()), loop.seconds)
    report.write_success(config, run, found)
    report.write_parts(config, run, found)
    report.write_curves(config, run, found)
    report.write_one_search(config, run, found)
    write_laws(config, run)
    write_claims(config, run, found)
