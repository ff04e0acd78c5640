"""Matches between policies, whole batches of games at once, on common random numbers.

A policy is a function `(keys key[B], states) -> float32[B, P, A]`: for every state of a batch the probabilities with which
each player would act, whoever sits there. Only the rows of the seats that the policy holds are used.

Shapes: `B` games, `P` = 2 players, `A` actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import Game, State

Policy = Callable[[jax.Array, State], jax.Array]


class Match(NamedTuple):
    reward: jax.Array  # float32[B], player 0's
    final: State  # the states at the end, batched


def play(game: Any, policies: tuple[Policy, Policy], keys: jax.Array) -> Match:
    """Plays one game a key: `policies[0]` sits in seat 0, `policies[1]` in seat 1.

    Chance depends on the key alone, so that two matches with the same keys see the same prizes in the same order: `play` once
    with the policies swapped and the same keys gives a paired comparison.

    Args:
      game: needs `max_turns` beside the methods of `Game`.
      policies: one for each seat.
      keys: key[B], consumed.
    """
    chance_keys, init_keys, seat_keys = _split(keys, 3)

    def turn(index, carry):
        states, total = carry
        now = jax.vmap(jax.random.fold_in, (0, None))(seat_keys, index)
        keys = _split(now, 4)
        strategies = [policy(keys[seat], states)[:, seat] for seat, policy in enumerate(policies)]
        bids = [jax.vmap(sample)(keys[2 + seat], strategies[seat]) for seat in range(2)]
        chance = jax.vmap(jax.random.fold_in, (0, None))(chance_keys, index)
        states = jax.vmap(game.step)(states, jnp.stack(bids, axis=1), chance)
        return states, total + states.reward[:, 0]

    states = jax.vmap(game.init)(init_keys)
    states, total = jax.lax.fori_loop(0, game.max_turns, turn, (states, jnp.zeros(keys.shape[0])))
    return Match(total, states)


def play_both_seats(game: Game, policies: tuple[Policy, Policy], keys: jax.Array) -> jax.Array:
    """float32[B]: the mean reward of `policies[0]` over both seats, with the same prizes in both games."""
    there, back = play(game, policies, keys), play(game, policies[::-1], keys)
    return (there.reward - back.reward) / 2


def sample(key: jax.Array, probabilities: jax.Array) -> jax.Array:
    """int32[]: one draw from `probabilities` [A], which need not add up to one; entries of 0 are never drawn.

    A row of zeros (no legal action) gives action 0.
    """
    cumulative = jnp.cumsum(probabilities)
    threshold = jax.random.uniform(key) * cumulative[-1]
    index = jnp.sum(cumulative <= threshold, dtype=jnp.int32)
    return jnp.where(cumulative[-1] > 0, jnp.minimum(index, probabilities.size - 1), 0)


def _split(keys: jax.Array, num: int) -> list[jax.Array]:
    split = jax.vmap(lambda key: jax.random.split(key, num))(keys)
    return [split[:, index] for index in range(num)]
