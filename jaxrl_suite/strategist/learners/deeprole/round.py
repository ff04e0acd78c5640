"""One round of Avalon, from the proposal to the quest, in matrices over all assignments of roles.

The reach of an assignment is the belief in it times what every player does under it. At the end of the round there are
three failed quests (evil has won), three successful ones (the Assassin answers with the best target, given what it has
seen), or a leaf whose value for every assignment a function supplies, which is given the belief there.

Both evil players know just who is Minion and who is Assassin: 20 pairs, each with three assignments that differ in
Merlin's seat. Assignments are sorted by pairs here, so that an evil information set is three in a row.

Shapes: `K` = 60 assignments, `P` = 5 players, `I` = 15 information sets, `A` = 10 teams, `V` = 32 patterns of votes,
`W` = 16 patterns that accept a team, `D` = 20 pairs of evil seats; evil roles E = 2, Minion and Assassin; `N` leaves.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019;
the Assassin's best response: Johanson et al., "Finding optimal abstract strategies in extensive-form games" (CFR-BR),
AAAI 2012.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.information_sets import information_sets
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import ASSASSIN, MAX_ROUNDS, MERLIN, MINION, QUESTS_TO_WIN
from jaxrl_suite.errors import UserError

NUM_PATTERNS = 32
BITS = (np.arange(NUM_PATTERNS)[:, None] >> np.arange(5)) & 1  # int[V, P], who approves
ACCEPTING, REJECTING = np.flatnonzero(BITS.sum(1) > 2), np.flatnonzero(BITS.sum(1) <= 2)
IN_ORDER = np.argsort(np.concatenate([REJECTING, ACCEPTING]))


class Situation(NamedTuple):
    """The public state when a leader is to propose, but for the belief."""

    won: jax.Array  # int32[], quests that succeeded, 0 to 2
    lost: jax.Array  # int32[], quests that failed, 0 to 2
    round: jax.Array  # int32[], proposals rejected for this quest, 0 to 4
    leader: jax.Array  # int32[], seat


class Strategies(NamedTuple):
    """Probabilities for each information set of each player."""

    propose: jax.Array  # float32[I, A], of the leader
    approve: jax.Array  # float32[P, I, A]
    fail: jax.Array  # float32[E, W, A, D], of evil players on the team


LeafValues = Callable[[Situation, jax.Array], jax.Array]
"""(situations, beliefs float32[N, K]) -> float32[N, K], values for good; won, lost and round are int32[N], the leader
int32[], and assignments are sorted by pairs."""


class RoundConstants(NamedTuple):
    """Constants of the game; assignments are sorted by pairs but in `place` and `pair`."""

    order: np.ndarray  # int32[K], the sorted assignments by their usual numbers
    place: np.ndarray  # int32[K], where each assignment is among the sorted ones
    pair: np.ndarray  # int32[K], the pair of each assignment by its usual number
    member: np.ndarray  # float32[P, I, K], 1 where the assignment belongs to the information set
    side: np.ndarray  # float32[P, K], 1 for good and -1 for evil
    holds: np.ndarray  # float32[E, P, K], 1 for the seat of each evil role
    bits: np.ndarray  # float32[E, W, D], whether that seat approves


@functools.lru_cache(maxsize=2)
def constants(game: Avalon) -> RoundConstants:
    """The constant tables of Avalon for five; other games are refused with a UserError."""
    if game != Avalon(5):
        raise UserError("DeepRole is for five players, the basic roles and the rules of avalonbench: Avalon(5)")
    roles, sets = tables(game).roles, information_sets(game)
    seats = {role: np.argmax(roles == role, axis=1) for role in (MERLIN, MINION, ASSASSIN)}
    order = np.lexsort([seats[role] for role in (MERLIN, ASSASSIN, MINION)]).astype(np.int32)
    place = np.argsort(order).astype(np.int32)
    evil = np.stack([seats[MINION], seats[ASSASSIN]])[:, order]  # [E, K]
    holds = (evil[:, None] == np.arange(5)[None, :, None]).astype(np.float32)
    return RoundConstants(
        order=order,
        place=place,
        pair=place // 3,
        member=sets.member[:, :, order],
        side=1 - 2 * holds.sum(0),
        holds=holds,
        bits=BITS[ACCEPTING][:, evil[:, ::3]].astype(np.float32).transpose(1, 0, 2),
    )


class Chances(NamedTuple):
    """Probabilities of the players' actions under each assignment, sorted by pairs."""

    propose: jax.Array  # float32[A, K]
    approve: jax.Array  # float32[P, A, K], 1 where the proposal is forced
    fail: jax.Array  # float32[E, W, A, K], 0 for those not on the team


