"""Absolute strength of a GOPS heuristic: its return against exact equilibrium play, and its exploitability.

Both depend on the budget of the search that uses it. Win rates against other heuristics say who is better; these say
how far the best is from what can be had.

Shapes: `K` strategies, `G` deals, `P` = 2 players, `N` cards, `A` = N actions.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.errors import UserError
from jaxrl_suite.search import arena
from jaxrl_suite.search.gops import evaluation as gops_evaluation
from jaxrl_suite.search.gops import exact as gops_exact
from jaxrl_suite.strategist.heuristics.pool import Choice
from jaxrl_suite.strategist.play.gops import GopsPlayer


def against_nash(player: GopsPlayer, solution: gops_exact.GopsSolution, choices: Choice, keys: jax.Array) -> jax.Array:
    """float32[B]: mean final difference against an exact equilibrium, over both seats with the same deck.

    Args:
      player: how the heuristics play.
      solution: of `player.game`.
      choices: [B], a heuristic for each key.
      keys: key[B], consumed.
    """
    batch = keys.shape[0]
    twice = jax.tree.map(lambda leaf: jnp.concatenate([jnp.asarray(leaf)] * 2), choices)

    def heuristic(keys, states):
        return player(twice, keys, states)[0]

    def nash(keys, states):
        del keys
        return jax.vmap(gops_exact.policy, (None, 0))(solution, states)

    match = arena.play(player.game, (heuristic, nash), jnp.concatenate([keys, keys]), jnp.arange(2 * batch) >= batch)
    return (match.reward[:batch] + match.reward[batch:]) / 2


def nash_returns(
    player: GopsPlayer,
    solution: gops_exact.GopsSolution,
    choices: Choice,
    num_deals: int,
    key: jax.Array,
    *,
    batch_size: int = 256,
    mesh: Any = None,
) -> np.ndarray:
    """float32[K, G]: `against_nash` of K heuristics, `batch_size` games at a time.

    Args:
      player: how the heuristics play.
      solution: of `player.game`.
      choices: [K].
      num_deals: G.
      key: consumed; key[] for the same decks for all, or key[K], where heuristics with the same key meet the same.
      batch_size: games at a time.
      mesh: devices that share the games; those that divide `batch_size` by default.

    Raises:
      UserError: if the solution is of another game.
    """
    if solution.game != player.game:
        raise UserError(f"the solution is of {solution.game}, the player plays {player.game}: solve the same game")
    size = len(choices.member)
    keys = jax.vmap(lambda one: jax.random.split(one, num_deals))(jnp.broadcast_to(key, (size,)))
    who, deal = np.repeat(np.arange(size), num_deals), np.tile(np.arange(num_deals), size)
    program = devices.map_batch(
        lambda solution, choices, keys: against_nash(player, solution, choices, keys),
        mesh if mesh is not None else devices.mesh(batch=batch_size),
        replicated=(0,),
    )
    returns = []
    for start in range(0, len(who), batch_size):
        part = np.minimum(np.arange(start, start + batch_size), len(who) - 1)
        own_choices = jax.tree.map(lambda leaf, part=part: np.asarray(leaf)[who[part]], choices)
        returns.append(np.asarray(program(solution, own_choices, keys[who[part], deal[part]])))
    return np.concatenate(returns)[: len(who)].reshape(size, num_deals)


def exploitabilities(
    player: GopsPlayer, choices: Choice, key: jax.Array, *, policy_samples: int = 16, repeats: int = 1, chunk: int = 256
) -> np.ndarray:
    """float64[K, repeats]: points that a best response wins a game against each heuristic's search, exactly.

    A search draws random numbers; what is exploited is the mean strategy of `policy_samples` of them in every state, so
    what is left of their noise counts as exploitable. Every state of the game is searched: for games of 3 to 5 cards.

    Args:
      player: how the heuristics play; for all of them and all states one program is compiled.
      choices: [K].
      key: consumed.
      policy_samples: searches in each state, averaged into its policy.
      repeats: how often all of it is done, with other random numbers.
      chunk: states searched at a time; the result does not depend on it.
    """

    @jax.jit
    def strategies(choice, keys, states):
        batch = keys.shape[0]
        row = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), choice)

        def again(index, total):
            now = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
            return total + player(row, now, states)[0]

        start = jnp.zeros((batch, 2, player.game.num_actions))
        return jax.lax.fori_loop(0, policy_samples, again, start) / policy_samples

    @jax.jit
    def keys_of(key, states):  # of each state, whatever stands beside it in a chunk
        parts = (*states.hands.T, states.deck, states.prize, states.carry, *states.score.T)
        keys = jnp.broadcast_to(key, states.prize.shape)
        return functools.reduce(jax.vmap(jax.random.fold_in), parts, keys)

    def policy(choice, key, states):
        return strategies(choice, keys_of(key, states), states)

    size = len(choices.member)
    exploited = np.zeros((size, repeats))
    for row in range(size):
        choice = jax.tree.map(lambda leaf, row=row: jnp.asarray(leaf)[row], choices)
        for repeat in range(repeats):
            own_policy = functools.partial(policy, choice, jax.random.fold_in(key, repeat))
            exploited[row, repeat] = gops_evaluation.exploitability(player.game, own_policy, chunk)
    return exploited
