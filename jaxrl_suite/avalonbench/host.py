"""The driver's host form: seats players that ask a language model, a person or a program beside any others.

A `HostPlayer` decides in a generator, which yields questions and is sent the answers; so does a game that one plays in.
Many games advance together, and what all their players ask at one time is one batch:

    jobs = [Job(f"game {i}", lambda ledger, i=i: play(game, seats, keys[i], path=(i,))) for i in range(16)]
    outcomes = run_lockstep(jobs, sampler)                          # outcomes[i].value.final

Rules, keys and memories are those of the jitted driver: if a host player decides as another player does, the same key
gives the same game.

Shapes: `P` players; a batch of one game inside.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.driver import GameDriver, GameRows, seating
from jaxrl_suite.avalonbench.player import Player
from jaxrl_suite.envs.avalon import view
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm, together
from jaxrl_suite.llm.questions import Question

Deciding = Generator[Question | tuple[Question, ...], Any, tuple[int, Any]]


@runtime_checkable
class HostPlayer(Protocol):
    """A player on the host, for one seat of one game at a time. States are concrete, with hidden roles put in order."""

    def start(self, state: AvalonState, seat: int, key: jax.Array) -> Any:
        """The memory at first; `key` is its stream of this game, as that of a `Player` would be."""
        ...

    def decide(self, state: AvalonState, seat: int, memory: Any, path: tuple[int, ...]) -> Deciding:
        """Returns an action and what it remembers; `path` tells random streams apart: of the game, phase and seat."""
        ...

    def observe(self, memory: Any, before: AvalonState, after: AvalonState, seat: int) -> Any:
        """The memory after a phase was played."""
        ...


class HostGame(NamedTuple):
    """A game that was played."""

    final: AvalonState
    memories: Mapping[int, Any]  # of host players, by seat


@dataclasses.dataclass(frozen=True)
class _Absent(Player):
    """Keeps the seats of a `HostPlayer` in the driver."""

    player: HostPlayer

    def act(self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, memory: Any) -> tuple[jax.Array, Any]:
        return jnp.zeros((*states.phase.shape, states.reward.shape[-1]), jnp.int32), memory


def play(
    game: Avalon,
    seats: Sequence[Player | HostPlayer],
    key: jax.Array,
    params: Sequence[Any] | None = None,
    path: tuple[int, ...] = (),
) -> Algorithm:
    """One game, as a generator that returns a `HostGame`; see `run_lockstep`.

    Args:
      game: the rules.
      seats: P players; equal ones are one player with several seats.
      key: consumed; split as the jitted driver splits a game's key.
      params: of each of the K different players, () by default.
      path: of the random streams of questions.

    Raises:
      UserError: if the players do not fit the seats, or one of them chooses what is not legal.
    """
    absent = [_Absent(player) if isinstance(player, HostPlayer) else player for player in seats]
    players, holders = seating(game, absent)
    mix = game, players, holders
    hosts = {seat: one.player for seat, one in enumerate(absent) if isinstance(one, _Absent)}
    deal, *streams = jax.random.split(key, 1 + len(players))
    given = tuple(params) if params is not None else ((),) * len(players)
    fixed = given, tuple(stream[None] for stream in streams)
    rows, seen = _begin(mix, fixed, deal)
    seen = jax.device_get(seen)
    memories = {seat: player.start(seen[seat], seat, streams[holders[seat]]) for seat, player in hosts.items()}
    while not seen[0].terminated:
        rows, chosen, legal, kept = _ask(mix, fixed, rows)
        actions, legal = np.array(chosen[0]), np.asarray(legal)
        asked = [seat for seat in hosts if legal[seat].any()]
        here = (*path, int(rows.turns[0]))
        decided = yield from together(
            [hosts[seat].decide(seen[seat], seat, memories[seat], (*here, seat)) for seat in asked]
        )
        for seat, (action, memory) in zip(asked, decided, strict=True):
            allowed = np.flatnonzero(legal[seat])
            if action not in allowed:
                raise UserError(f"player {seat} may not choose {action}: let it choose from {allowed.tolist()}")
            actions[seat], memories[seat] = action, memory
        before = seen
        rows, seen = _finish(mix, fixed, rows, actions[None], kept)
        seen = jax.device_get(seen)
        memories = {seat: hosts[seat].observe(memories[seat], before[seat], seen[seat], seat) for seat in hosts}
    return HostGame(jax.tree.map(lambda leaf: leaf[0], jax.device_get(rows.states)), memories)


def _driver(mix: tuple[Any, ...], fixed: tuple[Any, ...], states: AvalonState) -> GameDriver:
    (game, players, holders), (params, streams) = mix, fixed
    return GameDriver(game, players, holders, params, streams, states)


def _seen(game: Avalon, rows: GameRows) -> tuple[AvalonState, ...]:
    """The state as each seat may see it."""
    state = jax.tree.map(lambda leaf: leaf[0], rows.states)
    return tuple(view.redact(game, state, seat) for seat in range(game.num_players))


@functools.partial(jax.jit, static_argnums=0)
def _begin(mix: tuple[Any, ...], fixed: tuple[Any, ...], deal: jax.Array) -> tuple[GameRows, tuple[AvalonState, ...]]:
    states = jax.tree.map(lambda leaf: leaf[None], mix[0].init(deal))
    rows = _driver(mix, fixed, states).seat(jnp.arange(1))
    return rows, _seen(mix[0], rows)


@functools.partial(jax.jit, static_argnums=0)
def _ask(mix: tuple[Any, ...], fixed: tuple[Any, ...], rows: GameRows) -> tuple[GameRows, jax.Array, jax.Array, Any]:
    """After all plans: the rows, int32[1, P] the jitted players' actions, bool[P, A] what is legal, and memories."""
    driver = _driver(mix, fixed, rows.states)
    rows = jax.lax.while_loop(lambda rows: jnp.any(rows.waiting != 0), driver.plan, rows)
    actions, memories = driver.actions(rows)
    return rows, actions, mix[0].legal(jax.tree.map(lambda leaf: leaf[0], rows.states)), memories


@functools.partial(jax.jit, static_argnums=0)
def _finish(
    mix: tuple[Any, ...], fixed: tuple[Any, ...], rows: GameRows, actions: jax.Array, memories: tuple[Any, ...]
) -> tuple[GameRows, tuple[AvalonState, ...]]:
    rows, _ = _driver(mix, fixed, rows.states).finish(rows, actions, memories, ())
    return rows, _seen(mix[0], rows)
