"""Avalon between heuristics: good players search with one, evil players with another, each with its own beliefs.

A player looks one step ahead: it draws assignments of roles from its exact posterior, takes the others to act as bots,
and asks its heuristic about the state that follows each of its actions. That is `SearchAgent` with the simulations
spread evenly instead of by UCB1, so that all of a decision is one batch; ties are broken at random. Good players pass
every quest, so that is not searched. A batch of games advances in lockstep, each always at a decision.

Shapes: `B` games, `P` players, `A` actions, `D` decisions recorded.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.beliefs import from_state, p_merlin, posterior
from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.avalonbench.observation_models import ObservationModel, VotesAndProposals
from jaxrl_suite.avalonbench.search_agent import BotRollout
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.state import ASSASSINATION, QUEST
from jaxrl_suite.envs.bits import lowest_bit
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.packing import packing_of
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


@dataclasses.dataclass(frozen=True)
class AvalonPlayer:
    """A player of Avalon by a heuristic.

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


class AvalonGames(NamedTuple):
    """Games that were played."""

    good_wins: jax.Array  # bool[B]
    final: AvalonState  # [B, ...]
    states: AvalonState  # [B, D, ...], before each of the first D decisions
    seats: jax.Array  # int32[B, D], who decided
    estimates: jax.Array  # float32[B, D], value of the state for the good team by its search, from -1 to 1
    decisions: jax.Array  # int32[B], how many there were; those beyond D are not recorded


class _GamesInPlay(NamedTuple):
    states: AvalonState
    waiting: jax.Array  # int32[B], bit mask of those who still have to decide in this phase
    chosen: jax.Array  # int32[B, P]
    packed: jax.Array  # int32[B, D, W]
    seats: jax.Array
    estimates: jax.Array
    decisions: jax.Array


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
    game = player.game
    batch = keys.shape[0]
    rows, everyone = jnp.arange(batch), (1 << game.num_players) - 1
    deal_keys, search_keys = split_rows(keys, 2)
    packing = packing_of(jax.eval_shape(game.start))

    def searching(state: AvalonState) -> jax.Array:
        idle = jnp.where(state.phase == QUEST, ~state.evil & everyone, 0)
        return game.acting(state) & ~idle

    def finish_phase(table: _GamesInPlay) -> _GamesInPlay:
        """Applies the phase in the games where nobody has to decide any more; good players pass quests."""

        def one(state, waiting, chosen):
            decided = (searching(state) >> jnp.arange(game.num_players)) & 1
            after = game.apply(state, jnp.where(decided == 1, chosen, 1))
            ready = (waiting == 0) & ~state.terminated
            after = jax.tree.map(lambda new, old: jnp.where(ready, new, old), after, state)
            return after, jnp.where(ready, jnp.where(after.terminated, 0, searching(after)), waiting)

        states, waiting = jax.vmap(one)(table.states, table.waiting, table.chosen)
        return table._replace(states=states, waiting=waiting)

    def stuck(table: _GamesInPlay) -> jax.Array:
        return jnp.any((table.waiting == 0) & ~table.states.terminated)

    def decide(carry):
        index, table = carry
        asked = table.waiting > 0
        seat = jnp.where(asked, lowest_bit(table.waiting, game.num_players), 0)
        is_evil = (table.states.evil >> seat) & 1
        choice = jax.tree.map(
            lambda a, b: jnp.where(is_evil.reshape(-1, *[1] * (a.ndim - 1)) == 1, b, a), *map(_arrays, (good, evil))
        )
        now = jax.vmap(jax.random.fold_in, (0, None))(search_keys, index)
        own_keys, tie_keys = split_rows(now, 2)
        values = jax.vmap(player.values)(choice, own_keys, table.states, seat)
        quality = values * jnp.where(is_evil == 1, -1.0, 1.0)[:, None]
        quality += 1e-4 * jax.vmap(lambda key: jax.random.uniform(key, quality.shape[1:]))(tie_keys)
        action = jnp.argmax(jnp.where(jnp.isnan(values), -jnp.inf, quality), axis=1).astype(jnp.int32)
        target = jnp.where(asked, seat, game.num_players)
        slot = jnp.where(asked, table.decisions, record)
        packed = jax.vmap(packing.pack)(table.states)
        worth = values[rows, action]
        table = table._replace(
            chosen=table.chosen.at[rows, target].set(action, mode="drop"),
            waiting=table.waiting & (table.waiting - 1) * asked,
            packed=table.packed.at[rows, slot].set(packed, mode="drop"),
            seats=table.seats.at[rows, slot].set(seat, mode="drop"),
            estimates=table.estimates.at[rows, slot].set(worth, mode="drop"),
            decisions=table.decisions + asked,
        )
        return index + 1, jax.lax.while_loop(stuck, finish_phase, table)

    states = jax.vmap(game.init)(deal_keys)
    start = _GamesInPlay(
        states=states,
        waiting=jax.vmap(searching)(states),
        chosen=jnp.zeros((batch, game.num_players), jnp.int32),
        packed=jnp.broadcast_to(jax.vmap(packing.pack)(states)[:, None], (batch, record, packing.words)),
        seats=jnp.zeros((batch, record), jnp.int32),
        estimates=jnp.zeros((batch, record)),
        decisions=jnp.zeros_like(rows),
    )
    start = jax.lax.while_loop(stuck, finish_phase, start)
    _, end = jax.lax.while_loop(lambda carry: jnp.any(~carry[1].states.terminated), decide, (jnp.int32(0), start))
    return AvalonGames(
        good_wins=end.states.good_victory,
        final=end.states,
        states=jax.vmap(jax.vmap(packing.unpack))(end.packed),
        seats=end.seats,
        estimates=end.estimates,
        decisions=end.decisions,
    )


def _arrays(choice: Choice) -> Choice:
    return Choice(*(jnp.asarray(leaf) for leaf in choice))
