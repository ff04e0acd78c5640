"""GOPS: how strong the tree search is, by simulations and selection rule, against exact equilibrium play.

Every number is a mean return over games played in both seats with the same prizes. An equilibrium cannot lose on
average, so the return against it says how much a search gives away; win rate against a random player would not tell: an
exact equilibrium wins 77 % there, and a one-line heuristic 82 %.
"""

from __future__ import annotations

import math

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.envs import Gops
from jaxrl_suite.envs.gops import render as gops_render
from jaxrl_suite.experiments.gops_search import report
from jaxrl_suite.experiments.gops_search.config import PRESETS, Config, Tie
from jaxrl_suite.experiments.gops_search.matches import (
    CHUNK,
    MatchPlayer,
    describe,
    list_pairings,
    search_exploitability,
)

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main"]

SYSTEM = "Strategist"
CLAIMS = ("strat-11",)


def main(config: Config, run: Run) -> None:
    pairings = list_pairings(config)
    jobs = [(pairing, seed) for pairing in pairings for seed in config.seeds]
    mesh = run.mesh(batch=math.gcd(config.games, CHUNK))
    referee = MatchPlayer(config, run, mesh)
    returns = np.zeros((len(jobs), config.games), np.float32)
    loop = run.chunks(len(jobs), returns, "matches")
    for job in loop:
        pairing, seed = jobs[job]
        loop.carry[job] = referee.play(pairing, seed)
        run.log(pairing=describe(pairing), seed=seed, mean_return=float(loop.carry[job].mean()))
    run.throughput("simulations", referee.simulations, referee.seconds)
    by_pairing = dict(zip(pairings, loop.carry.reshape(len(pairings), -1), strict=True))

    cells: list[tuple[Tie, str, int]] = [
        (tie, rule, sims) for tie in config.ties for rule in config.rules for sims in config.simulations
    ]
    values = np.zeros((len(cells), len(config.seeds)), np.float32)
    loop = run.chunks(len(cells), values, "exploitability", name="exploitability")
    for cell in loop:
        tie, rule, sims = cells[cell]
        loop.carry[cell] = search_exploitability(config, mesh, Gops(config.small_cards, tie), rule, sims)
        run.log(tie=tie, rule=rule, simulations=sims, exploitability=float(loop.carry[cell].mean()))

    report.write_strength(config, run, by_pairing)
    report.write_exploitability(config, run, dict(zip(cells, loop.carry, strict=True)))
    report.write_round_robin(config, run, by_pairing, referee)
    report.write_budget(config, run, by_pairing)
    game = Gops(config.num_cards, config.ties[0])
    caption = "One game: the exact equilibrium (player 0) against match_prize. Filled bids took the pot."
    run.figure("game", gops_render.svg_game(game, referee.show_game(game)), caption)
