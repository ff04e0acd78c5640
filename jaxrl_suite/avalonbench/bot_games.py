"""Whole games between bots, fast: a proposal, its vote and, if accepted, its quest in one step on scalars.

`rollout` plays on from any state. `play_bots` plays a stream of games in a fixed number of lanes: a lane whose game
is over deals the next one at once, so that none stands idle.

The games are those of `driver.play`, by the same rules, 34 to 44 times as fast: 188,000 to 256,000 games per CPU second
against 5,500 to 6,500 (five players, five alternations in one run).

Shapes: `P` players, `B` lanes, Q = 5 quests.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.avalonbench.word_sets import draw_below
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import (
    MAX_ROUNDS,
    MERLIN,
    NUM_QUESTS,
    QUESTS_TO_WIN,
    SERVANT,
    assignments,
    encode_roles,
    evil_seats,
    seats_of,
)
from jaxrl_suite.envs.avalon.state import ASSASSINATION, QUEST, TEAM, AvalonState
from jaxrl_suite.envs.rules import has_bit, popcount
from jaxrl_suite.errors import UserError


class BotGame(NamedTuple):
    """A game in play, between two proposals: the fields of the game's state that decide how it goes on."""

    deal: jax.Array  # int32[], the roles, packed
    leader: jax.Array  # int32[]
    quest: jax.Array  # int32[]
    round: jax.Array  # int32[]
    won: jax.Array  # int32[], bit mask of quests
    lost: jax.Array  # int32[], bit mask of quests
    memory: Memory


class BotRound(NamedTuple):
    """The events of one step."""

    proposed: jax.Array  # bool[], a team was named
    forced: jax.Array  # bool[], the team was accepted although the vote rejected it
    quest_played: jax.Array  # bool[], a quest was played
    fails: jax.Array  # int32[], on it
    succeeded: jax.Array  # bool[]
    assassination_attempted: jax.Array  # bool[], the Assassin named a player
    assassination_succeeded: jax.Array  # bool[], and it was Merlin
    over: jax.Array  # bool[]
    good_won: jax.Array  # bool[]


class Totals(NamedTuple):
    """Sums over games. `play_bots` returns whole numbers."""

    games: Any
    good_wins: Any
    evil_by_missions: Any  # three quests failed, or five proposals were rejected where that counts
    evil_by_assassination: Any
    assassination_attempts: Any  # games that reached the assassination
    proposals: Any
    forced: Any  # proposals accepted against the vote
    quests: Any
    quests_by_index: Any  # [Q], quests played
    successes_by_index: Any  # [Q]
    sides_right: Any  # how many of the P sides the Servants judge right at the end, over all Servants
    sides_judged: Any  # P for every Servant

    @property
    def deduction_accuracy(self) -> float:
        """Mean over the Servants' final beliefs of [belief >= 1/2] == side, their own seat included."""
        return self.sides_right / self.sides_judged


