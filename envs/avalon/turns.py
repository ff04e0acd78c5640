"""Avalon one player at a time: those who act in a phase commit in the order of their seats, unseen until its end.

Shapes: `P` players, `A` actions, as in `avalon`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import MAX_PROPOSALS
from jaxrl_suite.envs.avalon.state import ASSASSINATION, TEAM, AvalonState
from jaxrl_suite.envs.base import NoChance
from jaxrl_suite.envs.rules import lowest_bit, popcount, refuse, takes_legal


class TurnState(NamedTuple):
    """A game between two phases, and what was committed in the phase that is on."""

    table: AvalonState  # the game before the phase, all that is public among it
    acted: jax.Array  # int32[], bit mask: who has committed in this phase
    votes: jax.Array  # int32[], bit mask: who of them voted 1; hidden until the phase ends
    reward: jax.Array  # float32[P], received on the last step
    terminated: jax.Array  # bool[]
    truncated: jax.Array  # bool[], always False


@dataclasses.dataclass(frozen=True)
class AvalonTurns(NoChance):
    """The same game as `game`, one decision a step: `current_player` decides; no vote is seen before all have voted.

    Args:
      game: the rules.
    """

    game: Avalon = dataclasses.field(default_factory=Avalon)

    @property
    def num_players(self) -> int:
        return self.game.num_players

    @property
    def num_actions(self) -> int:
        return self.game.num_actions

    @property
    def max_turns(self) -> int:
        """Decisions in the longest game: proposals and their votes, quests, assassination."""
        return (self.num_players + 1) * MAX_PROPOSALS + sum(self.game.team_sizes) + 1

    def start(self) -> TurnState:
        return self.of_table(self.game.start())

    def init(self, key: jax.Array) -> TurnState:
        """Deals the roles and draws the first leader. `key` is consumed."""
        return self.of_table(self.game.init(key))

    def of_table(self, table: AvalonState) -> TurnState:
        """The state in which nobody has committed yet in the phase of `table`."""
        zero = jnp.zeros_like(table.phase)
        return TurnState(table, zero, zero, table.reward, table.terminated, table.truncated)

    def waiting(self, state: TurnState) -> jax.Array:
        """int32[]: bit mask of those who are still to decide in this phase."""
        return self.game.acting(state.table) & ~state.acted

    def current_player(self, state: TurnState) -> jax.Array:
        """int32[]: who decides now; P at the end of the game."""
        return lowest_bit(self.waiting(state), self.num_players)

    def legal(self, state: TurnState) -> jax.Array:
        """bool[P, A]: the actions of the current player; all other rows are False."""
        now = jnp.arange(self.num_players) == self.current_player(state)
        return self.game.legal(state.table) & now[:, None]

    def apply(self, state: TurnState, action: jax.Array) -> TurnState:
        """The current player commits; when all have, the phase is played.

        Args:
          state: the current state; a terminal one is returned unchanged, with reward 0.
          action: int32[P], of which the current player's entry counts; an illegal one is refused, see `envs.rules`.
        """
        waiting = self.waiting(state)
        bit = waiting & -waiting
        chosen = jnp.int32(0)
        for seat in range(self.num_players):
            chosen = jnp.where((bit >> seat) & 1, action[seat], chosen)
        ballot = (state.table.phase != TEAM) & (state.table.phase != ASSASSINATION)
        votes = jnp.where(ballot & (chosen == 1), state.votes | bit, state.votes)
        complete = waiting == bit
        # of a vote the table needs all the bits, of a proposal or an assassination the one choice, whoever made it
        all_actions = jnp.where(ballot, (votes >> jnp.arange(self.num_players)) & 1, chosen)
        played = self.game.apply(state.table, all_actions)
        table = jax.tree.map(lambda old, new: jnp.where(complete, new, old), state.table, played)
        table = table._replace(reward=jnp.zeros_like(table.reward))
        after = TurnState(
            table=table,
            acted=jnp.where(complete, 0, state.acted | bit),
            votes=jnp.where(complete, 0, votes),
            reward=jnp.where(complete, played.reward, 0.0),
            terminated=table.terminated,
            truncated=table.truncated,
        )
        over = state._replace(table=state.table._replace(terminated=jnp.ones_like(state.terminated)))
        return refuse(takes_legal(self.legal(state), action), after, over)

    def step(self, state: TurnState, action: jax.Array, key: jax.Array) -> TurnState:
        """`apply`: nothing is left to chance once the roles are dealt. `key` is unused."""
        del key
        return self.apply(state, action)

    def observe(self, state: TurnState, player: jax.Array | int) -> jax.Array:
        """float32[D + 3]: the game's observation with "acts" for this turn, then own commit: made; made and 1.

        The last number is how many have committed, / P, which everybody sees at the table.
        """
        own = (jnp.stack([state.acted, state.votes]) >> player & 1).astype(jnp.float32)
        count = popcount(state.acted, self.num_players)[None] / self.num_players
        return jnp.concatenate([self.game.observe(state.table, player), own, count])

    def scramble(self, state: TurnState, player: jax.Array | int, key: jax.Array) -> TurnState:
        """Redraws what `player` cannot know: roles, and what the others have committed. `key` is consumed."""
        roles_key, votes_key = jax.random.split(key)
        own = 1 << jnp.asarray(player, jnp.int32)
        drawn = jax.random.bits(votes_key, (), jnp.uint32).astype(jnp.int32) & state.acted
        return state._replace(
            table=self.game.scramble(state.table, player, roles_key), votes=(state.votes & own) | (drawn & ~own)
        )
