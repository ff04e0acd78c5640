"""A player of Avalon: what a seat may know goes in, an action and what it remembers come out.

A player answers for whole batches of games and for any number of seats, and it is pure: what it remembers is an array
tree that the driver (`driver.play`) carries. To seat a function, wrap it in a `PlayerPolicy`, which is shown nothing
that its seat may not know. A player that searches is a `Planner`: it decides for one seat at a time.

Shapes: `B` games, `P` players, `A` actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import chex
import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.envs.avalon import view
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.state import QUEST, AvalonState
from jaxrl_suite.envs.rules import has_bit

# (the player's stream of a game key[], state, phases played int32[]) -> key[], of one phase of one game
Schedule = Callable[[jax.Array, AvalonState, jax.Array], jax.Array]

_ACT = 1 << 31  # keys of `act` are numbered from here on, those of `plan` from 0


def by_turn(stream: jax.Array, state: AvalonState, turn: jax.Array) -> jax.Array:
    """The key of a phase from how many phases were played before it."""
    del state
    return jax.random.fold_in(stream, turn)


def by_proposal(stream: jax.Array, state: AvalonState, turn: jax.Array) -> jax.Array:
    """The key of a phase from how many proposals were voted on before it, wherever the game began."""
    del turn
    return jax.random.fold_in(stream, state.num_proposals * 4 + state.phase)


class Player(Protocol):
    """A player. Only `act` must be written; subclasses inherit the rest.

    `params` are its own, as they were given to the driver. `states` hold the true roles of all seats, since one call
    answers for many: what it does for a seat must not depend on what that seat cannot know.
    """

    def init(self, params: chex.ArrayTree, states: AvalonState) -> Any:
        """The memory [B, ...] when `states` [B, ...] have just been dealt."""
        del params, states
        return ()

    def resume(self, params: chex.ArrayTree, states: AvalonState) -> Any:
        """The memory [B, ...] in the middle of games, from what is public in `states`."""
        return self.init(params, states)

    def plans(self, states: AvalonState, seats: jax.Array) -> jax.Array:
        """int32[B]: bit mask of calls of `plan`, one a bit, before the phase is played; `seats` int32[B] it holds."""
        del states
        return jnp.zeros_like(seats)

    def plan(self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, seats: jax.Array, memory: Any) -> Any:
        """The memory after it has planned: for whatever costs too much to be done for each seat and phase.

        Args:
          params: its own.
          keys: key[B], consumed.
          states: [B, ...], with hidden roles put in order: all that the seat may know, and no more.
          seats: int32[B], the bit of `plans` that is asked for; P in a game that asks for none, whose row stays.
          memory: [B, ...], before.
        """
        del params, keys, states, seats
        return memory

    def act(self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, memory: Any) -> tuple[jax.Array, Any]:
        """int32[B, P], actions for all seats, of which those count that it holds and that act; and what it remembers.

        `keys` key[B] are consumed. Leaves of `memory` that do not change are returned as they are, and cost nothing.
        """
        ...

    def observe(self, params: chex.ArrayTree, memory: Any, before: AvalonState, after: AvalonState) -> Any:
        """The memory after a phase was played; all but the roles is public."""
        del params, before, after
        return memory

    def act_key(self, stream: jax.Array, state: AvalonState, turn: jax.Array) -> jax.Array:
        """The key for `act` in one game; see `Schedule`."""
        del state
        return jax.random.fold_in(stream, jnp.uint32(_ACT) + turn.astype(jnp.uint32))


@dataclasses.dataclass(frozen=True)
class BotPlayer(Player):
    """The naive or random bots as a player of any seats.

    Args:
      bots: of all seats; each seat acts by its role.
      schedule: how the key of a phase follows from that of the game.
    """

    bots: Bots
    schedule: Schedule = by_turn

    def init(self, params: chex.ArrayTree, states: AvalonState) -> Memory:
        del params
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*states.phase.shape, *leaf.shape)), self.bots.init())

    def resume(self, params: chex.ArrayTree, states: AvalonState) -> Memory:
        del params
        return jax.vmap(self.bots.memory_of)(states)

    def act(
        self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        del params
        return jax.vmap(self.bots.act)(keys, states, memory), memory

    def observe(self, params: chex.ArrayTree, memory: Memory, before: AvalonState, after: AvalonState) -> Memory:
        del params
        return jax.vmap(self.bots.observe)(memory, before, after)

    def act_key(self, stream: jax.Array, state: AvalonState, turn: jax.Array) -> jax.Array:
        return self.schedule(stream, state, turn)


class Planner(Player, Protocol):
    """A player that decides for one seat at a time, each from the same state; good players pass every quest.

    It remembers the actions int32[B, P] that were decided on in the phase.
    """

    @property
    def game(self) -> Avalon: ...

    def decide(self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, seats: jax.Array) -> jax.Array:
        """int32[B]: the action of seat `seats` int32[B] in each game; `keys` key[B] are consumed."""
        ...

    def init(self, params: chex.ArrayTree, states: AvalonState) -> Any:
        del params
        return jnp.zeros((*states.phase.shape, self.game.num_players), jnp.int32)

    def plans(self, states: AvalonState, seats: jax.Array) -> jax.Array:
        return jax.vmap(self.game.acting)(states) & seats & jnp.where(states.phase == QUEST, states.evil, -1)

    def plan(self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, seats: jax.Array, memory: Any) -> Any:
        actions = self.decide(params, keys, states, jnp.minimum(seats, self.game.num_players - 1))
        return memory.at[jnp.arange(len(seats)), seats].set(actions, mode="drop")

    def act(self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, memory: Any) -> tuple[jax.Array, Any]:
        del params, keys
        return self.passing(states, memory), memory

    def passing(self, states: AvalonState, decided: jax.Array) -> jax.Array:
        """int32[B, P]: the actions that were decided on, and a pass of good players on a quest."""
        good = ~has_bit(states.evil[:, None], jnp.arange(self.game.num_players)[None])
        return jnp.where((states.phase == QUEST)[:, None] & good, 1, decided)


@dataclasses.dataclass(frozen=True)
class PlayerPolicy(Player):
    """A function of what one seat may know, as a player of any seats.

    Args:
      game: the rules.
      choose: (params, key[], state, seat int32[], memory) -> (action int32[], memory), for one seat of one game. The
        state is as the seat may see it: hidden roles are put in order.
      start: what each seat remembers at first.
    """

    game: Avalon
    choose: Callable[[Any, jax.Array, AvalonState, jax.Array, Any], tuple[jax.Array, Any]]
    start: Any = ()

    def init(self, params: chex.ArrayTree, states: AvalonState) -> Any:
        del params
        shape = *states.phase.shape, self.game.num_players
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *jnp.shape(leaf))), self.start)

    def act(self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, memory: Any) -> tuple[jax.Array, Any]:
        def one(key: jax.Array, state: AvalonState, seat: jax.Array, memory: Any) -> tuple[jax.Array, Any]:
            seen = view.redact(self.game, state, seat)
            return self.choose(params, jax.random.fold_in(key, seat), seen, seat, memory)

        seats = jnp.arange(self.game.num_players)
        return jax.vmap(jax.vmap(one, (None, None, 0, 0)), (0, 0, None, 0))(keys, states, seats, memory)
