"""Small networks that learn GOPS, and the layers that they and the networks for Avalon are made of.

Both take the observation of player 0, which holds the same facts as the view that a written heuristic gets. They are
called as `search.evaluators.Network` wants them: `apply(params, observation) -> (prior logits [P, A], value)`.

Shapes: `P` = 2 players, `N` cards, `A` = N actions, `D` = 4 N + 3 numbers of an observation, `B` examples.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.gops.game import Gops

Layers: TypeAlias = tuple[tuple[jax.Array, jax.Array], ...]  # (weight float32[D_in, D_out], bias float32[D_out]) each


class GopsExample(NamedTuple):
    """A state of a game that was played to its end."""

    observation: jax.Array  # float32[D], of player 0
    strategy: jax.Array  # float32[P, A], what the search found for both players
    legal: jax.Array  # bool[P, A]
    acts: jax.Array  # float32[], 1 where bids were made, 0 where the prize was still to be drawn
    outcome: jax.Array  # float32[], player 0's reward at the end, over the largest there is
    points: jax.Array  # float32[P], both players' points at the end, over all points in the game


def init_layers(key: jax.Array, sizes: Sequence[int], last_scale: float = 1.0) -> Layers:
    """A perceptron's layers with widths `sizes`, as He et al. (2015) draw them; `key` is consumed.

    Args:
      key: consumed.
      sizes: input, hidden layers, output.
      last_scale: of the last layer's weights; near 0, the untrained network says about the same of everything.
    """
    keys = jax.random.split(key, len(sizes) - 1)
    layers = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        scale = math.sqrt(2 / inputs) * (last_scale if index == len(sizes) - 2 else 1.0)
        layers.append((scale * jax.random.normal(keys[index], (inputs, outputs)), jnp.zeros(outputs)))
    return tuple(layers)


def perceptron(layers: Layers, inputs: jax.Array) -> jax.Array:
    """float32[D_out]: the output for one `inputs` float32[D_in], with rectified hidden layers."""
    hidden = inputs
    for weight, bias in layers[:-1]:
        hidden = jax.nn.relu(jnp.matmul(hidden, weight) + bias)
    weight, bias = layers[-1]
    return jnp.matmul(hidden, weight) + bias


@dataclasses.dataclass(frozen=True)
class PolicyValueNetwork:
    """A policy for each player and a value, from one perceptron that looks at the game from each player's side.

    Swapping the players swaps the policies and the sign of the value, whatever the weights.

    Args:
      game: GOPS.
      hidden: widths of the hidden layers.
    """

    game: Gops
    hidden: tuple[int, ...] = (128, 128)

    def init(self, key: jax.Array) -> Layers:
        """Weights; `key` is consumed."""
        cards = self.game.num_cards
        return init_layers(key, (4 * cards + 3, *self.hidden, cards + 1), last_scale=0.1)

    def apply(self, params: Any, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(float32[P, A], float32[]): prior logits, and player 0's expected reward."""
        sides = jnp.stack([observation, observation[self._swap]])
        outputs = jax.vmap(perceptron, (None, 0))(params, sides)
        value = jnp.tanh((outputs[0, -1] - outputs[1, -1]) / 2)
        return outputs[:, :-1], value * reward_scale(self.game)

    def loss(self, params: Any, examples: GopsExample) -> jax.Array:
        """float32[]: squared error of the value plus cross-entropy of the policies, a mean over examples [B]."""
        logits, values = jax.vmap(self.apply, (None, 0))(params, examples.observation)
        logs = jax.nn.log_softmax(jnp.where(examples.legal, logits, -1e9), axis=-1)
        cross = -jnp.sum(jnp.where(examples.legal, examples.strategy * logs, 0.0), axis=(1, 2)) / 2
        cross = jnp.sum(cross * examples.acts) / jnp.maximum(jnp.sum(examples.acts), 1.0)
        return jnp.mean((values / reward_scale(self.game) - examples.outcome) ** 2) + cross

    @property
    def _swap(self) -> np.ndarray:
        """The observation of player 1 as entries of player 0's."""
        n = self.game.num_cards
        hands = [*range(n, 2 * n), *range(n)]
        return np.array([*hands, *range(2 * n, 4 * n), 4 * n, 4 * n + 2, 4 * n + 1])


@dataclasses.dataclass(frozen=True)
class CardsNetwork:
    """The published "AlphaGo-like" value network: 3 N inputs for the cards that are gone, two outputs, no policy.

    The released code feeds three padded lists of card numbers in the order of play. A state here knows the sets but
    not the order, so the inputs are those three sets, and, as the order no longer tells the score, the two outputs are
    the points still to come, to which the points won are added. As published, the loss is in points, unscaled.

    Args:
      game: GOPS for points.
      hidden: widths of the hidden layers.
    """

    game: Gops
    hidden: tuple[int, ...] = (64, 64)

    def init(self, key: jax.Array) -> Layers:
        """Weights; `key` is consumed."""
        return init_layers(key, (3 * self.game.num_cards, *self.hidden, 2))

    def apply(self, params: Any, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(float32[P, A], float32[]): no prior (all 0), and the expected difference of points."""
        points = self.points(params, observation)
        no_prior = jnp.zeros((2, self.game.num_actions))
        return no_prior, points[0] - points[1]

    def points(self, params: Any, observation: jax.Array) -> jax.Array:
        """float32[P]: both players' points at the end."""
        n = self.game.num_cards
        hands, face_down = observation[: 2 * n], observation[2 * n : 3 * n]
        gone = jnp.concatenate([1 - hands, 1 - face_down])
        return observation[4 * n + 1 :] * total_points(self.game) + perceptron(params, gone)

    def loss(self, params: Any, examples: GopsExample) -> jax.Array:
        """float32[]: mean squared error of both players' points over examples [B]."""
        predicted = jax.vmap(self.points, (None, 0))(params, examples.observation)
        return jnp.mean((predicted - examples.points * total_points(self.game)) ** 2)


def total_points(game: Gops) -> float:
    """All points in the game, N (N + 1) / 2."""
    return game.num_cards * (game.num_cards + 1) / 2


def reward_scale(game: Gops) -> float:
    """The largest reward there is, in units of the game's objective."""
    return total_points(game) if game.objective == "points" else 1.0
