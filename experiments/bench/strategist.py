"""Speed of self-play between two different heuristics: GOPS in compact form and as exported text, and Avalon.

The released search of Strategist, measured on one core, plays 0.5 six-card games per second at budget 16.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.envs import Avalon, Gops
from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.export import EXPORT
from jaxrl_suite.sandbox.sandbox import Sandbox
from jaxrl_suite.strategist.heuristics.features import FeatureLibrary
from jaxrl_suite.strategist.heuristics.libraries import library
from jaxrl_suite.strategist.heuristics.pool import Choice, Pool, compact_choices, export_texts
from jaxrl_suite.strategist.play import avalon as play_avalon
from jaxrl_suite.strategist.play import gops as play_gops

Row = dict[str, Any]
GAMES, AVALON_GAMES, REPEAT, BUDGET = 1024, 256, 5, 16


def self_play() -> list[Row]:
    """Games per second of two heuristics that differ, each with its own search, on all devices."""
    gops = library(Gops(6, objective="points"))
    rivals = _weights(gops, score_difference=1.0, ranked_prizes=0.5), gops.seed_weights
    compact = play_gops.GopsPlayer(Pool(gops), BUDGET)
    rows = [_gops_row("weights of features", compact, _compact(rivals, GAMES))]
    paper = play_gops.GopsPlayer(Pool(gops), BUDGET, "paper")
    rows.append(_gops_row("weights of features, the published search", paper, _compact(rivals, GAMES)))
    exported = play_gops.GopsPlayer(Pool(gops, _exported(gops, rivals), compact=False), BUDGET)
    nothing = np.zeros((GAMES, gops.size), np.float32)
    members = tuple(Choice(np.full(GAMES, place, np.int32), nothing) for place in (1, 2))
    rows.append(_gops_row("exported text", exported, members))
    return [*rows, _avalon_row()]


def _gops_row(form: str, player: play_gops.GopsPlayer, sides: tuple[Choice, ...]) -> Row:
    run = devices.map_batch(
        lambda first, second, keys: play_gops.play(player, first, second, keys), devices.mesh(batch=GAMES)
    )
    return {"what": f"GOPS-6, budget {BUDGET}: {form}", **_time(run, sides, GAMES)}


def _avalon_row() -> Row:
    avalon = library(Avalon(5))
    better = _weights(avalon, quests_won=1.0, quests_lost=-1.0, clean_quest=1.0, spoiled_quest=-1.5)
    player = play_avalon.AvalonPlayer(Pool(avalon))
    run = devices.map_batch(
        lambda good, evil, keys: play_avalon.play(player, good, evil, keys), devices.mesh(batch=AVALON_GAMES)
    )
    sides = _compact((better, avalon.seed_weights), AVALON_GAMES)
    what = f"Avalon, 5 players, {player.num_simulations} states a decision: weights of features"
    return {"what": what, **_time(run, sides, AVALON_GAMES)}


def _time(run: Callable[..., Any], sides: tuple[Choice, ...], games: int) -> Row:
    """The best of some repetitions; the first call, which compiles, is not among them."""
    keys = jax.random.split(jax.random.key(0), games)
    jax.block_until_ready(run(*sides, keys))
    wall, cpu = [], []
    for _ in range(REPEAT):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(*sides, keys))
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return {"games per second": f"{games / min(wall):,.0f}", "games per CPU second": f"{games / min(cpu):,.0f}"}


def _exported(features: FeatureLibrary, rivals: tuple[Any, ...]) -> tuple[Any, ...]:
    with Sandbox(EXPORT, workers=1) as sandbox:
        reports = export_texts(features.game, sandbox, [features.render(weights) for weights in rivals])
    for report in reports:
        if report.function is None:
            raise UserError(f"a heuristic is not exported: {report.feedback}")
    return tuple(report.function.call_one for report in reports if report.function is not None)


def _compact(rivals: tuple[Any, ...], games: int) -> tuple[Choice, ...]:
    return tuple(compact_choices(np.tile(np.asarray(weights, np.float32), (games, 1))) for weights in rivals)


def _weights(features: FeatureLibrary, **named: float) -> tuple[float, ...]:
    return tuple(float(named.get(name, 0.0)) for name in features.names)
