"""GOPS against games recorded from the official engine (ties carried) and from OpenSpiel (ties discarded)."""

import gzip
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Gops

DATA = Path(__file__).parents[1] / "data" / "gops_traces.jsonl.gz"
TRACES = [json.loads(line) for line in gzip.decompress(DATA.read_bytes()).splitlines()]


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0, 0))
def replay(game, prizes, bids):
    """The prize seen in each round and the state after it, given prizes int32[T] and bids int32[T, P]."""

    def play(state, move):
        prize, bid = move
        shown = game.step_chance(state, prize - 1)
        after = game.apply(shown, bid - 1)
        return after, (shown.prize, after.score, after.carry, after.reward, after.terminated)

    return jax.lax.scan(play, game.start(), (prizes, bids))[1]


def test_there_are_600_games_of_all_sizes():
    assert len(TRACES) == 600
    assert {trace["n"] for trace in TRACES} == set(range(2, 14))


@pytest.mark.parametrize("tie", ["carry", "discard"])
@pytest.mark.parametrize("n", range(2, 14))
def test_follows_recorded_games_round_by_round(n, tie):
    traces = [trace for trace in TRACES if trace["n"] == n]
    prizes = jnp.array([trace["prizes"] for trace in traces])
    bids = jnp.array([[trace["bids0"], trace["bids1"]] for trace in traces]).transpose(0, 2, 1)
    shown, score, carry, reward, terminated = jax.tree.map(np.asarray, replay(Gops(n, tie), prizes, bids))

    rounds = np.array([trace["rounds"] for trace in traces], float)  # null becomes NaN
    np.testing.assert_array_equal(shown, prizes)
    np.testing.assert_array_equal(score[:, -1], [trace[f"{tie}_rule"]["score"] for trace in traces])
    if tie == "carry":
        np.testing.assert_array_equal(score, rounds[:, :, 4:6])
        np.testing.assert_array_equal(carry, rounds[:, :, 6])
        np.testing.assert_array_equal(carry[:, -1], [trace["carry_rule"]["unclaimed"] for trace in traces])
        winner = np.array([trace["carry_rule"]["winner"] for trace in traces])
    else:
        known = ~np.isnan(rounds[:, :, 7])
        np.testing.assert_array_equal(score[known], rounds[:, :, 7:9][known])
        assert not carry.any()
        winner = np.array([trace["discard_rule"]["openspiel_returns_win_loss"][0] for trace in traces])
    np.testing.assert_array_equal(reward[:, -1], np.stack([winner, -winner], axis=1))
    assert not reward[:, :-1].any()
    np.testing.assert_array_equal(terminated, np.arange(n)[None] == n - 1 + np.zeros((len(traces), 1)))
