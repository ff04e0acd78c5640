"""The Resistance: Avalon for 5 to 10 players with all its roles, one phase a step.

In a phase everyone who acts does so at once: the leader proposes a team; all vote on it; its members decide in secret
whether the quest succeeds; after three successes the Assassin names a player. `turns` plays it one seat at a time.

Rules as pure functions on a small state of bit masks (bit i stands for seat i); rendering and logs live elsewhere.

Shapes: `P` players, `A` actions, Q = 5 quests, H = 25 proposals at most.

Reference: Eskridge, "The Resistance: Avalon" (2012), rule book; rule set `avalonbench`: the engine of Light et al.,
"AvalonBench" (arXiv 2310.05036), as recorded in tests/data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxrl_suite.envs.avalon import roles as tables
from jaxrl_suite.envs.avalon import view
from jaxrl_suite.envs.avalon.choices import may_choose
from jaxrl_suite.envs.avalon.roles import MAX_PROPOSALS, MAX_ROUNDS, NUM_QUESTS, QUESTS_TO_WIN
from jaxrl_suite.envs.avalon.setup import AvalonSetup
from jaxrl_suite.envs.avalon.state import ASSASSINATION, NO_TARGET, QUEST, TEAM, VOTE, AvalonState, pack_proposal
from jaxrl_suite.envs.base import NoChance
from jaxrl_suite.envs.rules import has_bit, nth_bit, popcount, refuse
from jaxrl_suite.errors import UserError


@dataclasses.dataclass(frozen=True)
class Avalon(NoChance, AvalonSetup):
    """The game's rules.

    Rule set `avalonbench`: Merlin and every evil player know all sides, nobody else knows anything; a fifth proposal is
    accepted whatever the votes; good players may fail quests; the Assassin may name anyone. Rule set `official`: five
    rejections win the game for evil; evil players see each other, but neither see Oberon nor does he see them; Merlin
    sees evil but for Mordred; Percival sees Merlin and Morgana without telling them apart; good players cannot fail a
    quest; the Assassin names neither itself nor a player it knows to be evil.
    In both a proposal needs more than half of all votes, and without Merlin the assassination misses.

    An action, int32 below A, means by phase: the index of a team in `teams()`; 0 to reject or 1 to approve; 0 to fail
    or 1 to pass; the seat to assassinate.

    Args:
      num_players: P, 5 to 10.
      merlin: whether Merlin is in play; the Assassin always is, Servants and Minions fill the seats that are left.
      percival: whether Percival is.
      morgana: whether Morgana is.
      mordred: whether Mordred is.
      oberon: whether Oberon is.
      rules: `avalonbench` or `official`.

    Raises:
      UserError: if there are no such rules, or more special evil roles than evil seats.
    """

    @property
    def max_turns(self) -> int:
        """Joint moves in the longest game: proposals and votes, quests, assassination."""
        return 2 * MAX_PROPOSALS + NUM_QUESTS + 1

    def start(self, roles: Sequence[int] | jax.Array | None = None, leader: jax.Array | int = 0) -> AvalonState:
        """The first state of a given deal.

        Args:
          roles: int32[P], by default the roles in ascending order.
          leader: int32[], who proposes first.

        Raises:
          UserError: if `roles` are concrete and not those of this game.
        """
        if roles is not None and not isinstance(roles, Tracer):
            given = sorted(int(role) for role in np.asarray(roles))
            if given != list(self.roles):
                raise UserError(f"the roles must be {list(self.roles)} in some order, got {given}")
        dealt = jnp.asarray(self.roles if roles is None else roles, jnp.int32)
        return self._first(tables.encode_roles(dealt), jnp.asarray(leader, jnp.int32))

    def init(self, key: jax.Array) -> AvalonState:
        """Deals the roles and draws the first leader, both uniformly. `key` is consumed."""
        drawn = [role for role in self.roles if role != tables.SERVANT]
        words = jax.random.bits(key, (len(drawn) + 1,), jnp.uint32)
        free = jnp.int32((1 << self.num_players) - 1)
        deal = jnp.int32(int(tables.encode_roles(np.full(self.num_players, tables.SERVANT))))
        for index, role in enumerate(drawn):
            seat = nth_bit(free, _below(words[index], self.num_players - index), self.num_players)
            free = free & ~(1 << seat)
            for plane in range(3):
                bit = 1 << (seat + plane * tables.MAX_PLAYERS)
                deal = deal | bit if role >> plane & 1 else deal & ~bit
        return self._first(deal, _below(words[-1], self.num_players))

    def with_roles(self, state: AvalonState, roles: jax.Array) -> AvalonState:
        """The same game with other `roles` int32[P] behind the same public events."""
        return state._replace(deal=tables.encode_roles(jnp.asarray(roles, jnp.int32)))

    # Who acts, and how.

    def acting(self, state: AvalonState) -> jax.Array:
        """int32[]: bit mask of the players who act now, 0 at the end."""
        phase = state.phase
        mask = jnp.where(phase == TEAM, 1 << state.leader, (1 << self.num_players) - 1)
        mask = jnp.where(phase == QUEST, state.team, mask)
        mask = jnp.where(phase == ASSASSINATION, state.seats_of(tables.ASSASSIN), mask)
        return jnp.where(state.terminated, 0, mask)

    def legal(self, state: AvalonState) -> jax.Array:
        """bool[P, A]: the actions of each player; a row of False for a player who does not act now."""
        seats, actions = jnp.arange(self.num_players)[:, None], jnp.arange(self.num_actions)[None]
        allowed = may_choose(self, state, seats, actions)
        return jnp.broadcast_to(allowed, (len(seats), self.num_actions)) & has_bit(self.acting(state), seats)

    # The rules, a function a phase. They take and give bit masks, and are for callers who know the phase.

    def propose(self, state: AvalonState, team: jax.Array) -> AvalonState:
        """The leader proposes `team`, a bit mask; a state in team selection only."""
        onward = jnp.where(state.leader == self.num_players - 1, 0, state.leader + 1)
        return state._replace(team=team, leader=onward, phase=jnp.full_like(state.phase, VOTE))

    def vote(self, state: AvalonState, approvals: jax.Array) -> AvalonState:
        """All vote on the team; `approvals` is the bit mask of those in favour. A state in the team vote only."""
        last = state.round == MAX_ROUNDS - 1
        majority = 2 * popcount(approvals, self.num_players) > self.num_players
        accepted = majority if self.rules == "official" else majority | last
        over = ~accepted & last
        proposer = jnp.where(state.leader == 0, self.num_players - 1, state.leader - 1)
        record = pack_proposal(state.team, approvals, proposer, state.quest, accepted)
        slots = jnp.arange(MAX_PROPOSALS)
        return state._replace(
            phase=jnp.where(accepted, QUEST, jnp.where(over, VOTE, TEAM)),
            round=jnp.where(accepted, 0, jnp.where(over, state.round, state.round + 1)),
            team=jnp.where(accepted, state.team, 0),
            proposals=jnp.where(slots == state.num_proposals, record, state.proposals),
            num_proposals=state.num_proposals + 1,
            reward=self._rewards(state, over, jnp.bool_(False)),
            terminated=over,
        )

    def go_on_quest(self, state: AvalonState, passes: jax.Array) -> AvalonState:
        """The team decides; `passes` is a bit mask whose bits outside the team are ignored. In the quest vote only."""
        fails = popcount(state.team & ~passes, self.num_players)
        needed = jnp.int32(_nibbles(self.fails_needed)) >> (4 * state.quest) & 15
        failed = fails >= needed
        won = jnp.where(failed, state.won, state.won | (1 << state.quest))
        lost = jnp.where(failed, state.lost | (1 << state.quest), state.lost)
        over = popcount(lost, NUM_QUESTS) == QUESTS_TO_WIN
        assassination = popcount(won, NUM_QUESTS) == QUESTS_TO_WIN
        return state._replace(
            phase=jnp.where(over, QUEST, jnp.where(assassination, ASSASSINATION, TEAM)),
            quest=jnp.minimum(state.quest + 1, NUM_QUESTS - 1),
            team=jnp.zeros_like(state.team),
            won=won,
            lost=lost,
            fail_votes=state.fail_votes | (fails << (4 * state.quest)),
            reward=self._rewards(state, over, jnp.bool_(False)),
            terminated=over,
        )

    def assassinate(self, state: AvalonState, target: jax.Array) -> AvalonState:
        """The Assassin names the seat `target`; a state in the assassination only."""
        missed = ~has_bit(state.seats_of(tables.MERLIN), target)
        over = jnp.ones_like(state.terminated)
        return state._replace(
            target=target, good_victory=missed, reward=self._rewards(state, over, missed), terminated=over
        )

    def apply_masks(self, state: AvalonState, team: jax.Array, votes: jax.Array, target: jax.Array) -> AvalonState:
        """One phase of whatever kind, in bit masks; a terminal state is returned unchanged, with reward 0.

        Args:
          state: the current state.
          team: int32[], the team proposed, if it is team selection.
          votes: int32[], the seats that approve or pass, if it is a vote.
          target: int32[], the seat named, if it is the assassination.
        """
        quiet = state._replace(reward=jnp.zeros_like(state.reward))
        options = (
            self.propose(quiet, team),
            self.vote(quiet, votes),
            self.go_on_quest(quiet, votes),
            self.assassinate(quiet, target),
        )
        after = quiet
        for phase, option in enumerate(options):
            chosen = (state.phase == phase) & ~state.terminated
            # a leaf that this phase leaves alone is the same array in both, and needs no selection
            after = jax.tree.map(
                lambda old, new, now, chosen=chosen: now if new is old else jnp.where(chosen, new, now),
                quiet,
                option,
                after,
            )
        return after

    def apply(self, state: AvalonState, action: jax.Array) -> AvalonState:
        """One phase: the actions of all who act now, at once.

        Args:
          state: the current state; a terminal one is returned unchanged, with reward 0.
          action: int32[P], legal actions, any other is refused, see `envs.rules`; the entries of players who do not
            act now are ignored.

        Returns:
          The state after the phase. At the end every player of the winning side gets +1, the others -1.
        """
        acting, index, votes = self.acting(state), jnp.int32(0), jnp.int32(0)
        for seat in range(self.num_players):  # scalars, not reductions over [P]: these vectorise over a batch
            index = jnp.where((acting >> seat) & 1, action[seat], index)
            votes = votes | ((action[seat] & 1) << seat)
        flat = jnp.asarray(self.teams().ravel())
        team = flat.at[state.quest * self.num_actions + index].get(mode="clip")
        seats = jnp.arange(self.num_players)
        allowed = jnp.all(may_choose(self, state, seats, action) | ~has_bit(acting, seats))
        return refuse(allowed, self.apply_masks(state, team, votes, index), state)

    def step(self, state: AvalonState, action: jax.Array, key: jax.Array) -> AvalonState:
        """`apply`: nothing is left to chance once the roles are dealt. `key` is unused."""
        del key
        return self.apply(state, action)

    # Who knows what.

    def pointed_out(self, state: AvalonState, player: jax.Array | int) -> jax.Array:
        """int32[]: bit mask of the other seats that `player` was shown at the start, as one unordered set."""
        return view.pointed_out(self, state, player)

    def known_masks(self, state: AvalonState, player: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        """(int32[], int32[]): bit masks of the seats that `player` knows to be good, and evil, itself among them."""
        return view.known_masks(self, state, player)

    def knowledge(self, state: AvalonState) -> jax.Array:
        """int32[P, P]: row i is what player i knows of each seat's side, 1 good, 0 evil, -1 unknown."""
        return view.knowledge(self, state)

    def merlin_candidates(self, state: AvalonState, player: jax.Array | int) -> jax.Array:
        """int32[]: bit mask of the seats that `player` was shown as Merlin or Morgana; 0 for all but Percival."""
        return view.merlin_candidates(self, state, player)

    def observe(self, state: AvalonState, player: jax.Array | int) -> jax.Array:
        """float32[D]: all that `player` may know and nothing else; `view.observation_layout` describes it."""
        acts = (self.acting(state) >> player) & 1
        return view.observe(self, state, player, acts)

    def scramble(self, state: AvalonState, player: jax.Array | int, key: jax.Array) -> AvalonState:
        """Redraws the roles uniformly among the deals that `player` cannot tell from this one by what it was shown.

        What the public events rule out is not looked at: that is what beliefs are for. `key` is consumed.
        """
        return view.scramble(self, state, player, key)

    def _rewards(self, state: AvalonState, over: jax.Array, good_wins: jax.Array) -> jax.Array:
        seats = jnp.arange(self.num_players)
        value = jnp.where(has_bit(state.evil, seats) ^ good_wins, 1.0, -1.0)
        return jnp.where(over, value, 0.0).astype(jnp.float32)

    def _first(self, deal: jax.Array, leader: jax.Array) -> AvalonState:
        zero, no = jnp.int32(0), jnp.bool_(False)
        return AvalonState(
            deal=deal,
            leader=leader,
            phase=zero,
            quest=zero,
            round=zero,
            team=zero,
            won=zero,
            lost=zero,
            fail_votes=zero,
            proposals=jnp.zeros((MAX_PROPOSALS,), jnp.int32),
            num_proposals=zero,
            target=jnp.int32(NO_TARGET),
            good_victory=no,
            reward=jnp.zeros((self.num_players,), jnp.float32),
            terminated=no,
            truncated=no,
        )


def _below(word: jax.Array, bound: int) -> jax.Array:
    """int32[]: a number in [0, bound) from `word` uint32[]; the deviation from uniform is below bound / 2^32."""
    high, low = word >> 16, word & 0xFFFF
    return ((high * bound + ((low * bound) >> 16)) >> 16).astype(jnp.int32)


def _nibbles(values: Sequence[int]) -> int:
    return sum(value << (4 * index) for index, value in enumerate(values))
