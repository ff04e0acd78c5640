"""Avalon between heuristics: good players search with one, evil players with another, each with its own beliefs.

A player looks one step ahead: it draws assignments of roles from its exact posterior, takes the others to act as bots,
and asks its heuristic about the state that follows each of its actions. That is `SearchAgent` with the simulations
spread evenly instead of by UCB1, so that all of a decision is one batch; ties are broken at random. Good players pass
every quest, so that is not searched.

Shapes: `B` games, `P` players, `A` actions, `D` decisions recorded.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench import driver
from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.beliefs import from_state, p_merlin, posterior
from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.avalonbench.game_records import GameRecorder, Turn
from jaxrl_suite.avalonbench.observation_models import ObservationModel, VotesAndProposals
from jaxrl_suite.avalonbench.player import Planner
from jaxrl_suite.avalonbench.search_agent import BotRollout
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.state import ASSASSINATION
from jaxrl_suite.envs.rules import has_bit, lowest_bit, popcount
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.simultaneous import packing_of
from jaxrl_suite.search.tree_search import split_rows
from jaxrl_suite.strategist.heuristics.pool import ROLLOUT, Choice, Pool
from jaxrl_suite.strategist.heuristics.views import avalon_view


@dataclasses.dataclass(frozen=True)
class AvalonPoolEvaluator:
    """A state is worth the chance that good wins less the chance that evil does, as the row's heuristic has it.

    Chances outside of 0 to 1 count as 0 and 1; a side's chance is the mean over its players.
    """

    pool: Pool
    bots: Bots

    def __call__(self, params: Choice, key: jax.Array, state: AvalonState, memory: Memory) -> jax.Array:
        view = avalon_view(self.bots.game, state)
        chances = jnp.clip(self.pool.values(params, view), 0.0, 1.0)
        good = jnp.sum(chances * (1 - view.evil)) / jnp.sum(1 - view.evil)
        evil = jnp.sum(chances * view.evil) / jnp.sum(view.evil)
        if not self.pool.rollout:
            return good - evil
        return jnp.where(params.member == ROLLOUT, BotRollout(self.bots)(key, state, memory), good - evil)


class Decided(NamedTuple):
    """Decisions of the players of a batch of games in the phase."""

    actions: jax.Array  # int32[B, P]
    estimates: jax.Array  # float32[B, P], value of the state for the good team by each search, from -1 to 1


@dataclasses.dataclass(frozen=True)
class AvalonPlayer(Planner):
    """A heuristic that plays Avalon; its params are one choice [B] of the pool for good seats and one for evil seats.

    Args:
      pool: the heuristics.
      num_simulations: states evaluated for each decision: every legal action in as many worlds as that allows.
      model: how the public events are read, for the posterior.

    Raises:
      UserError: if the pool is not for Avalon, or there are fewer simulations than actions.
    """

    pool: Pool
    num_simulations: int = 20
    model: ObservationModel = VotesAndProposals()  # noqa: RUF009  (frozen)

    def __post_init__(self):
        if not isinstance(self.pool.library.game, Avalon):
            raise UserError(f"these heuristics are for {type(self.pool.library.game).__name__}, not for Avalon")
        if self.num_simulations < self.game.num_actions:
            raise UserError(f"num_simulations must be at least {self.game.num_actions}, so that each action is tried")

    @property
    def game(self) -> Any:
        return self.pool.library.game

    def init(self, params: Any, states: AvalonState) -> Decided:
        nothing = super().init(params, states)
        return Decided(nothing, nothing.astype(jnp.float32))

    def decide(self, params: Any, keys: jax.Array, states: AvalonState, seats: jax.Array) -> jax.Array:
        return self._search(params, keys, states, seats)[0]

    def plan(self, params: Any, keys: jax.Array, states: AvalonState, seats: jax.Array, memory: Decided) -> Decided:
        rows = jnp.arange(len(seats))
        action, values = self._search(params, keys, states, jnp.minimum(seats, self.game.num_players - 1))
        return Decided(
            memory.actions.at[rows, seats].set(action, mode="drop"),
            memory.estimates.at[rows, seats].set(values[rows, action], mode="drop"),
        )

    def act(self, params: Any, keys: jax.Array, states: AvalonState, memory: Decided) -> tuple[jax.Array, Decided]:
        del params, keys
        return self.passing(states, memory.actions), memory

    def _search(
        self, params: Any, keys: jax.Array, states: AvalonState, seats: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(int32[B], float32[B, A]): the best action of each game's seat, and the values of all."""
        is_evil = has_bit(states.evil, seats)
        choice = jax.tree.map(
            lambda good, evil: jnp.where(is_evil.reshape(-1, *[1] * (good.ndim - 1)), evil, good), *params
        )
        own_keys, tie_keys = split_rows(keys, 2)
        values = jax.vmap(self.values)(choice, own_keys, states, seats)
        quality = values * jnp.where(is_evil, -1.0, 1.0)[:, None]
        quality += 1e-4 * jax.vmap(lambda key: jax.random.uniform(key, quality.shape[1:]))(tie_keys)
        return jnp.argmax(jnp.where(jnp.isnan(values), -jnp.inf, quality), axis=1).astype(jnp.int32), values

    def values(self, choice: Choice, key: jax.Array, state: AvalonState, viewer: jax.Array) -> jax.Array:
        """float32[A]: value for the good team of each action of seat `viewer`, from -1 to 1; NaN where it is illegal.

        All actions meet the same worlds, in which the others do the same: assignments are drawn from the exact
        posterior at even distances of its distribution function. An assassination is worth what the posterior says.
        `key` is consumed.
        """
        game, bots, actions = self.game, Bots(self.game), jnp.arange(self.game.num_actions)
        evaluator = AvalonPoolEvaluator(self.pool, bots)
        chances = posterior(from_state(game, state, viewer, self.model))
        legal = game.legal(state)[viewer]
        count = jnp.maximum(jnp.sum(legal, dtype=jnp.int32), 1)
        rank = jnp.cumsum(legal) - 1
        slots = jnp.arange(self.num_simulations)
        taken = jnp.sum(jnp.where(legal[None] & (rank[None] == (slots % count)[:, None]), actions[None], 0), axis=1)
        round_key, offset_key = jax.random.split(key)
        number, total = slots // count, self.num_simulations // count
        level = (number + jax.random.uniform(offset_key)) / total
        upto = jnp.cumsum(chances)
        # at both ends of the range rounding must not lead to a world that the player knows to be impossible
        worlds = jnp.sum(upto[None] < jnp.clip(level, 1e-7, 1 - 1e-6)[:, None] * upto[-1], axis=1)
        roles = jnp.asarray(tables(game).roles)[worlds]
        memory = bots.memory_of(state)

        def imagine(action, roles, number):
            act_key, leaf_key = jax.random.split(jax.random.fold_in(round_key, number))
            before = game.with_roles(state, roles)
            others = bots.act(act_key, before, memory)
            after = game.apply(before, jnp.where(jnp.arange(game.num_players) == viewer, action, others))
            later = bots.observe(memory, before, after) if self.pool.rollout else memory
            good_seat = lowest_bit(~after.evil, game.num_players)
            worth = evaluator(choice, leaf_key, after, later)
            return jnp.where(after.terminated, after.reward[good_seat], worth)

        found = jax.vmap(imagine)(taken, roles, number)
        counted = (taken[:, None] == actions[None]) & (number < total)[:, None]
        values = jnp.sum(jnp.where(counted, found[:, None], 0.0), axis=0) / total
        merlin = jnp.zeros(game.num_actions).at[: game.num_players].set(p_merlin(game, chances))
        values = jnp.where(state.phase == ASSASSINATION, 1 - 2 * merlin, values)
        return jnp.where(legal, values, jnp.nan)


