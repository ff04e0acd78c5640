"""Small networks that learn GOPS and Avalon, as `flax.linen` modules.

Those for GOPS take the observation of player 0, which holds the same facts as the view that a written heuristic gets,
and answer what `search.evaluators.Network` wants: (prior logits [N, P, A], value [N]).

Shapes: `P` = 2 players, `N` states, `C` cards, `A` = C actions, `D` = 4 C + 3 numbers of an observation, `B` examples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.networks.apply import apply
from jaxrl_suite.networks.mlp import MLP

_SMALL = 0.1 * math.sqrt(2.0)  # gain of last layers: the untrained network says about the same of everything


class GopsExample(NamedTuple):
    """A state of a game that was played to its end."""

    observation: jax.Array  # float32[D], of player 0
    strategy: jax.Array  # float32[P, A], what the search found for both players
    legal: jax.Array  # bool[P, A]
    acts: jax.Array  # float32[], 1 where bids were made, 0 where the prize was still to be drawn
    outcome: jax.Array  # float32[], player 0's reward at the end, over the largest there is
    points: jax.Array  # float32[P], both players' points at the end, over all points in the game


class PolicyValueNetwork(nn.Module):
    """A policy for each player and a value, from one perceptron that looks at the game from each player's side.

    Swapping the players swaps the policies and the sign of the value, whatever the weights.

    Args:
      game: GOPS.
      hidden: widths of the hidden layers.
    """

    game: Gops
    hidden: tuple[int, ...] = (128, 128)

    @nn.compact
    def __call__(self, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(float32[N, P, A], float32[N]): prior logits and player 0's expected reward, for observations [N, D]."""
        sides = jnp.stack([observations, observations[:, _other_side(self.game)]], axis=1)
        outputs = MLP(self.game.num_cards + 1, self.hidden, initialiser="he", head_scale=_SMALL, name="mlp")(sides)
        value = jnp.tanh((outputs[:, 0, -1] - outputs[:, 1, -1]) / 2)
        return outputs[..., :-1], value * reward_scale(self.game)

    @nn.nowrap
    def loss(self, params: chex.ArrayTree, examples: GopsExample) -> jax.Array:
        """float32[]: squared error of the value plus cross-entropy of the policies, a mean over examples [B]."""
        logits, values = apply(self, params, examples.observation)
        masked = jnp.where(examples.legal, logits, -1e9)  # finite: optax multiplies it by the label 0
        labels = jnp.where(examples.legal, examples.strategy, 0.0)
        cross = jnp.mean(optax.losses.softmax_cross_entropy(masked, labels), axis=1)
        cross = jnp.sum(cross * examples.acts) / jnp.maximum(jnp.sum(examples.acts), 1.0)
        return jnp.mean((values / reward_scale(self.game) - examples.outcome) ** 2) + cross


class CardsNetwork(nn.Module):
    """The published "AlphaGo-like" value network: 3 C inputs for the cards that are gone, two outputs, no policy.

    The released code feeds three padded lists of card numbers in the order of play. A state here knows the sets but
    not the order, so the inputs are those three sets, and, as the order no longer tells the score, the two outputs are
    the points still to come, to which the points won are added. As published, the loss is in points, unscaled.

    Args:
      game: GOPS for points.
      hidden: widths of the hidden layers.
    """

    game: Gops
    hidden: tuple[int, ...] = (64, 64)

    def setup(self):
        self.mlp = MLP(2, self.hidden, initialiser="he", head_scale=math.sqrt(2.0))

    def __call__(self, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(float32[N, P, A], float32[N]): no prior (all 0), and the expected difference of points."""
        points = self.points(observations)
        no_prior = jnp.zeros((len(observations), 2, self.game.num_actions))
        return no_prior, points[:, 0] - points[:, 1]

    def points(self, observations: jax.Array) -> jax.Array:
        """float32[N, P]: both players' points at the end, for observations [N, D]."""
        n = self.game.num_cards
        hands, face_down = observations[:, : 2 * n], observations[:, 2 * n : 3 * n]
        gone = jnp.concatenate([1 - hands, 1 - face_down], axis=1)
        return observations[:, 4 * n + 1 :] * total_points(self.game) + self.mlp(gone)

    @nn.nowrap
    def loss(self, params: chex.ArrayTree, examples: GopsExample) -> jax.Array:
        """float32[]: mean squared error of both players' points over examples [B]."""
        predicted = apply(self, params, examples.observation, method="points")
        return jnp.mean((predicted - examples.points * total_points(self.game)) ** 2)


class OutcomeNetwork(nn.Module):
    """The value of a state of Avalon, from -1, evil wins, to 1, good wins.

    Args:
      hidden: widths of the hidden layers.
    """

    hidden: tuple[int, ...] = (64, 64)

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """float32[...], for features [..., D]."""
        output = MLP(1, self.hidden, initialiser="he", head_scale=_SMALL, name="mlp")(features)
        return jnp.tanh(output[..., 0])


def _other_side(game: Gops) -> np.ndarray:
    """int[D]: the observation of player 1 as entries of player 0's."""
    n = game.num_cards
    hands = [*range(n, 2 * n), *range(n)]
    return np.array([*hands, *range(2 * n, 4 * n), 4 * n, 4 * n + 2, 4 * n + 1])


def total_points(game: Gops) -> float:
    """All points in the game, N (N + 1) / 2."""
    return game.num_cards * (game.num_cards + 1) / 2


def reward_scale(game: Gops) -> float:
    """The largest reward there is, in units of the game's objective."""
    return total_points(game) if game.objective == "points" else 1.0
