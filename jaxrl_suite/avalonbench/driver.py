"""The one driver of Avalon: seats any mix of players and plays a batch of games to the end.

    games = play(Avalon(5), [searcher, bot, bot, bot, bot], keys)                  # a player a seat
    games = play(game, (bot, searcher), keys, holders=by_side("good"))        # by role, by game, ...

Players who act at once decide from the same state, each with its own knowledge. A batch advances in lockstep: each game
plays phases until one of its players has to plan, then all games plan at once, so that nothing is searched for a seat
that does not act. What happens in a game depends on its key and players alone, not on the games beside it.

Shapes: `B` games, `L` rows in play, `P` players, `K` different players.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.game_records import GameRecorder, Turn
from jaxrl_suite.avalonbench.player import Player
from jaxrl_suite.envs.avalon import view
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.state import AvalonState
from jaxrl_suite.envs.rules import has_bit, is_concrete, lowest_bit
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.tree_search import split_rows

Side = Literal["good", "evil", "both", "nobody"]
Holders = jax.Array | Sequence[int] | Callable[[AvalonState], jax.Array]


class Games(NamedTuple):
    """Games that were played."""

    final: AvalonState  # [B, ...]
    memories: tuple[Any, ...]  # of each of the K players, [B, ...]
    plans: jax.Array  # int32[B, K], calls of `Player.plan`
    record: Any  # of the recorder


class GameRows(NamedTuple):
    """Games in play."""

    number: jax.Array  # int32[L], which of the B; B for none
    states: AvalonState
    memories: tuple[Any, ...]
    waiting: jax.Array  # int32[L, K], bit mask of the plans that each player still has to make in this phase
    plans: jax.Array  # int32[L, K], made so far
    turns: jax.Array  # int32[L], phases played


def play(
    game: Avalon,
    players: Sequence[Player],
    keys: jax.Array,
    *,
    holders: Holders | None = None,
    params: Sequence[Any] | None = None,
    states: AvalonState | None = None,
    fresh: bool = False,
    streams: Sequence[jax.Array] | None = None,
    recorder: GameRecorder | None = None,
    max_turns: int | None = None,
    lanes: int | None = None,
) -> Games:
    """One game a key.

    Args:
      game: the rules.
      players: one a seat, where equal ones are one player with several seats; with `holders` K of them, all different.
      keys: key[B], consumed: one for the deal and one for each of the K players, in the order of their first seats.
      holders: int32[P] or int32[B, P], the player in each seat; or a function that tells int32[P] from a state's deal.
      params: of each of the K players, () by default.
      states: [B, ...], games to play on; by default they are dealt.
      fresh: whether `states` have just been dealt, so that there is nothing to remember.
      streams: key[B] for each of the K players, instead of keys split here; `keys` then deal as they are.
      recorder: of what happens.
      max_turns: phases played at most; by default to the end.
      lanes: L, games in play at a time, each followed by the next; by default all of them.

    Raises:
      UserError: if the players do not fit the seats, or one picked an action that is not legal. Under a `jit` of the
        caller's, where nothing can be raised, that game has ended with reward NaN.
    """
    if holders is None:
        players, holders = seating(game, players)
    deals = keys
    if streams is None:
        deals, *streams = split_rows(keys, 1 + len(players))
    given = tuple(params) if params is not None else ((),) * len(players)
    if len(given) != len(players) or len(streams) != len(players):
        raise UserError(f"{len(players)} different players have {len(given)} params, {len(streams)} streams: give each")
    if lanes is not None and lanes < 1:
        raise UserError(f"lanes must be at least 1, got {lanes}")
    first = jax.vmap(game.init)(deals) if states is None else states
    driver = GameDriver(
        game, tuple(players), holders, given, tuple(streams), first, fresh or states is None, recorder, max_turns
    )
    count = len(keys)
    start = recorder.start if recorder is not None else ()
    if lanes is None:
        carry = driver.seat(jnp.arange(count)), start
        table, record = jax.lax.while_loop(lambda carry: jnp.any(~driver.over(carry[0])), driver.advance, carry)
        return _legal(Games(table.states, table.memories, table.plans, record))

    def ended(rows: GameRows, record: Any) -> Games:
        return Games(rows.states, rows.memories, rows.plans, record)

    def advance(carry: tuple[jax.Array, GameRows, Games]) -> tuple[jax.Array, GameRows, Games]:
        following, rows, games = carry
        rows, record = driver.phases(rows, games.record)
        over = driver.over(rows)
        at = jnp.where(over, rows.number, count)
        done = ended(rows, ())
        games = jax.tree.map(lambda old, new: old.at[at].set(new, mode="drop"), games._replace(record=()), done)
        number = jnp.where(over, jnp.minimum(following + jnp.cumsum(over) - 1, count), rows.number)
        rows = _choose(over, driver.seat(number), rows)
        return following + jnp.sum(over), driver.plan(rows), games._replace(record=record)

    rows = driver.seat(jnp.arange(min(lanes, count)))
    empty = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape[1:]), leaf.dtype), ended(rows, ()))
    begin = jnp.int32(len(rows.number)), rows, empty._replace(record=start)
    return _legal(jax.lax.while_loop(lambda carry: jnp.any(carry[1].number < count), advance, begin)[2])


def _legal(games: Games) -> Games:
    """The games, if nobody picked an illegal action in them."""
    if is_concrete(games.final) and (rows := np.flatnonzero(np.isnan(games.final.reward).any(axis=1))).size:
        raise UserError(
            f"in game {rows[0]} a player picked an action that is not legal: let it choose where game.legal(state) is "
            "true"
        )
    return games


def by_side(side: Side) -> Callable[[AvalonState], jax.Array]:
    """Holders of the seats: player 1 those of `side`, player 0 all others."""
    if side not in get_args(Side):
        raise UserError(f"side must be {', '.join(get_args(Side))}, got {side!r}")
    good, evil = side in ("good", "both"), side in ("evil", "both")

    def holders(state: AvalonState) -> jax.Array:
        return jnp.where(has_bit(state.evil, jnp.arange(state.reward.shape[-1])), int(evil), int(good))

    return holders


def seating(game: Avalon, players: Sequence[Player]) -> tuple[tuple[Player, ...], tuple[int, ...]]:
    """The different players of P seats, and who of them holds each."""
    if len(players) != game.num_players:
        raise UserError(f"{len(players)} players for {game.num_players} seats: give one a seat, or say who holds which")
    try:
        different = tuple(dict.fromkeys(players))
    except TypeError as error:
        raise UserError(f"a player must be hashable ({error}): give arrays as its params") from error
    return different, tuple(different.index(player) for player in players)


@dataclasses.dataclass(frozen=True)
class GameDriver:
    """The steps of `play`, on rows of games; see there."""

    game: Avalon
    players: tuple[Player, ...]
    holders: Holders
    params: tuple[Any, ...]
    streams: tuple[jax.Array, ...]
    first: AvalonState
    fresh: bool = True
    recorder: GameRecorder | None = None
    max_turns: int | None = None

    def seat(self, number: jax.Array) -> GameRows:
        """Rows in which the games `number` int32[L] begin."""
        states = jax.tree.map(lambda leaf: leaf[self._row(number)], self.first)
        memories = []
        for player, params in zip(self.players, self.params, strict=True):
            memories.append((player.init if self.fresh else player.resume)(params, states))
        none = jnp.zeros((len(number), len(self.players)), jnp.int32)
        return self._asked(GameRows(number, states, tuple(memories), none, none, jnp.zeros_like(number)))

    def over(self, rows: GameRows) -> jax.Array:
        """bool[L]: whether nothing is left to play in a row."""
        over = rows.states.terminated | (rows.number >= len(self.first.phase))
        return over if self.max_turns is None else over | (rows.turns >= self.max_turns)

    def advance(self, carry: tuple[GameRows, Any]) -> tuple[GameRows, Any]:
        """Plays phases until a player has to plan in each row, then one plan of each such player."""
        rows, record = self.phases(*carry)
        return self.plan(rows), record

    def phases(self, rows: GameRows, record: Any) -> tuple[GameRows, Any]:
        """Plays phases in every row in which nobody has to plan."""

        def phase(carry: tuple[GameRows, Any]) -> tuple[GameRows, Any]:
            actions, memories = self.actions(carry[0])
            return self.finish(carry[0], actions, memories, carry[1])

        return jax.lax.while_loop(lambda carry: jnp.any(self._ready(carry[0])), phase, (rows, record))

    def actions(self, rows: GameRows) -> tuple[jax.Array, tuple[Any, ...]]:
        """int32[L, P], what all who act do in this phase; and what the players remember."""
        holder, at = self._holder(rows), self._row(rows.number)
        actions, memories = jnp.zeros(holder.shape, jnp.int32), []
        for index, player in enumerate(self.players):
            keys = jax.vmap(player.act_key)(self.streams[index][at], rows.states, rows.turns)
            own, memory = player.act(self.params[index], keys, rows.states, rows.memories[index])
            actions = jnp.where(holder == index, own, actions)
            memories.append(memory)
        return actions, tuple(memories)

    def finish(
        self, rows: GameRows, actions: jax.Array, memories: tuple[Any, ...], record: Any
    ) -> tuple[GameRows, Any]:
        """Plays the phase, with `actions` int32[L, P], in every row in which nobody has to plan."""
        ready, before = self._ready(rows), rows.states
        after = jax.vmap(self.game.apply)(before, actions)
        seen = tuple(
            player.observe(params, memory, before, after)
            for player, params, memory in zip(self.players, self.params, memories, strict=True)
        )
        moved = self._asked(rows._replace(states=after, memories=seen, turns=rows.turns + 1))
        if self.recorder is not None:
            record = self.recorder.add(record, Turn(rows.number, rows.turns, ready, before, actions, after, memories))
        return _choose(ready, moved, rows), record

    def plan(self, rows: GameRows) -> GameRows:
        """One plan of every player that has to make one."""
        return jax.lax.cond(jnp.any(rows.waiting != 0), self._plan, lambda rows: rows, rows)

    def _plan(self, rows: GameRows) -> GameRows:
        memories, players, at = [], self.game.num_players, self._row(rows.number)
        asked = rows.waiting != 0
        for index, player in enumerate(self.players):
            seats = jnp.where(asked[:, index], lowest_bit(rows.waiting[:, index], players), players)
            keys = jax.vmap(jax.random.fold_in)(self.streams[index][at], rows.plans[:, index])
            seen = jax.vmap(view.redact, (None, 0, 0))(self.game, rows.states, jnp.minimum(seats, players - 1))
            memories.append(player.plan(self.params[index], keys, seen, seats, rows.memories[index]))
        waiting = rows.waiting & (rows.waiting - 1) * asked
        return rows._replace(memories=tuple(memories), waiting=waiting, plans=rows.plans + asked)

    def _asked(self, rows: GameRows) -> GameRows:
        """The rows with `waiting` as a new phase begins."""
        held = (self._holder(rows)[:, None] == jnp.arange(len(self.players))[None, :, None]).astype(jnp.int32)
        seats = jnp.sum(held << jnp.arange(self.game.num_players)[None, None], axis=2)  # [L, K]
        asked = [player.plans(rows.states, seats[:, index]) for index, player in enumerate(self.players)]
        return rows._replace(waiting=jnp.where(self.over(rows)[:, None], 0, jnp.stack(asked, axis=1)))

    def _ready(self, rows: GameRows) -> jax.Array:
        return ~self.over(rows) & jnp.all(rows.waiting == 0, axis=1)

    def _holder(self, rows: GameRows) -> jax.Array:
        """int32[L, P]: which player holds each seat."""
        if callable(self.holders):
            return jax.vmap(self.holders)(rows.states)
        holders = jnp.asarray(self.holders, jnp.int32)
        shape = len(rows.number), self.game.num_players
        return holders[self._row(rows.number)] if holders.ndim == 2 else jnp.broadcast_to(holders, shape)

    def _row(self, number: jax.Array) -> jax.Array:
        return jnp.minimum(number, len(self.first.phase) - 1)


def _choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    """Rows of `yes` where `condition` bool[L], else of `no`; a leaf that is the same array in both stays as it is."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return old if new is old else jnp.where(condition.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, yes, no)
