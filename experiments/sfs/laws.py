"""SFS: exact laws of BasinGraph beside searches on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep, without_errors
from jaxrl_suite.scaling.forest import BasinGraph, SfsConfig, sfs

if TYPE_CHECKING:
    from jaxrl_suite.experiments.sfs.config import Config

GRAPH = BasinGraph(steps=3)
SEEDS, TRIALS = 3, 9  # first solutions and edits of a search


def write_laws(config: Config, run: Run) -> None:
    rows = []
    for scattering, foresting, scouting in (
        (True, True, True), (False, True, True), (True, False, True), (True, True, False), (False, False, False),
    ):  # fmt: skip
        seeds = SEEDS if foresting else 1
        most = SEEDS + TRIALS
        options = SfsConfig(
            most, SEEDS, 1, scattering=scattering, foresting=foresting, scouting=scouting, exploration=0.0
        )
        law = GRAPH.solve_law(seeds, most - seeds, scattering=scattering, scouting=scouting)
        share = simulate(options, config.graphs)
        rows.append(
            {
                "scattering": scattering,
                "foresting": foresting,
                "scouting": scouting,
                "right basin among the first": GRAPH.basin_law(seeds, repeat=not scattering),
                "trials until the way is gone": GRAPH.expected_trials(repeat=not scattering, scouting=scouting),
                "solved, exactly": law,
                "solved, by search": share,
                "standard errors apart": (share - law) / math.sqrt(law * (1 - law) / config.graphs),
            }
        )
    caption = (
        f"BasinGraph: {len(GRAPH.basins)} basins, of which the one with probability "
        f"{GRAPH.basins[GRAPH.right_basin]:g} has a way out of {GRAPH.steps} steps, all in the same of "
        f"{len(GRAPH.directions)} directions, which is proposed with {GRAPH.directions[GRAPH.right_direction]:g}. "
        f"{most} solutions a search, {config.graphs} searches a row; SFS never explores here (c = 0), so that its "
        "probability to solve is a closed form."
    )
    run.table("basin_graph", rows, caption=caption)


def simulate(options: SfsConfig, count: int) -> float:
    """Share of searches that solve their graph."""
    jobs = [Job(f"{i}", lambda _, i=i: sfs(GRAPH.thinker(i), options)) for i in range(count)]
    outcomes = without_errors(run_lockstep(jobs, GRAPH.samplers(), {"tests": GRAPH.verifier}))
    return float(np.mean([outcome.value.solved_after is not None for outcome in outcomes]))
