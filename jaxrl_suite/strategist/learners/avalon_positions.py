"""All the positions that a finished game of Avalon went through, rebuilt from its end.

A final state remembers every proposal, vote, and count of fails, and that decides each state before it. So games can be
played by whatever is fastest, and learned from afterwards.

Shapes: H = 25 proposals at most, `M` = 3 H + 1 positions, `P` players.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.roles import MAX_PROPOSALS
from jaxrl_suite.envs.avalon.state import ASSASSINATION, NO_TARGET, QUEST, TEAM, VOTE


def positions(game: Avalon, final: AvalonState) -> tuple[AvalonState, jax.Array]:
    """The states before each decision of one game.

    Args:
      game: the rules.
      final: a state of a game that is over.

    Returns:
      States [M, ...]: for each proposal the team selection, the vote and the quest; then the assassination. And
      bool[M], whether the game went through it.
    """
    final = jax.tree.map(jnp.asarray, final)
    index = jnp.arange(MAX_PROPOSALS)

    def all_before(phase: int) -> AvalonState:
        return jax.vmap(lambda number: _before(game, final, number, phase))(index)

    rounds = [all_before(phase) for phase in (TEAM, VOTE, QUEST)]
    played = index < final.num_proposals
    accepted = played & final.proposal_accepted
    last = final._replace(
        phase=jnp.int32(ASSASSINATION),
        target=jnp.int32(NO_TARGET),
        good_victory=jnp.bool_(False),
        reward=jnp.zeros_like(final.reward),
        terminated=jnp.bool_(False),
    )
    parts = [*rounds, jax.tree.map(lambda leaf: leaf[None], last)]
    states = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    assassination_reached = (final.phase == ASSASSINATION) & final.terminated
    return states, jnp.concatenate([played, played, accepted, assassination_reached[None]])


def draw_positions(game: Avalon, final: AvalonState, key: jax.Array, count: int) -> AvalonState:
    """States [count, ...] that the game went through, uniformly with replacement; `key` is consumed."""
    states, valid = positions(game, final)
    rows = jax.random.categorical(key, jnp.where(valid, 0.0, -jnp.inf), shape=(count,))
    return jax.tree.map(lambda leaf: leaf[rows], states)


def _before(game: Avalon, final: AvalonState, number: jax.Array, phase: int) -> AvalonState:
    """The state in `phase` of proposal `number` int32[]."""
    slots = jnp.arange(MAX_PROPOSALS)
    quest, leader = final.proposal_quest[number], final.proposal_leader[number]
    voted = number + (phase == QUEST)
    earlier = (1 << quest) - 1
    rejected = jnp.sum((slots < number) & (final.proposal_quest == quest), dtype=jnp.int32)
    return final._replace(
        leader=leader if phase == TEAM else (leader + 1) % game.num_players,
        phase=jnp.int32(phase),
        quest=quest,
        round=jnp.int32(0) if phase == QUEST else rejected,
        team=jnp.int32(0) if phase == TEAM else final.proposal_team[number],
        won=final.won & earlier,
        lost=final.lost & earlier,
        fail_votes=final.fail_votes & ((1 << (4 * quest)) - 1),
        proposals=jnp.where(slots < voted, final.proposals, 0),
        num_proposals=voted,
        target=jnp.int32(NO_TARGET),
        good_victory=jnp.bool_(False),
        reward=jnp.zeros_like(final.reward),
        terminated=jnp.bool_(False),
    )
