"""Avalon: the bots of AvalonBench, and how much better exact beliefs and search do in their seats.

Bots of every kind play each other on each side, and then searching players replace the bots of a side. Everybody keeps
to what its seat may know: the search reasons with the exact posterior over who is who.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import numpy as np

from jaxrl_suite.avalonbench.bot_games import play_bots
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs import Avalon
from jaxrl_suite.envs.avalon_roles import MAX_PROPOSALS
from jaxrl_suite.experiments import _avalon_bots_report as report
from jaxrl_suite.experiments._avalon_bots_games import COLUMNS, KINDS, MODELS, SearchTable, belief_losses, show_game

SYSTEM = "AvalonBench"
CLAIMS = ("avalon-1", "avalon-2")


PairingName = Literal["search-naive", "naive-search", "search-random", "random-search", "search-search"]


@dataclasses.dataclass(frozen=True)
class Config:
    """All that decides the result. A pairing is named good-evil: who plays the good and who the evil seats."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each deals its own games
    players: tuple[int, ...] = (5, 6, 7)  # sizes at which bots play bots
    bot_games: int = 4000  # a seed, size and pairing of bots
    search_players: tuple[int, ...] = (5,)  # sizes at which players search
    pairings: tuple[PairingName, ...] = ("search-naive", "naive-search")
    search_games: int = 40  # a seed, size and pairing with search
    simulations: int = 24  # for each tree of a decision
    epsilon: float = 0.05  # how often the search's model of the bots expects something else of them
    belief_games: int = 400  # a seed, for the log-loss of beliefs

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            players=(5, 10),
            bot_games=(1, 10**7),
            search_players=(5, 10),
            search_games=(8, 10**6),
            simulations=(1, 10**5),
            belief_games=(8, 10**5),
        )
        check_distinct(self, "seeds", "players", "search_players", "pairings")
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon must lie strictly between 0 and 1, got {self.epsilon}")


PRESETS = {
    "quick": Config(),
    "full": Config(
        players=(5, 6, 7, 8, 9, 10),
        bot_games=20_000,
        search_players=(5, 6),
        pairings=("search-naive", "naive-search", "search-random", "random-search", "search-search"),
        search_games=200,
        belief_games=2000,
    ),
    "accel": Config(
        players=(5, 6, 7, 8, 9, 10),
        bot_games=1_000_000,
        search_players=(5, 6, 7, 8, 9, 10),
        pairings=("search-naive", "naive-search", "search-random", "random-search", "search-search"),
        search_games=512,
        simulations=64,
        belief_games=20_000,
    ),
}


def main(config: Config, run: Run) -> None:
    jobs = [(n, good, evil, seed) for n in config.players for good in KINDS for evil in KINDS for seed in config.seeds]
    counts = np.zeros((len(jobs), len(COLUMNS)), np.int32)
    loop = run.chunks(len(jobs), counts, "bots")
    for job in loop:
        players, good, evil, seed = jobs[job]
        totals = play_bots(Bots(Avalon(players), good, evil), jax.random.key(seed), config.bot_games)  # type: ignore[arg-type]
        loop.carry[job] = [getattr(totals, column) for column in COLUMNS]
        run.log(players=players, good=good, evil=evil, seed=seed, good_wins=totals.good_wins)
    cells = {job[:3]: np.zeros(0) for job in jobs}
    bots = {
        cell: np.array([row for job, row in zip(jobs, loop.carry, strict=True) if job[:3] == cell]) for cell in cells
    }
    run.throughput("bot games, compilation included", config.bot_games * len(jobs), loop.seconds)

    searches = [
        (n, pairing, seed) for n in config.search_players for pairing in config.pairings for seed in config.seeds
    ]
    results = np.zeros((len(searches), config.search_games, 4), np.int32)
    loop = run.chunks(len(searches), results, "searches", name="searches")
    table = SearchTable(config, run)
    for job in loop:
        loop.carry[job] = table.play(*searches[job])
        players, pairing, seed = searches[job]
        run.log(players=players, pairing=pairing, seed=seed, good_wins=int(loop.carry[job][:, 0].sum()))
    run.throughput("searched decisions", table.decisions, table.seconds)
    searched = {
        (n, pairing): np.concatenate([r for s, r in zip(searches, loop.carry, strict=True) if s[:2] == (n, pairing)])
        for n in config.search_players
        for pairing in config.pairings
    }

    losses = np.zeros((len(config.seeds), len(MODELS), MAX_PROPOSALS + 1), np.float32)
    loop = run.chunks(len(config.seeds), losses, "beliefs", name="beliefs")
    for job in loop:
        loop.carry[job] = belief_losses(config.seeds[job], config.belief_games)

    report.write_bots(run, bots)
    report.write_searches(run, bots, searched)
    report.write_beliefs(run, loop.carry)
    if 5 in config.players:
        report.write_claims(config, run, bots[5, "naive", "naive"])
    run.figure("game", show_game(config.seeds[0]), "One game of naive bots at 5 players.")