class _Log(NamedTuple):
    """The first D decisions of each game."""

    packed: jax.Array  # int32[B, D, W], states
    seats: jax.Array  # int32[B, D]
    estimates: jax.Array  # float32[B, D]
    count: jax.Array  # int32[B]


class AvalonGames(NamedTuple):
    """Games that were played."""

    good_wins: jax.Array  # bool[B]
    final: AvalonState  # [B, ...]
    states: AvalonState  # [B, D, ...], before each of the first D decisions
    seats: jax.Array  # int32[B, D], who decided
    estimates: jax.Array  # float32[B, D], value of the state for the good team by its search, from -1 to 1
    decisions: jax.Array  # int32[B], how many there were; those beyond D are not recorded


def play(player: AvalonPlayer, good: Choice, evil: Choice, keys: jax.Array, record: int = 0) -> AvalonGames:
    """One game a key: `good` is the heuristic of all good players, `evil` of the evil ones.

    The key deals the roles and the first leader, whoever plays.

    Args:
      player: how they play.
      good: [B], of its pool.
      evil: [B].
      keys: key[B], consumed.
      record: D, decisions of each game to keep.
    """
    game, every = player.game, jnp.int32((1 << player.game.num_players) - 1)
    rows, seats = jnp.arange(len(keys))[:, None], jnp.arange(game.num_players)[None]
    packing = packing_of(jax.eval_shape(game.start))

    def add(log: _Log, turn: Turn) -> _Log:
        decided = jnp.where(turn.played, player.plans(turn.before, jnp.broadcast_to(every, turn.played.shape)), 0)
        earlier = popcount(decided[:, None] & ((1 << seats) - 1), game.num_players)
        slot = jnp.where(has_bit(decided[:, None], seats), log.count[:, None] + earlier, record)
        return _Log(
            packed=log.packed.at[rows, slot].set(jax.vmap(packing.pack)(turn.before)[:, None], mode="drop"),
            seats=log.seats.at[rows, slot].set(seats, mode="drop"),
            estimates=log.estimates.at[rows, slot].set(turn.memories[0].estimates, mode="drop"),
            count=log.count + popcount(decided, game.num_players),
        )

    deal_keys, search_keys = split_rows(keys, 2)
    states = jax.vmap(game.init)(deal_keys)
    shape = len(keys), record
    packed = jnp.broadcast_to(jax.vmap(packing.pack)(states)[:, None], (*shape, packing.words))
    log = _Log(packed, jnp.zeros(shape, jnp.int32), jnp.zeros(shape), jnp.zeros(len(keys), jnp.int32))
    games = driver.play(
        game,
        (player,),
        keys,
        holders=(0,) * game.num_players,
        params=((_arrays(good), _arrays(evil)),),
        states=states,
        fresh=True,
        streams=(search_keys,),
        recorder=GameRecorder(log, add),
    )
    log = games.record
    return AvalonGames(
        good_wins=games.final.good_victory,
        final=games.final,
        states=jax.vmap(jax.vmap(packing.unpack))(log.packed),
        seats=log.seats,
        estimates=log.estimates,
        decisions=games.plans[:, 0],
    )


def _arrays(choice: Choice) -> Choice:
    return Choice(*(jnp.asarray(leaf) for leaf in choice))
