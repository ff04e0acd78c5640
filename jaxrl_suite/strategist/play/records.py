"""Records of a compiled batch of games, and the states that it met, as the host sorts them out.

Shapes: `R` games, `T` states met in each, seen by `V` players, `P` players, `M` states seen in all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Played(NamedTuple):
    """Results of a game's program, arrays [R, ...]."""

    reward: Any  # float[R], of seat 0, or whether good won
    outcome: Any  # float[R, P], how the game ended
    states: Any  # [R, T, ...]
    heuristic: Any  # float[R, T, V, P]
    search: Any  # float[R, T, V, P]
    by_second: Any  # bool[R, T, V], whether the second strategy looks, else the first
    counts: Any  # bool[R, T, V], whether the entry counts


class Seen(NamedTuple):
    """States met in games, each with who searched it and what came of it."""

    strategy: np.ndarray  # int[M], index of the strategy that searched
    state: Any  # pytree of arrays [M, ...]
    heuristic: np.ndarray  # float[M, P], its heuristic's values
    search: np.ndarray  # float[M, P], its search's estimates
    outcome: np.ndarray  # float[M, P], how the game ended
    counts: np.ndarray  # bool[M], False for initial states and for what was not searched


def looked_at(states: Any, heuristic: jax.Array, search: jax.Array) -> Played:
    """Single states [R, ...] that one player each looked at, with values float32[R, P], as what a program returns."""
    rows = heuristic.shape[0]
    return Played(
        reward=jnp.zeros(rows),
        outcome=jnp.zeros((rows, 0)),
        states=jax.tree.map(lambda leaf: leaf[:, None], states),
        heuristic=heuristic[:, None, None],
        search=search[:, None, None],
        by_second=jnp.zeros((rows, 1, 1), bool),
        counts=jnp.ones((rows, 1, 1), bool),
    )


def chunks(size: int, rows: int) -> list[tuple[np.ndarray, int]]:
    """Row numbers in parts of one size, the last one filled up with its last row; and how many of each are real."""
    starts = range(0, size, rows)
    return [(np.minimum(np.arange(start, start + rows), size - 1), min(rows, size - start)) for start in starts]


def seen_by(played: Played, first: np.ndarray, second: np.ndarray, real: int) -> Seen:
    """The states of a batch of games, one entry for each player that looked at one."""
    counts = np.asarray(played.counts)[:real]
    games, turns, viewers = counts.shape
    who = np.where(np.asarray(played.by_second)[:real], second[:real, None, None], first[:real, None, None])

    def flat(leaf: Any) -> np.ndarray:
        return np.asarray(leaf)[:real].reshape(games * turns * viewers, *np.shape(leaf)[3:])

    counted = np.flatnonzero(counts.ravel())
    at = counted // viewers
    states = jax.tree.map(
        lambda leaf: np.asarray(leaf)[:real].reshape(games * turns, *np.shape(leaf)[2:])[at], played.states
    )
    return Seen(
        strategy=who.reshape(-1)[counted],
        state=states,
        heuristic=flat(played.heuristic)[counted],
        search=flat(played.search)[counted],
        outcome=np.asarray(played.outcome)[:real][counted // (turns * viewers)],
        counts=np.ones(len(counted), bool),
    )