@dataclasses.dataclass(frozen=True)
class RoundModel:
    """One round from one situation; `at` makes it. Inside, assignments are sorted by pairs."""

    const: RoundConstants
    situation: Situation
    belief: jax.Array  # float32[K], sorted
    teams: jax.Array  # float32[A, P]
    leads: jax.Array  # float32[P], 1 for the leader
    forced: jax.Array  # bool[], the fifth proposal
    leaf_values: LeafValues | None

    @classmethod
    def at(
        cls, game: Avalon, situation: Situation, belief: jax.Array, leaf_values: LeafValues | None = None
    ) -> RoundModel:
        const = constants(game)
        teams = (jnp.asarray(game.teams())[situation.won + situation.lost][:, None] >> jnp.arange(5)[None]) & 1
        leads = (jnp.arange(5) == situation.leader).astype(jnp.float32)
        forced = situation.round == MAX_ROUNDS - 1
        return cls(const, situation, belief[const.order], teams.astype(jnp.float32), leads, forced, leaf_values)

    def chances(self, strategies: Strategies) -> Chances:
        member = jnp.asarray(self.const.member)
        propose = _sums("ia,ik->ak", strategies.propose, member[self.situation.leader])
        approve = _sums("pia,pik->pak", strategies.approve, member)
        on_team = _sums("ap,epk->eak", self.teams, self.const.holds)
        fail = jnp.repeat(strategies.fail, 3, axis=-1) * on_team[:, None]
        return Chances(propose, jnp.where(self.forced, 1.0, approve), fail)

    def reach(self, chances: Chances) -> jax.Array:
        """float32[4, 16, A, K]: how likely each end is jointly with each assignment.

        First come the patterns that reject, then those that accept, with no fail, one and two.
        """
        pattern = (self.belief[None] * chances.propose)[None] * _products(chances.approve)[-1]
        return jnp.concatenate([pattern[REJECTING][None], pattern[ACCEPTING][None] * fail_counts(chances.fail)])

    def worth(self, reach: jax.Array) -> jax.Array:
        """float32[4, 16, A, K]: value for the good team of each end, given what is believed there."""
        now, shape = self.situation, reach.shape
        after = Situation(
            won=now.won + jnp.array([0, 1, 0, 0]),
            lost=now.lost + jnp.array([0, 0, 1, 1]),
            round=jnp.minimum(now.round + 1, MAX_ROUNDS - 1) * jnp.array([1, 0, 0, 0]),
            leader=(now.leader + 1) % 5,
        )
        flat = Situation(*(jnp.repeat(leaf, shape[1] * shape[2]) for leaf in after[:3]), leader=after.leader)
        mass = reach.reshape(-1, shape[-1])
        total = jnp.sum(mass, axis=1, keepdims=True)
        beliefs = jnp.where(total > 1e-12, mass / jnp.maximum(total, 1e-12), self.belief[None])
        assert self.leaf_values is not None
        worth = self.leaf_values(flat, beliefs).reshape(shape)
        # the Assassin names whoever is likeliest to be Merlin given its own information
        by_target = reach[1].reshape(*shape[1:-1], -1, 3)
        target = jnp.argmax(by_target, axis=-1, keepdims=True)
        assassination_value = jnp.where(target == jnp.arange(3).reshape(1, 1, 1, 3), -1.0, 1.0).reshape(shape[1:])
        success = jnp.where(now.won == QUESTS_TO_WIN - 1, assassination_value, worth[1])
        failure = jnp.where(now.lost == QUESTS_TO_WIN - 1, -1.0, worth[2:])
        return jnp.concatenate([worth[:1], success[None], failure])

    def gains(self, strategies: Strategies) -> tuple[jax.Array, Strategies]:
        """float32[K], the round's value for good; and the counterfactual regrets, with an axis of actions last."""
        const, chances = self.const, self.chances(strategies)
        propose, fail = chances.propose, chances.fail
        worth = self.worth(self.reach(chances))
        quest = jnp.sum(fail_counts(fail) * worth[1:], axis=0)
        after = jnp.concatenate([worth[0], quest])[IN_ORDER]  # [V, A, K]
        by_vote, proposed = _by_vote(chances.approve, after)  # [P, 2, A, K], [A, K]
        value = jnp.sum(propose * proposed, axis=0)

        lead_gain = (self.belief * jnp.asarray(const.side)[self.situation.leader])[None] * (proposed - value[None])
        propose_gain = _sums("ak,ik->ia", lead_gain, jnp.asarray(const.member)[self.situation.leader])

        before = (
            jnp.where(self.leads[:, None, None] > 0, 1.0, propose[None]) * (self.belief[None] * const.side)[:, None]
        )
        mean = by_vote[:, 0] + chances.approve * (by_vote[:, 1] - by_vote[:, 0])
        vote_gain = before[:, None] * (by_vote - mean[:, None])
        vote_gain = jnp.where(self.forced, 0.0, _sums("pvak,pik->piav", vote_gain, const.member))

        fail_gain = []
        for role in range(2):
            holds, rest = const.holds[role], fail[1 - role]
            passes = worth[1] + rest * (worth[2] - worth[1])
            fails = worth[2] + rest * (worth[3] - worth[2])
            own = (holds[:, None] > 0) & ~self.forced  # [P, 1, K]
            others = _products(jnp.where(own, 1.0, chances.approve), own)[-1][ACCEPTING]
            on_team = _sums("ap,pk->ak", self.teams, holds) * _sums("pk,pak->ak", holds, before)  # negative
            both = jnp.stack([passes, fails], axis=-1)
            mean = passes + fail[role] * (fails - passes)
            gain = (on_team[None] * others)[..., None] * (both - mean[..., None])
            fail_gain.append(jnp.sum(gain.reshape(*gain.shape[:2], -1, 3, 2), axis=-2))
        return value[const.place], Strategies(propose_gain, vote_gain, jnp.stack(fail_gain))

    def own_reach(self, strategies: Strategies) -> Strategies:
        """Each player's own reach of its information sets: the weights of its average strategy."""
        const, chances = self.const, self.chances(strategies)
        lead = jnp.where(self.leads[:, None, None] > 0, strategies.propose[None], 1.0)  # [P, I, A]
        holds = const.holds[..., ::3]  # [E, P, D]
        leads = _sums("epd,p->ed", holds, self.leads)[:, None]
        led = jnp.where(leads > 0, chances.propose[None, :, ::3], 1.0)  # [E, A, D]
        approve = _sums("epd,pad->ead", holds, chances.approve[..., ::3])[:, None]
        bits = const.bits[:, :, None]
        return Strategies(
            jnp.ones_like(strategies.propose), lead, led[:, None] * (bits * approve + (1 - bits) * (1 - approve))
        )


