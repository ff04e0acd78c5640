"""Searches of `disc`: its chains, its methods, and what a search cost when it ended."""

from __future__ import annotations

import functools

import numpy as np

from jaxrl_suite.experiments.disc.config import ChainName, Config, MethodName
from jaxrl_suite.llm.jobs import Algorithm, Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.scaling import DiscConfig, PivotChain, ScalingResult, VisibleProblem, best_of_n, disc

CHAINS: dict[ChainName, PivotChain] = {
    "run": PivotChain(pivots=5, right=0.35, reward="run"),
    "tests": PivotChain(pivots=8, right=0.5, reward="tests"),
    "fraction": PivotChain(pivots=5, right=0.35, reward="fraction"),
    "easy": PivotChain(pivots=8, right=0.7, reward="fraction"),
    "binary": PivotChain(pivots=5, right=0.35, reward="binary"),
}
DESCRIPTIONS: dict[ChainName, str] = {
    "run": "5 pivots at .35; right ones before the first wrong one",
    "tests": "8 pivots at .5; overlapping tests of two",
    "fraction": "5 pivots at .35; share of right ones",
    "easy": "8 pivots at .7; share of right ones",
    "binary": "5 pivots at .35; all or nothing",
}
AXES = ("samples", "requests", "output_tokens", "total_tokens")  # of what is spent
COLUMNS = ("solved", *AXES, "highest")


def search(config: Config, method: MethodName, problem: VisibleProblem) -> Algorithm:
    """One method on one problem."""
    if method == "best_of_n":
        return best_of_n(problem, config.samples)
    if method == "line":
        options = DiscConfig(config.samples, static_step=config.line)
    elif method == "Z_sigma2":
        options = DiscConfig(config.samples, config.alpha, sigma=2.0)
    else:
        options = DiscConfig(config.samples, config.alpha, acceptance=method)
    return disc(problem, options)


def run_searches(config: Config, chain: ChainName, method: MethodName) -> tuple[np.ndarray, ScalingResult]:
    """All searches of a chain and method, in lockstep.

    Returns:
      float64[seeds, problems, COLUMNS]: whether it was solved, what was spent until it was or the search ended, the
      highest reward; and the first search, to be shown.

    Raises:
      Exception: what a search raised.
    """
    kind = CHAINS[chain]
    cells = [(seed, number) for seed in config.seeds for number in range(config.problems)]

    def start(cell: tuple[int, int], _: object) -> Algorithm:
        return search(config, method, kind.problem(cell[1], cell[0]))

    jobs = [Job(f"{cell}", functools.partial(start, cell)) for cell in cells]
    outcomes = run_lockstep(jobs, kind.sampler(), {"reward": kind.verifier})
    rows = []
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
        result, total = outcome.value, outcome.ledger.total
        rows.append([result.solved_after is not None, *(getattr(total, axis) for axis in AXES), result.best.reward])
    table = np.asarray(rows, np.float64).reshape(len(config.seeds), config.problems, len(COLUMNS))
    return table, outcomes[0].value