def play_round(
    bots: Bots, table: BotGame, words: jax.Array, phase: jax.Array | None = None, team: jax.Array | None = None
) -> tuple[BotGame, BotRound]:
    """One proposal with all that follows from it, by the rules of `Avalon`; `table` must not be over.

    Args:
      bots: of all seats.
      table: the game.
      words: uint32[2], random bits; `Bots.actions` with these words plays the same in each of the phases.
      phase: int32[], where in the round to begin; its start by default.
      team: int32[], the team already on the table, if any.
    """
    deal, quest, memory, players = table.deal, table.quest, table.memory, bots.game.num_players
    index = bots.propose(words[0], deal, table.leader, quest, memory)
    named = bots.team_of(quest, index)
    proposed, voted, at_quest, at_assassination = jnp.bool_(True), jnp.bool_(True), jnp.bool_(False), jnp.bool_(False)
    if phase is not None and team is not None:
        proposed, voted, at_quest, at_assassination = (
            phase == TEAM,
            phase < QUEST,
            phase == QUEST,
            phase == ASSASSINATION,
        )
        index = jnp.where(proposed, index, bots.index_of(quest, team))
        named = jnp.where(proposed, named, team)
    votes = bots.vote(words[1], deal, quest, index, named, memory)
    majority, last = 2 * popcount(votes, players) > players, table.round == MAX_ROUNDS - 1
    forced = voted & ~majority & last
    stalled = jnp.bool_(False)
    if bots.game.rules == "official":
        forced, stalled = stalled, forced
    quest_played = (voted & (majority | forced)) | at_quest
    fails = popcount(named & ~bots.passes(deal, quest, named), players)
    failed = fails >= bots.needed(quest)
    won = jnp.where(quest_played & ~failed, table.won | (1 << quest), table.won)
    lost = jnp.where(quest_played & failed, table.lost | (1 << quest), table.lost)
    attempted = at_assassination | (popcount(won, NUM_QUESTS) == QUESTS_TO_WIN)
    assassinated = attempted & has_bit(seats_of(deal, MERLIN, players), bots.target(words[1], deal))
    over = attempted | stalled | (popcount(lost, NUM_QUESTS) == QUESTS_TO_WIN)
    learned = bots.remember(memory, quest, named, fails)
    after = BotGame(
        deal=deal,
        leader=jnp.where(proposed, jnp.where(table.leader == players - 1, 0, table.leader + 1), table.leader),
        quest=jnp.minimum(quest + quest_played, NUM_QUESTS - 1),
        round=jnp.where(quest_played, 0, table.round + voted),
        won=won,
        lost=lost,
        memory=jax.tree.map(lambda old, new: jnp.where(quest_played, new, old), memory, learned),
    )
    return after, BotRound(
        proposed,
        forced,
        quest_played,
        fails,
        quest_played & ~failed,
        attempted,
        assassinated,
        over,
        attempted & ~assassinated,
    )


def rollout(bots: Bots, key: jax.Array, state: AvalonState, memory: Memory | None = None) -> jax.Array:
    """float32[P]: the reward at the end when bots play on from `state` in every seat; 0 if it is over already.

    Args:
      bots: of all seats.
      key: consumed.
      state: any state of `bots.game`, its roles included.
      memory: of the bots, by default rebuilt from the public history.
    """
    memory = bots.memory_of(state) if memory is None else memory
    table = BotGame(state.deal, state.leader, state.quest, state.round, state.won, state.lost, memory)
    stream = _stream(key)
    first, happened = play_round(bots, table, _words(stream, 0), state.phase, state.team)

    def turn(carry):
        step, table, _, _ = carry
        table, happened = play_round(bots, table, _words(stream, step))
        return step + 1, table, happened.over, happened.good_won

    start = (jnp.int32(1), first, happened.over | state.terminated, happened.good_won)
    good_won = jax.lax.while_loop(lambda carry: ~carry[2], turn, start)[3]
    good = ~has_bit(evil_seats(state.deal, bots.game.num_players), jnp.arange(bots.game.num_players))
    return jnp.where(state.terminated, 0.0, jnp.where(good == good_won, 1.0, -1.0)).astype(jnp.float32)


