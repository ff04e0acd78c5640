"""Matches between policies, whole batches of games at once, on common random numbers.

A policy is a function `(keys key[B], states) -> float32[B, P, A]`: for every state of a batch the probabilities with
which each player would act, whoever sits there. Only the rows of the seats that the policy holds are used.

Shapes: `B` games, `P` = 2 players, `A` actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import State
from jaxrl_suite.search import matrix_game
from jaxrl_suite.search.tree_search import split_rows

Policy = Callable[[jax.Array, State], jax.Array]


class Match(NamedTuple):
    reward: jax.Array  # float32[B], of the first policy
    final: State  # the states at the end, batched


def play(game: Any, policies: tuple[Policy, Policy], keys: jax.Array, swapped: jax.Array | None = None) -> Match:
    """Plays one game a key.

    What chance does depends on the key alone: the same key means the same prizes in the same order, whoever plays.

    Args:
      game: two players, zero-sum; needs `max_turns` beside the methods of `Game`.
      policies: the first sits in seat 0, unless the game is swapped.
      keys: key[B], consumed.
      swapped: bool[B], whether the first policy sits in seat 1; nowhere by default.
    """
    swapped = jnp.zeros(keys.shape, bool) if swapped is None else swapped
    chance_keys, init_keys, turn_keys = split_rows(keys, 3)

    def turn(index, carry):
        states, total = carry
        now = jax.vmap(jax.random.fold_in, (0, None))(turn_keys, index)
        first_key, second_key, *draw_keys = split_rows(now, 4)
        first, second = policies[0](first_key, states), policies[1](second_key, states)
        seats = (
            jnp.where(swapped[:, None], second[:, 0], first[:, 0]),
            jnp.where(swapped[:, None], first[:, 1], second[:, 1]),
        )
        actions = jnp.stack(
            [jax.vmap(matrix_game.sample)(*pair) for pair in zip(draw_keys, seats, strict=True)], axis=1
        )
        chance = jax.vmap(jax.random.fold_in, (0, None))(chance_keys, index)
        states = jax.vmap(game.step)(states, actions, chance)
        return states, total + states.reward[:, 0]

    states = jax.vmap(game.init)(init_keys)
    states, total = jax.lax.fori_loop(0, game.max_turns, turn, (states, jnp.zeros(keys.shape)))
    return Match(jnp.where(swapped, -total, total), states)


def play_both_seats(game: Any, policies: tuple[Policy, Policy], keys: jax.Array) -> jax.Array:
    """float32[B]: the first policy's mean reward over two games with the same prizes, one in each seat."""
    batch = keys.shape[0]
    match = play(game, policies, jnp.concatenate([keys, keys]), jnp.arange(2 * batch) >= batch)
    return (match.reward[:batch] + match.reward[batch:]) / 2
