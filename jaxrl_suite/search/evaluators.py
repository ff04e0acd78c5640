"""Leaf evaluators: random rollouts, a function written by hand, or a network.

An evaluator is a frozen record called as `evaluator(params, key, state)` for one state, whose prize or chance may be
pending. It returns `Evaluation`; the value is player 0's expected reward from here on.

Shapes: `P` = 2 players, `A` actions.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import Game, State, missing_methods
from jaxrl_suite.envs.rules import random_legal
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
      game: its own `random_return(key, state)`, player 0's reward under uniformly random play, is used if it has one:
        `Gops` has a fast one. Any other game is played with `legal`, `apply` and `step_chance`.
      num_rollouts: games played from each leaf, at least 1.
    """

    game: Any
    num_rollouts: int = 1

    def __post_init__(self):
        if self.num_rollouts < 1:
            raise UserError(f"num_rollouts must be at least 1, got {self.num_rollouts}")
        if not hasattr(self.game, "random_return") and (missing := missing_methods(self.game)):
            raise UserError(f"random play needs {', '.join(missing)} of {type(self.game).__name__}: see check_env")

    def __call__(self, params: Any, key: jax.Array, state: State) -> Evaluation:
        play = getattr(self.game, "random_return", None) or functools.partial(random_return, self.game)
        if self.num_rollouts == 1:
            return Evaluation(play(key, state), None)
        keys = jax.random.split(key, self.num_rollouts)
        return Evaluation(jnp.mean(jax.vmap(play, (0, None))(keys, state)), None)


def random_return(game: Game, key: jax.Array, state: State) -> jax.Array:
    """float32[]: player 0's reward when all play uniformly random legal actions from `state` to the end.

    Chance that is pending in `state` is drawn first. `key` is consumed.
    """

    def unfinished(carry: tuple[jax.Array, State, jax.Array]) -> jax.Array:
        now = carry[1]
        moves = jnp.any(game.legal(now)) | game.chance_pending(now)
        return moves & ~(now.terminated | now.truncated)

    def move(carry: tuple[jax.Array, State, jax.Array]) -> tuple[jax.Array, State, jax.Array]:
        key, now, total = carry
        key, action_key, chance_key = jax.random.split(key, 3)
        actions, pending = random_legal(action_key, game.legal(now)), game.chance_pending(now)
        outcome = jax.random.categorical(chance_key, jnp.where(pending, game.chance_logits(now), 0.0))
        shown, moved = game.step_chance(now, outcome.astype(jnp.int32)), game.apply(now, actions)
        after = jax.tree.map(lambda a, b: jnp.where(pending, a, b), shown, moved)
        # What chance leaves of the reward of the action before it has been counted there.
        return key, after, total + after.reward[0] - jnp.where(pending, now.reward[0], 0.0)

    return jax.lax.while_loop(unfinished, move, (key, state, jnp.float32(0)))[2]


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
