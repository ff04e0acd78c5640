"""Matches between policies, whole batches of games at once, on common random numbers.

A policy is a function `(keys key[B], states) -> float32[B, P, A]`: for every state of a batch the probabilities with
which each player would act, whoever sits there. Only the rows of the seats that the policy holds are used.

An illegal action is never played: a policy whose probabilities are NaN, leave the legal actions or do not sum to 1 is
refused. Under a `jit` or `vmap` of the caller's, where nothing can be raised, the game's reward is NaN instead.

Shapes: `B` games, `P` = 2 players, `A` actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.base import State
from jaxrl_suite.envs.rules import FAULTS, is_concrete, policy_fault, refuse
from jaxrl_suite.errors import UserError
from jaxrl_suite.search import matrix_game
from jaxrl_suite.search.tree_search import split_rows

Policy = Callable[[jax.Array, State], jax.Array]


class Match(NamedTuple):
    reward: jax.Array  # float32[B], of the first policy; NaN where a policy was refused
    final: State  # the states at the end, batched
    faults: jax.Array  # int32[2, B], what was wrong with each policy: a number of `envs.rules.FAULTS`, 0 for nothing


def play(game: Any, policies: tuple[Policy, Policy], keys: jax.Array, swapped: jax.Array | None = None) -> Match:
    """Plays one game a key.

    What chance does depends on the key alone: the same key means the same prizes in the same order, whoever plays.

    Args:
      game: two players, zero-sum; needs `max_turns` beside the methods of `Game`.
      policies: the first sits in seat 0, unless the game is swapped.
      keys: key[B], consumed.
      swapped: bool[B], whether the first policy sits in seat 1; nowhere by default.

    Raises:
      UserError: if a policy does not return probabilities over the legal actions; the message says in which game.
    """
    match = _play(game, policies, keys, swapped)
    if is_concrete(match.faults) and (bad := np.argwhere(np.asarray(match.faults))).size:
        number, row = bad[0]
        fault = FAULTS[int(match.faults[number, row])]
        raise UserError(
            f"policy {number} in game {row}: its probabilities {fault}: return float32[B, P, A] with 0 where "
            "game.legal(state) is false"
        )
    return match


def _play(game: Any, policies: tuple[Policy, Policy], keys: jax.Array, swapped: jax.Array | None) -> Match:
    swapped = jnp.zeros(keys.shape, bool) if swapped is None else swapped
    chance_keys, init_keys, turn_keys = split_rows(keys, 3)

    def turn(index, carry):
        states, total, faults = carry
        now = jax.vmap(jax.random.fold_in, (0, None))(turn_keys, index)
        first_key, second_key, *draw_keys = split_rows(now, 4)
        legal = jax.vmap(game.legal)(states)  # [B, P, A]
        answers = []
        for number, (policy, key) in enumerate(zip(policies, (first_key, second_key), strict=True)):
            answer = jnp.asarray(policy(key, states))
            if answer.shape != legal.shape:
                shapes = f"{list(legal.shape)}, got {list(answer.shape)}"
                raise UserError(f"policy {number} must return probabilities [B, P, A], here {shapes}: change its shape")
            answers.append(answer)
        first, second = answers
        # By seat, who sits there: the second policy in seat 0 of a swapped game, the first in seat 1.
        others = jnp.stack([swapped, ~swapped], axis=1)
        seats = jnp.where(others[:, :, None], second, first)
        fault = policy_fault(seats, legal)  # [B, P]
        now = jnp.stack([jnp.where(swapped, fault[:, 1], fault[:, 0]), jnp.where(swapped, fault[:, 0], fault[:, 1])])
        faults = jnp.where(jnp.any(faults > 0, axis=0), faults, now)
        seats = jnp.where(legal, seats, 0.0)
        actions = jnp.stack([jax.vmap(matrix_game.sample)(draw_keys[p], seats[:, p]) for p in range(2)], axis=1)
        chance = jax.vmap(jax.random.fold_in, (0, None))(chance_keys, index)
        played = jnp.all(faults == 0, axis=0)
        states = jax.vmap(lambda ok, state, action, key: refuse(ok, game.step(state, action, key), state))(
            played, states, actions, chance
        )
        return states, total + states.reward[:, 0], faults

    states = jax.vmap(game.init)(init_keys)
    begin = (states, jnp.zeros(keys.shape), jnp.zeros((2, *keys.shape), jnp.int32))
    states, total, faults = jax.lax.fori_loop(0, game.max_turns, turn, begin)
    return Match(jnp.where(swapped, -total, total), states, faults)


def play_both_seats(game: Any, policies: tuple[Policy, Policy], keys: jax.Array) -> jax.Array:
    """float32[B]: the first policy's mean reward over two games with the same prizes, one in each seat.

    Raises:
      UserError: as `play` does; under `jit` the result is NaN instead.
    """
    batch = keys.shape[0]
    match = play(game, policies, jnp.concatenate([keys, keys]), jnp.arange(2 * batch) >= batch)
    return (match.reward[:batch] + match.reward[batch:]) / 2
