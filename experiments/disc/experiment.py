"""DISC: dynamic decomposition beside best-of-N and fixed steps, on chains whose success probabilities are exact.

Every method draws from the same automaton with the same budget of samples, and searches of one seed and problem share
their draws from the prompt. What decides is how the reward adds up: where an early error caps it, DISC finds the error
and holds fixed what lies before; where errors are independent, or the problem is easy, there is little to find. Small
models that learned to play countdown show the same methods on a task without a closed form.
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.disc import learned, report
from jaxrl_suite.experiments.disc.claims import write_claims
from jaxrl_suite.experiments.disc.config import PRESETS, ChainName, Config, MethodName
from jaxrl_suite.experiments.disc.searches import COLUMNS, run_searches

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main"]

SYSTEM = "DISC"
CLAIMS = ("disc-1", "disc-2", "disc-3", "disc-4", "disc-5", "disc-6")


def main(config: Config, run: Run) -> None:
    cells: list[tuple[ChainName, MethodName]] = [
        (chain, method) for chain in config.chains for method in config.methods
    ]
    carry = np.zeros((len(cells), len(config.seeds), config.problems, len(COLUMNS)))
    loop = run.chunks(len(cells), carry, "searches")
    for cell in loop:
        chain, method = cells[cell]
        loop.carry[cell] = run_searches(config, chain, method)
        run.log(chain=chain, method=method, solved=float(loop.carry[cell][..., 0].mean()))
    found = dict(zip(cells, loop.carry, strict=True))
    run.throughput("samples", float(loop.carry[..., COLUMNS.index("samples")].sum()), loop.seconds)
    report.write_success(config, run, found)
    report.write_curves(config, run, found)
    report.write_one_search(config, run)
    tasks = learned.run_learned(config, run) if config.models else {}
    if tasks:
        learned.write_learned(config, run, tasks)
    write_claims(config, run, found, tasks)
