"""Counterfactual regret minimisation for one round of Avalon: proposal, votes and quest, over the exact public belief.

Everything is vectorised over the 60 assignments of roles. A player's strategy is a row for each of its 15 information
sets; the reach of an assignment is the belief in it times what every player does under it. At the end of the round
there are three failed quests (evil has won), three successful ones (the Assassin answers with the best target, given
what it has seen), or a leaf whose value for every assignment a function supplies, which is given the belief there.

    situation = Situation(won=..., lost=..., round=..., leader=...)
    solution = solve(Avalon(5), situation, belief, leaf_values, iterations=50)

Shapes: `K` = 60 assignments, `P` = 5 players, `I` = 15 information sets, `A` = 10 teams, `V` = 32 patterns of votes,
`F` = 3 numbers of fails.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019
(DeepRole); CFR+: Tammelin (2014), averaged as in Brown and Sandholm (2019); the Assassin's best response: Johanson et
al., "Finding optimal abstract strategies in extensive-form games" (CFR-BR), AAAI 2012.
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
from jaxrl_suite.core.config import UserError
from jaxrl_suite.envs.avalon import Avalon
from jaxrl_suite.envs.avalon_roles import ASSASSIN, MAX_ROUNDS, MERLIN, QUESTS_TO_WIN
from jaxrl_suite.strategist.information_sets import information_sets

NUM_PATTERNS, NUM_FAILS = 32, 3


class Situation(NamedTuple):
    """What is public when a leader is to propose, but for the belief."""

    won: jax.Array  # int32[], quests that succeeded, 0 to 2
    lost: jax.Array  # int32[], quests that failed, 0 to 2
    round: jax.Array  # int32[], proposals rejected for this quest, 0 to 4
    leader: jax.Array  # int32[], seat


class Strategies(NamedTuple):
    """Probabilities for each information set of each player."""

    propose: jax.Array  # float32[I, A], of the leader
    approve: jax.Array  # float32[P, I, A]
    fail: jax.Array  # float32[P, I, A, V], of evil players on the team


class Solution(NamedTuple):
    strategies: Strategies  # averages over the iterations
    values: jax.Array  # float32[K], what they are worth to good under each assignment, from -1 to 1


LeafValues = Callable[[Situation, jax.Array], jax.Array]  # (situation, belief float32[K]) -> float32[K], worth to good


class _Tables(NamedTuple):
    """Constants of the game; masks spelled out as float32."""

    index: np.ndarray  # int32[P, K], information sets
    member: np.ndarray  # float32[P, I, K]
    evil: np.ndarray  # float32[K, P]
    merlin: np.ndarray  # int32[K], Merlin's seat
    assassin: np.ndarray  # int32[K], number of the Assassin's information set, among those of all seats
    targets: np.ndarray  # float32[K, sets of the Assassin * P], 1 at (its set, Merlin's seat)
    patterns: np.ndarray  # float32[V, P], who approves
    accepted: np.ndarray  # bool[V], by majority


@functools.lru_cache(maxsize=2)
def _constants(game: Avalon) -> _Tables:
    if game != Avalon(5):
        raise UserError("DeepRole is for five players, the basic roles and the rules of avalonbench: Avalon(5)")
    table, sets = tables(game), information_sets(game)
    bits = (np.arange(NUM_PATTERNS)[:, None] >> np.arange(5)) & 1
    holder = np.argmax(table.roles == ASSASSIN, axis=1)
    merlin = np.argmax(table.roles == MERLIN, axis=1).astype(np.int32)
    told = np.stack([holder, sets.index[holder, np.arange(60)]], axis=1)
    distinct, assassin = np.unique(told, axis=0, return_inverse=True)
    pairs = assassin * 5 + merlin
    return _Tables(
        index=sets.index,
        member=sets.member,
        evil=((table.evil[:, None] >> np.arange(5)) & 1).astype(np.float32),
        merlin=merlin,
        assassin=assassin.astype(np.int32),
        targets=(pairs[:, None] == np.arange(len(distinct) * 5)).astype(np.float32),
        patterns=bits.astype(np.float32),
        accepted=bits.sum(1) > 2,
    )


def solve(
    game: Avalon, situation: Situation, belief: jax.Array, leaf_values: LeafValues, iterations: int = 40
) -> Solution:
    """Average strategies after some iterations of CFR+, weighted by the square of the iteration.

    The values are those of the average strategies against the best Assassin: those of the iterations themselves would
    be too low for good, whose first, random strategies such an Assassin punishes, and a network that learns from them
    would carry that from stage to stage.

    A fifth proposal is accepted whatever the votes, so votes on it are not modelled: they could only give good away.

    Args:
      game: five players, the basic roles, rules of avalonbench.
      situation: where.
      belief: float32[K], the public one; it sums to 1.
      leaf_values: worth of the situation after a round that does not end the game.
      iterations: at least 1.
    """
    if iterations < 1:
        raise UserError(f"iterations must be at least 1, got {iterations}")
    const = _constants(game)
    teams = (jnp.asarray(game.teams())[situation.won + situation.lost][:, None] >> jnp.arange(5)[None]) & 1
    one_round = _Round(game, const, situation, belief, teams.astype(jnp.float32), leaf_values)
    sets, actions = const.member.shape[1], teams.shape[0]
    nothing = Strategies(
        jnp.zeros((sets, actions)),
        jnp.zeros((5, sets, actions, 2)),
        jnp.zeros((5, sets, actions, NUM_PATTERNS, 2)),
    )

    uniform = _matched(nothing)

    def average(played: Strategies, weighted: Strategies) -> Strategies:
        return jax.tree.map(
            lambda total, weight, part: jnp.where(weight > 1e-9, total / jnp.maximum(weight, 1e-9), part),
            played,
            weighted,
            uniform,
        )

    def iterate(carry, step):
        regrets, played, weighted, _ = carry
        last = step == iterations  # one more pass says what the averages are worth
        now = jax.tree.map(lambda a, b: jnp.where(last, a, b), average(played, weighted), _matched(regrets))
        found, gains = one_round.gains(now)
        regrets = jax.tree.map(lambda old, gain: jnp.maximum(old + gain, 0.0), regrets, gains)
        weights = jax.tree.map(lambda reach: jnp.where(last, 0.0, (step + 1) ** 2 * reach), one_round.own_reach(now))
        played = jax.tree.map(lambda total, weight, part: total + weight * part, played, weights, now)
        weighted = jax.tree.map(jnp.add, weighted, weights)
        return (regrets, played, weighted, found), None

    zeros = jax.tree.map(jnp.zeros_like, uniform)
    steps = jnp.arange(iterations + 1, dtype=jnp.float32)
    start = (nothing, zeros, zeros, jnp.zeros_like(belief))
    (_, played, weighted, values), _ = jax.lax.scan(iterate, start, steps)
    return Solution(average(played, weighted), values)


def ends(game: Avalon, situation: Situation, belief: jax.Array, strategies: Strategies) -> tuple[jax.Array, jax.Array]:
    """(float32[A, V, F, K], bool[A, V, F]): how likely each end of the round is jointly with each assignment, and

    whether it can be at all by the rules; patterns and fails that do not count have everything on entry 0 of fails.
    The public belief after a round is the reach of what happened, normalised.
    """
    const = _constants(game)
    teams = (jnp.asarray(game.teams())[situation.won + situation.lost][:, None] >> jnp.arange(5)[None]) & 1
    one_round = _Round(game, const, situation, belief, teams.astype(jnp.float32), None)
    reach = one_round.reach(one_round.chances(strategies))
    return reach, one_round.possible()


class _Chances(NamedTuple):
    """What each player does under each assignment."""

    propose: jax.Array  # float32[A, K]
    factors: jax.Array  # float32[P, A, V, K], each player's part in a pattern of votes
    fail: jax.Array  # float32[P, A, V, K], 0 for good players and those not on the team


@dataclasses.dataclass(frozen=True)
class _Round:
    """One round from one situation."""

    game: Avalon
    const: _Tables
    situation: Situation
    belief: jax.Array  # float32[K]
    teams: jax.Array  # float32[A, P]
    leaf_values: LeafValues | None

    @property
    def forced(self) -> jax.Array:
        return self.situation.round == MAX_ROUNDS - 1

    @property
    def accepted(self) -> jax.Array:
        """bool[V]"""
        return jnp.asarray(self.const.accepted) | self.forced

    def possible(self) -> jax.Array:
        """bool[A, V, F]: the ends that there are; a forced proposal has the pattern of all votes for it alone."""
        patterns = jnp.where(self.forced, jnp.arange(NUM_PATTERNS) == NUM_PATTERNS - 1, True)
        counted = self.accepted[:, None] | (jnp.arange(NUM_FAILS) == 0)[None]
        return jnp.broadcast_to((patterns[:, None] & counted)[None], (self.teams.shape[0], NUM_PATTERNS, NUM_FAILS))

    def chances(self, strategies: Strategies) -> _Chances:
        const = self.const
        index = jnp.asarray(const.index)
        propose = strategies.propose[index[self.situation.leader]].T
        approve = jnp.stack([strategies.approve[seat][index[seat]] for seat in range(5)])  # [P, K, A]
        approve = jnp.swapaxes(approve, 1, 2)[:, :, None]  # [P, A, 1, K]
        votes = jnp.asarray(const.patterns).T[:, None, :, None]  # [P, 1, V, 1]
        factors = votes * approve + (1 - votes) * (1 - approve)
        alone = (jnp.arange(NUM_PATTERNS) == NUM_PATTERNS - 1).astype(jnp.float32)[None, None, :, None]
        factors = jnp.where(self.forced, jnp.broadcast_to(alone, factors.shape), factors)
        fail = jnp.stack([strategies.fail[seat][index[seat]] for seat in range(5)])  # [P, K, A, V]
        able = jnp.asarray(const.evil).T[:, None, None] * self.teams.T[:, :, None, None]  # [P, A, 1, K]
        return _Chances(propose, factors, jnp.moveaxis(fail, 1, 3) * able)

    def fails(self, chances: _Chances, without: int | None = None) -> jax.Array:
        """float32[A, V, F, K]: the distribution of the number of fails, of all or of the others."""
        counts = jnp.zeros((*chances.fail.shape[1:3], NUM_FAILS, chances.fail.shape[3])).at[:, :, 0].set(1.0)
        for seat in range(5):
            if seat != without:
                fail = chances.fail[seat][:, :, None]
                more = jnp.concatenate([jnp.zeros_like(counts[:, :, :1]), counts[:, :, :-1]], axis=2)
                counts = counts * (1 - fail) + more * fail
        nothing = (jnp.arange(NUM_FAILS) == 0).astype(jnp.float32)[None, None, :, None]
        return jnp.where(self.accepted[None, :, None, None], counts, nothing)

    def reach(self, chances: _Chances) -> jax.Array:
        """float32[A, V, F, K]"""
        pattern = jnp.prod(chances.factors, axis=0)
        before = self.belief[None, None] * chances.propose[:, None] * pattern
        return before[:, :, None] * self.fails(chances)

    def ends_worth(self, reach: jax.Array) -> jax.Array:
        """float32[A, V, F, K]: worth to good of each end, given what is believed there."""
        now, const = self.situation, self.const
        shape = reach.shape
        failed = (jnp.arange(NUM_FAILS) > 0)[None] & self.accepted[:, None]  # [V, F]
        went = jnp.broadcast_to(self.accepted[:, None], failed.shape)
        after = Situation(
            won=now.won + (went & ~failed),
            lost=now.lost + failed,
            round=jnp.where(went, 0, jnp.minimum(now.round + 1, MAX_ROUNDS - 1)),
            leader=jnp.full(failed.shape, (now.leader + 1) % 5),
        )
        flat = jax.tree.map(lambda leaf: jnp.tile(leaf.ravel().astype(jnp.int32), shape[0]), after)
        mass = reach.reshape(-1, shape[-1])
        total = jnp.sum(mass, axis=1, keepdims=True)
        beliefs = jnp.where(total > 1e-12, mass / jnp.maximum(total, 1e-12), self.belief[None])
        assert self.leaf_values is not None
        worth = jax.vmap(self.leaf_values)(flat, beliefs)
        # the Assassin names whoever is likeliest to be Merlin given its own information
        by_target = jnp.matmul(mass, jnp.asarray(const.targets), precision=jax.lax.Precision.HIGHEST)
        target = jnp.argmax(by_target.reshape(mass.shape[0], -1, 5), axis=2)[:, const.assassin]  # [leaf, K]
        hunted = jnp.where(target == jnp.asarray(const.merlin)[None], -1.0, 1.0)
        worth = jnp.where((flat.won == QUESTS_TO_WIN)[:, None], hunted, worth)
        worth = jnp.where((flat.lost == QUESTS_TO_WIN)[:, None], -1.0, worth)
        return worth.reshape(shape)

    def gains(self, strategies: Strategies) -> tuple[jax.Array, Strategies]:
        """float32[K], the worth to good of the round; and the counterfactual regrets, with an axis of actions last."""
        chances = self.chances(strategies)
        worth = self.ends_worth(self.reach(chances))
        after_vote = jnp.sum(self.fails(chances) * worth, axis=2)  # [A, V, K]
        pattern = jnp.prod(chances.factors, axis=0)
        proposed = jnp.sum(pattern * after_vote, axis=1)  # [A, K]
        value = jnp.sum(chances.propose * proposed, axis=0)
        approve, fail = [], []
        for seat in range(5):
            sign = 1 - 2 * jnp.asarray(self.const.evil)[:, seat]  # [K]
            others = jnp.prod(jnp.delete(chances.factors, seat, axis=0, assume_unique_indices=True), axis=0)
            lead = jnp.where(seat == self.situation.leader, 1.0, chances.propose)
            reach = self.belief[None] * lead * sign[None]  # [A, K]
            votes = jnp.asarray(self.const.patterns)[:, seat][None, :, None]
            by_vote = [jnp.sum(others * after_vote * part, axis=1) for part in (1 - votes, votes)]
            mine = strategies.approve[seat][jnp.asarray(self.const.index)[seat]].T  # [A, K]
            mean = (1 - mine) * by_vote[0] + mine * by_vote[1]
            gain = jnp.stack([reach * (part - mean) for part in by_vote], axis=-1)  # [A, K, 2]
            approve.append(jnp.where(self.forced, 0.0, self._by_set(seat, gain)))
            rest = self.fails(chances, seat)
            passes = jnp.sum(rest * worth, axis=2)  # [A, V, K]
            fails = jnp.sum(rest[:, :, :-1] * worth[:, :, 1:], axis=2)
            able = jnp.asarray(self.const.evil)[:, seat][None] * self.teams[:, seat][:, None]  # [A, K]
            able = (able * reach)[:, None] * others * self.accepted[None, :, None]
            chosen = chances.fail[seat]
            mean = chosen * fails + (1 - chosen) * passes
            gain = jnp.stack([able * (passes - mean), able * (fails - mean)], axis=-1)  # [A, V, K, 2]
            fail.append(self._by_set(seat, gain))
        leader = self.situation.leader
        sign = 1 - 2 * jnp.asarray(self.const.evil)[:, leader]
        lead_gain = (self.belief * sign)[None] * (proposed - value[None])  # [A, K]
        member = jnp.asarray(self.const.member)[leader]
        propose = jnp.matmul(member, lead_gain.T, precision=jax.lax.Precision.HIGHEST)
        return value, Strategies(propose, jnp.stack(approve), jnp.stack(fail))

    def own_reach(self, strategies: Strategies) -> Strategies:
        """How likely each player itself makes its information sets reached: the weights of its average strategy."""
        seats = jnp.arange(5)[:, None, None]
        lead = jnp.where(seats == self.situation.leader, strategies.propose[None], 1.0)  # [P, I, A]
        votes = jnp.asarray(self.const.patterns).T[:, None, None]  # [P, 1, 1, V]
        approve = strategies.approve[..., None]
        voted = jnp.where(self.forced, 1.0, votes * approve + (1 - votes) * (1 - approve))
        return Strategies(jnp.ones_like(strategies.propose), lead, lead[..., None] * voted)

    def _by_set(self, seat: int, gain: jax.Array) -> jax.Array:
        """Sums over the assignments of each information set: axis K, the last but one, becomes a leading I."""
        member = jnp.asarray(self.const.member)[seat]
        moved = jnp.moveaxis(gain, -2, 0)
        flat = jnp.matmul(member, moved.reshape(moved.shape[0], -1), precision=jax.lax.Precision.HIGHEST)
        return flat.reshape(-1, *moved.shape[1:])


def _matched(regrets: Strategies) -> Strategies:
    """Regret matching; uniform where there is no regret."""

    def shares(positive: jax.Array) -> jax.Array:
        total = jnp.sum(positive, axis=-1, keepdims=True)
        return jnp.where(total > 0, positive / jnp.where(total > 0, total, 1.0), 1 / positive.shape[-1])

    return Strategies(shares(regrets.propose), shares(regrets.approve)[..., 1], shares(regrets.fail)[..., 1])