def play_bots(bots: Bots, key: jax.Array, num_games: int, lanes: int = 4096) -> Totals:
    """Plays `num_games` games from random deals and adds up what happened.

    Every lane plays the same number of games, or one more, to the end: short games are not preferred.

    Args:
      bots: of all seats.
      key: consumed.
      num_games: how many.
      lanes: games in play at a time; a few percent of `num_games` serve well.

    Raises:
      UserError: if there is not at least one game and one lane.
    """
    if num_games < 1 or lanes < 1:
        raise UserError(f"num_games and lanes must be at least 1, got {num_games} and {lanes}")
    lanes = min(lanes, num_games)
    quota = np.full(lanes, num_games // lanes, np.int32) + (np.arange(lanes) < num_games % lanes)
    totals = jax.device_get(_play_lanes(bots, jax.random.split(key, lanes), jnp.asarray(quota, jnp.int32)))
    whole = [np.sum(np.asarray(total, np.int64), axis=-1) for total in totals]
    return Totals(*(value if value.ndim else int(value) for value in whole))


def deal_of(bots: Bots, lane_key: jax.Array) -> BotGame:
    """The first deal of a lane of `play_bots`."""
    return _deal(bots, _words(_stream(lane_key), 1)[0])


@functools.partial(jax.jit, static_argnums=0)
def _play_lanes(bots: Bots, keys: jax.Array, quota: jax.Array) -> Totals:
    """Totals of int32[..., B], one column a lane."""

    def lane(step, stream, left, table, totals):
        after, happened = play_round(bots, table, _words(stream, 2 * step))
        totals = _add(bots, totals, table, after, happened, left > 0)
        fresh = _deal(bots, _words(stream, 2 * step + 1)[0])
        table = jax.tree.map(lambda old, new: jnp.where(happened.over, new, old), after, fresh)
        return left - happened.over, table, totals

    def turn(carry):
        step, left, tables, totals = carry
        step += 1
        left, tables, totals = jax.vmap(lane, (None, 0, 0, 0, -1), (0, 0, -1))(step, streams, left, tables, totals)
        return step, left, tables, totals

    streams = jax.vmap(_stream)(keys)
    zero = jnp.zeros((len(quota),), jnp.int32)
    by_index = jnp.zeros((NUM_QUESTS, len(quota)), jnp.int32)
    fields = {name: by_index if name.endswith("by_index") else zero for name in Totals._fields}
    tables = jax.vmap(lambda key: deal_of(bots, key))(keys)
    start = (jnp.int32(0), quota, tables, Totals(**fields))
    return jax.lax.while_loop(lambda carry: jnp.any(carry[1] > 0), turn, start)[3]


def _add(bots: Bots, totals: Totals, before: BotGame, after: BotGame, happened: BotRound, counts: jax.Array) -> Totals:
    over, players = happened.over, bots.game.num_players
    good = ~evil_seats(before.deal, players)
    servants = seats_of(before.deal, SERVANT, players)
    right = jnp.int32(0)
    for seat in range(players):
        agrees = ~(bots.believed_good(after.memory, seat) ^ good)
        right = right + jnp.where((servants >> seat) & 1, popcount(agrees, players), 0)
    here = jnp.arange(NUM_QUESTS) == before.quest
    add = Totals(
        games=over,
        good_wins=happened.good_won,
        evil_by_missions=over & ~happened.assassination_attempted,
        evil_by_assassination=happened.assassination_succeeded,
        assassination_attempts=happened.assassination_attempted,
        proposals=happened.proposed,
        forced=happened.forced,
        quests=happened.quest_played,
        quests_by_index=here & happened.quest_played,
        successes_by_index=here & happened.succeeded,
        sides_right=jnp.where(over, right, 0),
        sides_judged=jnp.where(over, popcount(servants, players) * players, 0),
    )
    return jax.tree.map(lambda total, more: total + jnp.where(counts, more, 0), totals, add)


def _deal(bots: Bots, word: jax.Array) -> BotGame:
    """A game dealt with `word` uint32[]: roles and first leader uniform up to K P / 2^32."""
    deals = _deals(bots.game)
    number = draw_below(word, jnp.uint32(deals.size * bots.game.num_players))
    zero = jnp.int32(0)
    deal = jnp.asarray(deals).at[number // bots.game.num_players].get(mode="promise_in_bounds")
    return BotGame(deal, number % bots.game.num_players, zero, zero, zero, zero, bots.init())


@functools.lru_cache(maxsize=8)
def _deals(game: Avalon) -> np.ndarray:
    """int32[K]: every deal of the game's roles, packed."""
    deals = encode_roles(assignments(game.roles).astype(np.int32))
    if deals.size * game.num_players > 1 << 16:
        raise UserError(
            f"play_bots deals from a table of at most {1 << 16} deals and leaders, and these roles have "
            f"{deals.size * game.num_players}; use fewer special roles, or rollout from game.init"
        )
    return deals


def _stream(key: jax.Array) -> jax.Array:
    """A key of the kind whose data are random words themselves, whatever kind `key` is."""
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")


def _words(stream: jax.Array, step: jax.Array | int) -> jax.Array:
    """uint32[2]: random words number `step` of a stream, for one hash."""
    return jax.random.key_data(jax.random.fold_in(stream, step))
