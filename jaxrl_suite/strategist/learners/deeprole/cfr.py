"""Counterfactual regret minimisation for one round of Avalon (`round`), over the exact public belief.

Everything is vectorised over the 60 assignments of roles; a strategy is a row for each information set of its player.

    situation = Situation(won=..., lost=..., round=..., leader=...)
    solution = solve(Avalon(5), situation, belief, leaf_values, iterations=50)

Shapes: `K` = 60 assignments; others as in `round`.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019
(DeepRole); CFR+: Tammelin (2014), averaged as in Brown and Sandholm (2019).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.errors import UserError
from jaxrl_suite.strategist.learners.deeprole.round import (
    ACCEPTING,
    BITS,
    IN_ORDER,
    NUM_PATTERNS,
    REJECTING,
    LeafValues,
    RoundModel,
    Situation,
    Strategies,
    constants,
    fail_counts,
)


class CFRSolution(NamedTuple):
    strategies: Strategies  # averages over the iterations
    values: jax.Array  # float32[K], their values for the good team under each assignment, from -1 to 1


def solve(
    game: Avalon, situation: Situation, belief: jax.Array, leaf_values: LeafValues, iterations: int = 40
) -> CFRSolution:
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
    one_round = RoundModel.at(game, situation, belief, leaf_values)
    actions = one_round.teams.shape[0]
    nothing = Strategies(
        jnp.zeros((15, actions)), jnp.zeros((5, 15, actions, 2)), jnp.zeros((2, len(ACCEPTING), actions, 20, 2))
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
        round_values, gains = one_round.gains(now)
        regrets = jax.tree.map(lambda old, gain: jnp.maximum(old + gain, 0.0), regrets, gains)
        weights = jax.tree.map(lambda reach: jnp.where(last, 0.0, (step + 1) ** 2 * reach), one_round.own_reach(now))
        played = jax.tree.map(lambda total, weight, part: total + weight * part, played, weights, now)
        weighted = jax.tree.map(jnp.add, weighted, weights)
        return (regrets, played, weighted, round_values), None

    zeros = jax.tree.map(jnp.zeros_like, uniform)
    steps = jnp.arange(iterations + 1, dtype=jnp.float32)
    start = (nothing, zeros, zeros, jnp.zeros_like(belief))
    (_, played, weighted, values), _ = jax.lax.scan(iterate, start, steps)
    return CFRSolution(average(played, weighted), values)


def likelihood(
    game: Avalon, situation: Situation, strategies: Strategies, team: jax.Array, pattern: jax.Array, fails: jax.Array
) -> jax.Array:
    """float32[2 + P, K]: how likely the proposal, each vote, and the fails of a round are under each assignment.

    Args:
      game: as for `solve`.
      situation: where the round began.
      strategies: of all players.
      team: int32[], the action of the leader.
      pattern: int32[], bit mask of those who approved; not looked at if the proposal was forced.
      fails: int32[], fail votes; not looked at if the team was rejected.
    """
    const = constants(game)
    one_round = RoundModel.at(game, situation, jnp.zeros(len(const.order)))
    chances = one_round.chances(strategies)
    pattern = jnp.where(one_round.forced, NUM_PATTERNS - 1, pattern)
    votes = jnp.asarray(BITS)[pattern][:, None]
    approve = chances.approve[:, team]
    voted = jnp.where(votes == 1, approve, 1 - approve)
    row = jnp.maximum(jnp.asarray(IN_ORDER)[pattern] - len(REJECTING), 0)
    quest = fail_counts(chances.fail[:, row, team])[jnp.minimum(fails, 2)]
    accepted = jnp.asarray(BITS.sum(1))[pattern] > 2
    found = jnp.concatenate([chances.propose[team][None], voted, jnp.where(accepted, quest, 1.0)[None]])
    return found[:, const.place]


def _matched(regrets: Strategies) -> Strategies:
    """Regret matching; uniform where there is no regret."""

    def shares(positive: jax.Array) -> jax.Array:
        total = jnp.sum(positive, axis=-1, keepdims=True)
        return jnp.where(total > 0, positive / jnp.where(total > 0, total, 1.0), 1 / positive.shape[-1])

    return Strategies(shares(regrets.propose), shares(regrets.approve)[..., 1], shares(regrets.fail)[..., 1])
