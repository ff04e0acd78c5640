"""Avalon against 300 games recorded from the official engine."""

import gzip
import itertools
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Avalon
from jaxrl_suite.envs.avalon import roles as tables
from jaxrl_suite.envs.avalon.log import GameLog, announcement, snapshot

DATA = Path(__file__).parents[1] / "data" / "avalon_traces.jsonl.gz"
TRACES = [json.loads(line) for line in gzip.decompress(DATA.read_bytes()).splitlines()]


@partial(jax.jit, static_argnums=(0, 1))
def shown(bench, official, roles):
    """Knowledge int32[P, P] under both rule sets, and under `official` the Merlin candidates int32[P] as masks."""
    start = official.start(roles)
    candidates = jax.vmap(lambda player: official.merlin_candidates(start, player))(jnp.arange(len(roles)))
    return bench.knowledge(bench.start(roles)), official.knowledge(start), candidates


def game_of(trace, rules="avalonbench"):
    flags = dict(zip(("merlin", "percival", "morgana", "mordred", "oberon"), map(bool, trace["flags"]), strict=True))
    return Avalon(trace["n"], **flags, rules=rules)


def log_of(trace):
    moves = tuple({"phase": step["phase"], **step["act"]} for step in trace["steps"])
    return GameLog(game_of(trace), tuple(trace["roles"]), trace["start"][3], moves)


def test_there_are_300_games_of_all_sizes_and_presets():
    assert len(TRACES) == 300
    assert {trace["n"] for trace in TRACES} == set(range(5, 11))
    assert {trace["preset"] for trace in TRACES} == set(tables.PRESETS)


@pytest.mark.parametrize("n", range(5, 11))
def test_follows_recorded_games_phase_by_phase(n):
    for trace in (trace for trace in TRACES if trace["n"] == n):
        log = log_of(trace)
        game, states = log.game, log.replay()
        assert Avalon.preset(n, trace["preset"]) == Avalon.of_roles(trace["roles"]) == game
        assert list(game.team_sizes) == trace["team_sizes"]
        assert list(game.fails_needed) == trace["fails_required"]
        assert game.num_evil == trace["num_evil"]
        assert snapshot(states[0]) == trace["start"], trace["id"]
        for step, (before, after) in zip(trace["steps"], itertools.pairwise(states), strict=True):
            assert snapshot(after) == step["after"], trace["id"]
            assert announcement(before, after) == step["ret"], trace["id"]
            assert not before.terminated
        assert states[-1].terminated
        side = np.array(trace["is_good"]) == trace["good_victory"]
        np.testing.assert_array_equal(states[-1].reward, np.where(side, 1, -1))


@pytest.mark.parametrize("n", range(5, 11))
def test_tells_players_what_recorded_games_told_them(n):
    for trace in (trace for trace in TRACES if trace["n"] == n):
        roles = np.array(trace["roles"])
        bench, official = game_of(trace), game_of(trace, "official")
        told, known, candidates = map(np.asarray, shown(bench, official, roles))
        np.testing.assert_array_equal(told, trace["private"])
        for player, rules in enumerate(trace["rules_private"]):
            others = [seat for seat in range(n) if seat != player]
            assert [seat for seat in others if known[player, seat] == 0] == rules["evil"], trace["id"]
            assert tables.mask_to_seats(candidates[player]) == rules["merlin_candidates"], trace["id"]
            assert known[player, player] == trace["is_good"][player]
