"""Leaf evaluators: random rollouts, a function written by hand, or a network.

An evaluator is a frozen record called as `evaluator(params, key, state)` for one state, whose prize or chance may be
pending. It returns `Evaluation`; the value is player 0's expected reward from here on.

Shapes: `P` = 2 players, `A` actions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import Game, State
from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.apply import apply_batched


class Evaluation(NamedTuple):
    value: jax.Array  # float32[], player 0's expected reward after this state
    prior_logits: jax.Array | None  # float32[P, A], or None for uniform over the legal actions


class Evaluator(Protocol):
    def __call__(self, params: Any, key: jax.Array, state: State) -> Evaluation:
        """Evaluates one state; `key` is consumed."""
        ...


@dataclasses.dataclass(frozen=True)
class Rollout:
    """The mean reward of uniformly random play until the end.

    Args:
      game: needs `random_return(key, state)`, player 0's reward under uniformly random play.
      num_rollouts: games played from each leaf, at least 1.
    """

    game: Any
    num_rollouts: int = 1

    def __post_init__(self):
        if self.num_rollouts < 1:
            raise UserError(f"num_rollouts must be at least 1, got {self.num_rollouts}")

    def __call__(self, params: Any, key: jax.Array, state: State) -> Evaluation:
        if self.num_rollouts == 1:
            return Evaluation(self.game.random_return(key, state), None)
        keys = jax.random.split(key, self.num_rollouts)
        return Evaluation(jnp.mean(jax.vmap(self.game.random_return, (0, None))(keys, state)), None)


@dataclasses.dataclass(frozen=True)
class Heuristic:
    """A value function written by hand: `function(state) -> float32[]`, player 0's expected reward after this state."""

    function: Callable[[State], jax.Array]

    def __call__(self, params: Any, key: jax.Array, state: State) -> Evaluation:
        return Evaluation(jnp.where(state.terminated, 0.0, self.function(state)), None)


@dataclasses.dataclass(frozen=True)
class Network:
    """A policy and value network that sees the game from player 0's side.

    Args:
      game: its `observe(state, 0)` is the network's input.
      network: a `flax.linen` module, ours or a user's own, which answers (prior logits [N, P, A] or [N, P A], value
        [N]) for observations [N, ...], see `networks.apply`; or a function `(params, observation) -> (prior logits
        [P, A], value [])`.
    """

    game: Game
    network: nn.Module | Callable[[Any, Any], tuple[jax.Array, jax.Array]]

    def __call__(self, params: Any, key: jax.Array, state: State) -> Evaluation:
        observation = self.game.observe(state, 0)
        if isinstance(self.network, nn.Module):
            outputs = apply_batched(self.network, params, observation, observation.shape)
        else:
            outputs = self.network(params, observation)
        shape = (self.game.num_players, self.game.num_actions)
        if not isinstance(outputs, tuple) or outputs[0].size != math.prod(shape) or outputs[-1].shape:
            name = getattr(type(self.network), "__name__", "the network")
            raise UserError(
                f"a search needs (prior logits {list(shape)}, value) of {name} for each state: change its outputs"
            )
        return Evaluation(jnp.where(state.terminated, 0.0, outputs[-1]), outputs[0].reshape(shape))
