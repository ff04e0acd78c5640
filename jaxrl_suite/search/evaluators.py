"""Leaf evaluators: random rollouts, a function written by hand, or a network.

An evaluator is a frozen record called as `evaluator(params, key, state)` for one state, whose prize or chance may be
pending. It returns `Evaluation`; the value is player 0's expected reward from here on.

Shapes: `P` = 2 players, `A` actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import Game, State
from jaxrl_suite.errors import UserError


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
      apply: `(params, observation) -> (prior_logits float32[P, A], value float32[])`.
    """

    game: Game
    apply: Callable[[Any, Any], tuple[jax.Array, jax.Array]]

    def __call__(self, params: Any, key: jax.Array, state: State) -> Evaluation:
        logits, value = self.apply(params, self.game.observe(state, 0))
        return Evaluation(jnp.where(state.terminated, 0.0, value), logits)
