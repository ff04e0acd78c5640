"""The state of a game of Avalon: a few int32 words, most of them bit masks (bit i stands for seat i).

Shapes: `P` players, Q = 5 quests, H = 25 proposals at most; the properties work on batches `...` too.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon import roles as tables
from jaxrl_suite.envs.avalon.roles import NUM_QUESTS

TEAM, VOTE, QUEST, ASSASSINATION = range(4)  # phases
NO_TARGET = -1


class AvalonState(NamedTuple):
    """One game. Hidden is `deal` alone; quest votes are never stored, and all else is public.

    Some of it is packed and has properties that unpack it: `roles`, `results`, `fails`, `proposal_leader`,
    `proposal_team`, `proposal_votes`, `proposal_quest`, `proposal_accepted`.
    """

    deal: jax.Array  # int32[], the roles, packed: see `roles`, and `Avalon.with_roles` to change them
    leader: jax.Array  # int32[], who proposes next: it moves on as soon as a team is proposed
    phase: jax.Array  # int32[], 0 team selection, 1 team vote, 2 quest vote, 3 assassination
    quest: jax.Array  # int32[], index of the quest, 0 to 4; stays 4 after the last
    round: jax.Array  # int32[], proposals rejected for this quest, 0 to 4
    team: jax.Array  # int32[], bit mask: the team voted on or on its quest, 0 in the other phases
    won: jax.Array  # int32[], bit mask of the quests that succeeded
    lost: jax.Array  # int32[], bit mask of the quests that failed
    fail_votes: jax.Array  # int32[], fail votes, 4 bits a quest
    proposals: jax.Array  # int32[H], voted proposals in order, packed; 0 where there is none yet
    num_proposals: jax.Array  # int32[], how many
    target: jax.Array  # int32[], the seat that the Assassin named, -1 before
    good_victory: jax.Array  # bool[], false until good has won
    reward: jax.Array  # float32[P], received on the last step
    terminated: jax.Array  # bool[]
    truncated: jax.Array  # bool[], always False

    @property
    def roles(self) -> jax.Array:
        """int32[..., P]: the role id on each seat."""
        return tables.role_at(self.deal[..., None], _range_like(self.deal, self.reward.shape[-1]))

    @property
    def evil(self) -> jax.Array:
        """int32[...]: bit mask of the evil seats."""
        return tables.evil_seats(self.deal, self.reward.shape[-1])

    def seats_of(self, role: int) -> jax.Array:
        """int32[...]: bit mask of the seats that hold `role`."""
        return tables.seats_of(self.deal, role, self.reward.shape[-1])

    @property
    def results(self) -> jax.Array:
        """int32[..., Q]: 1 for a quest that succeeded, 0 for one that failed, -1 for one not played."""
        quests = _range_like(self.won, NUM_QUESTS)
        won, lost = (self.won[..., None] >> quests) & 1, (self.lost[..., None] >> quests) & 1
        return 2 * won + lost - 1

    @property
    def fails(self) -> jax.Array:
        """int32[..., Q]: fail votes on each quest, 0 where it was not played."""
        return (self.fail_votes[..., None] >> (4 * _range_like(self.won, NUM_QUESTS))) & 15

    @property
    def proposal_team(self) -> jax.Array:
        """int32[..., H]: bit mask of the proposed team."""
        return self.proposals & 0x3FF

    @property
    def proposal_votes(self) -> jax.Array:
        """int32[..., H]: bit mask of the seats that approved."""
        return (self.proposals >> 10) & 0x3FF

    @property
    def proposal_leader(self) -> jax.Array:
        """int32[..., H]: the seat that proposed."""
        return (self.proposals >> 20) & 15

    @property
    def proposal_quest(self) -> jax.Array:
        """int32[..., H]: the index of the quest."""
        return (self.proposals >> 24) & 7

    @property
    def proposal_accepted(self) -> jax.Array:
        """bool[..., H]: whether the team went on the quest."""
        return ((self.proposals >> 27) & 1) == 1


def pack_proposal(
    team: jax.Array, votes: jax.Array, leader: jax.Array, quest: jax.Array, accepted: jax.Array
) -> jax.Array:
    """int32[]: one entry of `AvalonState.proposals`."""
    return team | (votes << 10) | (leader << 20) | (quest << 24) | (accepted << 27)


def _range_like(array: jax.Array, size: int) -> jax.Array:
    """int32[1, ..., 1, size]: 0 to size - 1, to broadcast against `array[..., None]`."""
    return jnp.arange(size).reshape((1,) * array.ndim + (size,))
