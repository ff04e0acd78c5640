"""Avalon: the bots of AvalonBench, and how much better exact beliefs and search do in their seats.

Bots of every kind play each other on each side, and then searching players replace the bots of a side. Everybody keeps
to what its seat may know: the search reasons with the exact posterior over who is who.
"""

from __future__ import annotations

import jax
import numpy as np

from jaxrl_suite.avalonbench.bot_games import play_bots
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs import Avalon
from jaxrl_suite.envs.avalon.roles import MAX_PROPOSALS
from jaxrl_suite.experiments.avalon_bots import report
from jaxrl_suite.experiments.avalon_bots.config import PRESETS, Config
from jaxrl_suite.experiments.avalon_bots.games import COLUMNS, KINDS, MODELS, SearchTable, belief_losses, show_game

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main"]

SYSTEM = "AvalonBench"
CLAIMS = ("avalon-1", "avalon-2")


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
