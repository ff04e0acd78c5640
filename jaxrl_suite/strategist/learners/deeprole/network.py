"""DeepRole's network: from a situation and the exact public belief to its worth under each assignment of roles.

Seats are counted from the leader on. A perceptron sees the stage and a summary of the belief: each seat's chances to be
evil and to be Merlin, the Assassin's chance to name Merlin, how certain the evil pair is. Its outputs are weights of a
few facts that each assignment has, such as how likely its evil pair is, or whether its Merlin is the likeliest one. So
what holds of one assignment is known of all, and a few hundred situations are enough to learn from. With an output for
each assignment they are not, since values are steps in the belief: whom the Assassin names, whom the best team leaves
out.

Shapes: `K` = 60 assignments, `P` = 5 players, `N` situations.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import MAX_ROUNDS, QUESTS_TO_WIN
from jaxrl_suite.networks.apply import apply
from jaxrl_suite.networks.mlp import MLP
from jaxrl_suite.strategist.learners.deeprole.round import Situation, constants

_GAIN = 0.1 * math.sqrt(2.0)  # of the last layer: the untrained network says about the same of everything
_FACTS = 19
_INPUTS = 2 * QUESTS_TO_WIN + MAX_ROUNDS + 13


class _Seating(NamedTuple):
    turn: np.ndarray  # float32[P, K, K], by the leader's seat: a permutation that counts seats from the leader
    sums: np.ndarray  # float32[K, 70], to chances of pairs, of unordered pairs, of seats and of either seat being evil
    spread: np.ndarray  # float32[2 P, K], from seats to the assignments that have evil, or Merlin, on them


@functools.lru_cache(maxsize=2)
def _seating(game: Avalon) -> _Seating:
    const, table = constants(game), tables(game)
    roles = table.roles[const.order]
    numbers = {tuple(row): k for k, row in enumerate(roles.tolist())}
    turn = np.zeros((5, 60, 60), np.float32)
    for leader in range(5):
        turn[leader, [numbers[tuple(np.roll(row, leader).tolist())] for row in roles], np.arange(60)] = 1
    seats = np.arange(5)
    evil = ((table.evil[const.order, None] >> seats) & 1).astype(np.float32)
    merlin = ((table.merlin[const.order, None] >> seats) & 1).astype(np.float32)
    pairs, masks = np.arange(60)[:, None] // 3 == np.arange(20), table.evil[const.order]
    both = masks[:, None] == masks[None, ::3]
    either = (masks[:, None] & masks[None, ::3]) != 0
    sums = np.concatenate([pairs, both, evil, merlin, either], axis=1).astype(np.float32)
    return _Seating(turn, sums, np.concatenate([evil, merlin], axis=1).T)


class DeepRoleNetwork(nn.Module):
    """The network; assignments are sorted by evil pairs, as in `round.constants`.

    Args:
      game: the rules.
      hidden: widths of the hidden layers.
    """

    game: Avalon
    hidden: tuple[int, ...] = (64, 64)

    @nn.compact
    def __call__(self, situations: Situation, beliefs: jax.Array) -> jax.Array:
        """float32[N, K]: worth of situations to good under each assignment, from -1 to 1.

        Args:
          situations: won, lost and round are int32[N], leader int32[], in common.
          beliefs: float32[N, K].
        """
        table = _seating(self.game)
        turn = jnp.asarray(table.turn)[situations.leader]  # [K, K]
        seen = jnp.matmul(beliefs, turn)
        linear = jnp.matmul(seen, jnp.asarray(table.sums))
        pair, both, evil, merlin, either = jnp.split(linear, [20, 40, 45, 50], axis=1)
        triples = seen.reshape(-1, 20, 3)
        given = triples / jnp.maximum(pair, 1e-9)[..., None]  # what the Assassin thinks of Merlin
        likeliest = (given >= jnp.max(given, axis=2, keepdims=True)).astype(jnp.float32)
        names_merlin = jnp.sum(
            jnp.max(triples, axis=2), axis=1, keepdims=True
        )  # the Assassin's chance of naming Merlin
        most = jnp.max(both, axis=1, keepdims=True)
        known = both / jnp.maximum(1 - either, 1e-9)  # what the others think of the pair
        stage = [
            situations.won[:, None] == jnp.arange(QUESTS_TO_WIN)[None],
            situations.lost[:, None] == jnp.arange(QUESTS_TO_WIN)[None],
            situations.round[:, None] == jnp.arange(MAX_ROUNDS)[None],
        ]
        summary = [evil, merlin, names_merlin, most, jnp.sum(both * pair, axis=1, keepdims=True)]
        inputs = jnp.concatenate(
            [*(part.astype(jnp.float32) for part in stage), 2 * jnp.concatenate(summary, axis=1)], 1
        )
        weights = MLP(_FACTS, self.hidden, initialiser="he", head_scale=_GAIN, name="mlp")(inputs)  # of the facts
        by_pair = weights[:, :1] + weights[:, 1:2] * both + weights[:, 2:3] * known + weights[:, 3:4] * (both / most)
        doubted = [weights[:, 4:5] * evil + weights[:, 5:10], weights[:, 10:11] * merlin + weights[:, 11:16]]
        by_seat = jnp.matmul(jnp.concatenate(doubted, axis=1), jnp.asarray(table.spread))
        assassination = (weights[:, 16:17] + weights[:, 17:18] * known)[..., None] * likeliest
        common = by_pair[..., None] + weights[:, 18:19, None] * given + assassination
        return jnp.matmul(jnp.tanh(by_seat + common.reshape(-1, 60)), turn.T)


def init(network: DeepRoleNetwork, key: chex.PRNGKey) -> chex.ArrayTree:
    """Parameters; `key` is consumed."""
    nothing = jnp.zeros(1, jnp.int32)
    situations = Situation(nothing, nothing, nothing, leader=jnp.int32(0))
    return network.init(key, situations, jnp.zeros((1, len(tables(network.game).roles))))["params"]


def values(network: DeepRoleNetwork, params: chex.ArrayTree, situation: Situation, belief: jax.Array) -> jax.Array:
    """float32[K]: worth of one situation, assignments in the order of `tables`."""
    places = constants(network.game)
    several = Situation(*(jnp.asarray(leaf)[None] for leaf in situation[:3]), leader=situation.leader)
    return sorted_values(network, params, several, belief[None, places.order])[0, places.place]


def sorted_values(
    network: DeepRoleNetwork, params: chex.ArrayTree, situations: Situation, beliefs: jax.Array
) -> jax.Array:
    """float32[N, K]: what the network answers, see `DeepRoleNetwork.__call__`."""
    return apply(network, params, situations, beliefs)
