"""Records of the games that a driver plays: a pure function that is shown every phase.

Shapes: `B` games, `P` players, `T` phases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon.game import AvalonState


class Turn(NamedTuple):
    """One phase, in the rows of a batch in which it was played."""

    game: jax.Array  # int32[B], number of the game in each row
    index: jax.Array  # int32[B], phases played before it
    played: jax.Array  # bool[B]; a record of the other rows stays as it is
    before: AvalonState
    actions: jax.Array  # int32[B, P]
    after: AvalonState
    memories: tuple[Any, ...]  # of each player, when it had acted


class GameRecorder(NamedTuple):
    """A record of games: where it starts, and how a phase is added."""

    start: Any
    add: Callable[[Any, Turn], Any]


class Trajectory(NamedTuple):
    """Games phase by phase; what lies beyond the last phase of a game repeats its first state."""

    states: AvalonState  # [B, T + 1, ...]
    actions: jax.Array  # int32[B, T, P]
    length: jax.Array  # int32[B], phases that were recorded


def trajectory(first: AvalonState, num_turns: int) -> GameRecorder:
    """The first T phases of games.

    Args:
      first: the states [B, ...] in which they begin.
      num_turns: T.
    """

    def add(record: Trajectory, turn: Turn) -> Trajectory:
        row, at = turn.game, jnp.where(turn.played, turn.index, num_turns)
        return Trajectory(
            jax.tree.map(lambda old, new: old.at[row, at + 1].set(new, mode="drop"), record.states, turn.after),
            record.actions.at[row, at].set(turn.actions, mode="drop"),
            record.length.at[row].max(jnp.where(turn.played, jnp.minimum(at + 1, num_turns), 0), mode="drop"),
        )

    count, players = first.reward.shape
    states = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], num_turns + 1, axis=1), first)
    nothing = jnp.zeros((count, num_turns, players), jnp.int32)
    return GameRecorder(Trajectory(states, nothing, jnp.zeros(count, jnp.int32)), add)
