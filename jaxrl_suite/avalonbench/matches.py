"""Whole games in which one side's players search and the other side's are bots.

Players who act at once decide one after the other here, each from the same state and its own knowledge; what they chose
is applied together. A batch of games advances in lockstep, each game always at a decision of a searching player.

Shapes: `B` games, `P` players.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.avalonbench.search_agent import SearchAgent
from jaxrl_suite.envs.avalon.game import ASSASSINATION, QUEST, AvalonState
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.tree_search import split_rows


class Outcome(NamedTuple):
    """The ends of games."""

    good_wins: jax.Array  # bool[B]
    by_missions: jax.Array  # bool[B], evil won three quests, or five proposals were rejected
    by_assassination: jax.Array  # bool[B], evil named Merlin
    proposals: jax.Array  # int32[B]
    decisions: jax.Array  # int32[B], decisions that were searched
    final: AvalonState  # batched


class _SideGames(NamedTuple):
    states: AvalonState
    memory: Memory
    waiting: jax.Array  # int32[B], bit mask of the searching players who still have to decide in this phase
    chosen: jax.Array  # int32[B, P]
    decisions: jax.Array  # int32[B]


def play_side(agent: SearchAgent, side: Literal["good", "evil", "both"], bots: Bots, keys: jax.Array) -> Outcome:
    """One game a key: the players of `side` search, the others are `bots`.

    Good players pass every quest, so that is not searched for them.

    Args:
      agent: the search.
      side: who searches, each with its own knowledge.
      bots: of the same game as the agent's.
      keys: key[B], consumed; they deal the same roles and first leaders whoever plays.

    Raises:
      UserError: if the agent is for another game, or `side` is unknown.
    """
    game = bots.game
    if agent.game != game:
        raise UserError(f"the agent plays {agent.game}, the bots {game}: give both the same game")
    if side not in ("good", "evil", "both"):
        raise UserError(f"side must be good, evil or both, got {side!r}")
    rows, everyone = jnp.arange(keys.shape[0]), (1 << game.num_players) - 1
    deal_keys, bot_keys, search_keys = split_rows(keys, 3)

    def searching(state: AvalonState) -> jax.Array:
        good = jnp.where(state.phase == QUEST, 0, ~state.evil & everyone)
        mine = {"good": good, "evil": state.evil, "both": good | state.evil}[side]
        return game.acting(state) & mine

    def finish_phase(tables: _SideGames) -> _SideGames:
        """Applies the phase in the games where nobody has to decide any more."""

        def one(key, tables):
            state, memory = tables.states, tables.memory
            key = jax.random.fold_in(key, state.num_proposals * 4 + state.phase)  # no two phases share it
            actions = bots.act(key, state, memory)
            mine = (searching(state) >> jnp.arange(game.num_players)) & 1
            after = game.apply(state, jnp.where(mine == 1, tables.chosen, actions))
            moved = _SideGames(
                after, bots.observe(memory, state, after), searching(after), tables.chosen, tables.decisions
            )
            ready = (tables.waiting == 0) & ~state.terminated
            return jax.tree.map(lambda new, old: jnp.where(ready, new, old), moved, tables)

        return jax.vmap(one)(bot_keys, tables)

    def stuck(tables: _SideGames) -> jax.Array:
        return jnp.any((tables.waiting == 0) & ~tables.states.terminated)

    def decide(carry):
        index, tables = carry
        seat = jnp.maximum(jax.lax.population_count((tables.waiting & -tables.waiting) - 1), 0) % game.num_players
        now = jax.vmap(jax.random.fold_in, (0, None))(search_keys, index)
        action = agent(now, tables.states, seat)
        asked = tables.waiting > 0
        target = jnp.where(asked, seat, game.num_players)
        tables = tables._replace(
            chosen=tables.chosen.at[rows, target].set(action, mode="drop"),
            waiting=tables.waiting & (tables.waiting - 1) * asked,
            decisions=tables.decisions + asked,
        )
        tables = jax.lax.while_loop(stuck, finish_phase, tables)
        return index + 1, tables

    states = jax.vmap(game.init)(deal_keys)
    memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (keys.shape[0], *leaf.shape)), bots.init())
    nobody = jnp.zeros_like(rows)
    tables = _SideGames(
        states, memory, jax.vmap(searching)(states), jnp.zeros((len(rows), game.num_players), jnp.int32), nobody
    )
    tables = jax.lax.while_loop(stuck, finish_phase, tables)
    _, tables = jax.lax.while_loop(lambda carry: jnp.any(~carry[1].states.terminated), decide, (jnp.int32(0), tables))
    final = tables.states
    assassination_reached = final.phase == ASSASSINATION
    return Outcome(
        good_wins=final.good_victory,
        by_missions=~assassination_reached,
        by_assassination=assassination_reached & ~final.good_victory,
        proposals=final.num_proposals,
        decisions=tables.decisions,
        final=final,
    )
