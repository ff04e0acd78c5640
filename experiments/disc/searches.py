"""Searches of `disc`: its chains, its methods, and what a search cost when it ended."""

from __future__ import annotations

import functools

import numpy as np

from jaxrl_suite.experiments.disc.config import ChainName, Config, MethodName
from jaxrl_suite.llm.jobs import Algorithm, Job, JobOutcome
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


def run_searches(config: Config, chain: ChainName, method: MethodName) -> np.ndarray:
    """float64[seeds, problems, COLUMNS]: of each search, whether it solved its chain, what was spent until it did or
    ended, and the highest reward."""
    cells = [(seed, number) for seed in config.seeds for number in range(config.problems)]
    rows = []
    for outcome in _outcomes(config, chain, method, cells):
        result, total = outcome.value, outcome.ledger.total
        rows.append([result.solved_after is not None, *(getattr(total, axis) for axis in AXES), result.best.reward])
    return np.asarray(rows, np.float64).reshape(len(config.seeds), config.problems, len(COLUMNS))


def first_search(config: Config, chain: ChainName, method: MethodName) -> ScalingResult:
    """The first of `run_searches`, with all that it drew."""
    return _outcomes(config, chain, method, [(config.seeds[0], 0)])[0].value


def _outcomes(config: Config, chain: ChainName, method: MethodName, cells: list[tuple[int, int]]) -> list[JobOutcome]:
    """Searches of (seed, problem) in lockstep; an error of one is raised."""
    kind = CHAINS[chain]

    def start(cell: tuple[int, int], _: object) -> Algorithm:
        return search(config, method, kind.problem(cell[1], cell[0]))

    jobs = [Job(f"{cell}", functools.partial(start, cell)) for cell in cells]
    outcomes = run_lockstep(jobs, kind.sampler(), {"reward": kind.verifier})
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return outcomes
