"""Searches of `disc`: its chains, its methods, and what a search cost when it ended."""

from __future__ import annotations

import functools
import math

import numpy as np

from jaxrl_suite.experiments.disc.config import ChainName, Config, MethodName
from jaxrl_suite.llm.jobs import Algorithm, Job, JobOutcome
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.lockstep import run_lockstep, without_errors
from jaxrl_suite.scaling import (
    BeamConfig,
    DiscBeamConfig,
    DiscConfig,
    DiscTreeConfig,
    PivotChain,
    ScalingResult,
    TrapChain,
    TreePolicy,
    UctConfig,
    VisibleProblem,
    beam_search,
    best_of_n,
    disc,
    disc_beam,
    disc_tree,
    uct,
)
from jaxrl_suite.scaling.metrics import AXES

CHAINS: dict[ChainName, PivotChain | TrapChain] = {
    "run": PivotChain(pivots=5, right=0.35, reward="run"),
    "tests": PivotChain(pivots=8, right=0.5, reward="tests"),
    "fraction": PivotChain(pivots=5, right=0.35, reward="fraction"),
    "easy": PivotChain(pivots=8, right=0.7, reward="fraction"),
    "binary": PivotChain(pivots=5, right=0.35, reward="binary"),
    "trap": TrapChain(trap=0.7, pivots=4, right=0.35),
}
DESCRIPTIONS: dict[ChainName, str] = {
    "run": "5 pivots at .35; right ones before the first wrong one",
    "tests": "8 pivots at .5; overlapping tests of two",
    "fraction": "5 pivots at .35; share of right ones",
    "easy": "8 pivots at .7; share of right ones",
    "binary": "5 pivots at .35; all or nothing",
    "trap": "a dead end at .7 with reward .5; else 4 pivots at .35, below .5 until all are right",
}
LABELS: dict[MethodName, str] = {
    "best_of_n": "best of N",
    "Z": "DISC-Z",
    "Z_sigma2": "DISC-Z, sigma 2",
    "Q": "DISC-Q",
    "negQ": "DISC-negQ",
    "R": "DISC-R",
    "negZ": "DISC-negZ",
    "line": "fixed steps",
    "disc_beam": "DISC-Z, beam",
    "disc_tree": "DISC-Z, tree",
    "uct": "UCT by steps",
    "beam": "beam, process reward",
    "dvts": "DVTS, process reward",
    "sfs": "SFS",
}
TREE_POLICY = TreePolicy("uct", "max", 0.3)  # of DISC with a tree, chosen of six on seeds of its own
LARGE_BEAM = 400  # steps of a search from which on beams keep 4 prefixes; 2 below
COLUMNS = ("solved", *AXES, "highest")


def search(config: Config, method: MethodName, problem: VisibleProblem, ledger: Ledger) -> Algorithm:
    """One method on one problem."""
    samples, step = config.samples, config.line
    assert method != "sfs"  # it thinks, and learned tasks alone have a thinker
    if method == "best_of_n":
        return best_of_n(problem, samples, block=config.block, ledger=ledger)
    if method == "uct":
        return uct(problem, UctConfig(samples, step=step))
    if method in ("beam", "dvts"):  # as many steps as that many answers have
        steps = samples * math.ceil(problem.decoding.max_tokens / step)
        size = 4 if steps >= LARGE_BEAM else 2  # a large beam would end before its first answer
        width, subtrees = (size, 1) if method == "beam" else (1, size)
        return beam_search(problem, BeamConfig(steps, width, size, subtrees, step))
    common = DiscConfig(samples, config.alpha, block=config.block)
    if method == "disc_beam":
        return disc_beam(problem, DiscBeamConfig(common), ledger)
    if method == "disc_tree":
        return disc_tree(problem, DiscTreeConfig(common, TREE_POLICY), ledger)
    if method == "line":
        common = DiscConfig(samples, static_step=step, block=config.block)
    elif method == "Z_sigma2":
        common = DiscConfig(samples, config.alpha, sigma=2.0, block=config.block)
    else:
        common = DiscConfig(samples, config.alpha, acceptance=method, block=config.block)
    return disc(problem, common, ledger)


def run_searches(config: Config, chain: ChainName, method: MethodName) -> np.ndarray:
    """float64[seeds, problems, COLUMNS]: of each search, whether it solved its chain, what was spent until it did or
    ended, and the highest reward."""
    cells = [(seed, number) for seed in config.seeds for number in range(config.problems)]
    rows = []
    for outcome in _outcomes(config, chain, method, cells):
        result, total = outcome.value, outcome.ledger.total
        highest = 0.0 if result.best is None else result.best.reward  # a beam may have finished no answer
        rows.append([result.solved_after is not None, *(getattr(total, axis) for axis in AXES), highest])
    return np.asarray(rows, np.float64).reshape(len(config.seeds), config.problems, len(COLUMNS))


def first_search(config: Config, chain: ChainName, method: MethodName) -> ScalingResult:
    """The first of `run_searches`, with all that it drew."""
    return _outcomes(config, chain, method, [(config.seeds[0], 0)])[0].value


def _outcomes(config: Config, chain: ChainName, method: MethodName, cells: list[tuple[int, int]]) -> list[JobOutcome]:
    """Searches of (seed, problem) in lockstep; an error of one is raised."""
    kind = CHAINS[chain]

    def start(cell: tuple[int, int], ledger: Ledger) -> Algorithm:
        return search(config, method, kind.problem(cell[1], cell[0]), ledger)

    jobs = [Job(f"{cell}", functools.partial(start, cell)) for cell in cells]
    # The process reward of a prefix is the reward of an answer that ends there: what it lacks is wrong.
    return without_errors(run_lockstep(jobs, kind.sampler(), {"reward": kind.verifier, "process": kind.verifier}))