def _products(approve: jax.Array, ignored: jax.Array | None = None) -> list[jax.Array]:
    """Chances of the votes of the first n players, float32[2^n, A, K] for n = 0 to P.

    Where `ignored` bool[P, 1, K], a vote counts as sure, whatever it is.
    """
    products = [jnp.ones((1, *approve.shape[1:]))]
    for seat in range(approve.shape[0]):
        against = 1 - approve[seat]
        if ignored is not None:
            against = jnp.where(ignored[seat], 1.0, against)
        products.append(jnp.concatenate([products[-1] * against[None], products[-1] * approve[seat][None]]))
    return products


def _by_vote(approve: jax.Array, after: jax.Array) -> tuple[jax.Array, jax.Array]:
    """float32[P, 2, A, K] and float32[A, K]: means of `after` [V, A, K], for each vote of each player and in all."""
    before, parts = _products(approve), []
    for seat in reversed(range(approve.shape[0])):
        halves = after.reshape(2, -1, *after.shape[1:])  # this player's vote is the highest bit that is left
        parts.append(jnp.sum(before[seat][None] * halves, axis=1))
        after = halves[0] + approve[seat][None] * (halves[1] - halves[0])
    return jnp.stack(parts[::-1]), after[0]


def fail_counts(fail: jax.Array) -> jax.Array:
    """float32[3, ...]: the distribution of the number of fails, of two players who fail with chances [E, ...]."""
    none, both = (1 - fail[0]) * (1 - fail[1]), fail[0] * fail[1]
    return jnp.stack([none, 1 - none - both, both])


def _sums(equation: str, *factors: jax.Array | np.ndarray) -> jax.Array:
    return jnp.einsum(equation, *factors, precision=jax.lax.Precision.HIGHEST)
