"""GOPS: how strong the tree search is, by simulations and selection rule, against exact equilibrium play.

Every number is a mean return over games played in both seats with the same prizes. An equilibrium cannot lose on
average, so the return against it says how much a search gives away; win rate against a random player would not tell: an
exact equilibrium wins 77 % there, and a one-line heuristic 82 %.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs import Gops, gops_render
from jaxrl_suite.experiments import _gops_search_report as report
from jaxrl_suite.experiments._gops_search_matches import (
    CHUNK,
    Referee,
    describe,
    list_pairings,
    search_exploitability,
)

SYSTEM = "Strategist"
CLAIMS = ("strat-11",)

Tie = Literal["carry", "discard"]
RuleName = Literal["regret_matching", "regret_matching_x8", "decoupled_puct", "paper"]


@dataclasses.dataclass(frozen=True)
class Config:
    """All that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each plays its own games
    num_cards: int = 6
    ties: tuple[Tie, ...] = ("carry",)
    rules: tuple[RuleName, ...] = ("regret_matching", "regret_matching_x8", "decoupled_puct", "paper")
    simulations: tuple[int, ...] = (25, 100, 400)  # a move; a rollout each, in regret_matching_x8 eight
    rival_simulations: int = 100  # a move, in the round robin
    games: int = 128  # a seed and pairing, each in both seats
    small_cards: int = 3  # size of the game whose exploitability is computed
    searches: int = 16  # a seed for each state of the small game, averaged into the policy that is exploited

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            num_cards=(2, 7),
            simulations=(1, 10**6),
            rival_simulations=(1, 10**6),
            games=(8, 10**6),
            small_cards=(2, 5),
            searches=(1, 10**6),
        )
        check_distinct(self, "seeds", "ties", "rules", "simulations")
        if self.games % 8:
            raise ValueError(f"games must be a multiple of 8, so that up to 8 devices can share them, got {self.games}")


PRESETS = {
    "quick": Config(),
    "full": Config(ties=("carry", "discard"), simulations=(25, 100, 400, 1600), games=512, searches=32),
    "accel": Config(
        ties=("carry", "discard"), simulations=(25, 100, 400, 1600), games=8192, small_cards=4, searches=64
    ),
}


def main(config: Config, run: Run) -> None:
    pairings = list_pairings(config)
    jobs = [(pairing, seed) for pairing in pairings for seed in config.seeds]
    mesh = run.mesh(batch=math.gcd(config.games, CHUNK))
    referee = Referee(config, run, mesh)
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
