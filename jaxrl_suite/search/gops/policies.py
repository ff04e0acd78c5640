"""Simple GOPS policies to compare with: pure functions from a state to both players' probabilities.

Each takes the game and one state and returns float32[P, A], 0 where nobody acts; batching is `jax.vmap`. "Prize" is the
card revealed in this round, without what is carried.

Shapes: `P` = 2 players, `A` = N actions (action `a` bids card `a + 1`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.gops.game import Gops, GopsState


def uniform(game: Gops, state: GopsState) -> jax.Array:
    """Every card held is equally likely."""
    legal = game.legal(state)
    return legal / jnp.maximum(legal.sum(1, keepdims=True), 1).astype(jnp.float32)


def highest(game: Gops, state: GopsState) -> jax.Array:
    """Bids the highest card held."""
    return _first(game, state, _cards(game))


def match_prize(game: Gops, state: GopsState) -> jax.Array:
    """Bids the card equal to the prize if it is held, else the next lower one held, else the lowest."""
    cards = _cards(game)
    return _first(game, state, jnp.where(cards <= state.prize, cards, -cards))


def just_above_prize(game: Gops, state: GopsState) -> jax.Array:
    """Bids the lowest card held that is higher than the prize, else the lowest."""
    cards = _cards(game)
    return _first(game, state, jnp.where(cards > state.prize, game.num_cards, 0) - cards)


def _cards(game: Gops) -> jax.Array:
    return jnp.arange(1, game.num_cards + 1)


def _first(game: Gops, state: GopsState, preference: jax.Array) -> jax.Array:
    """float32[P, A]: all probability on the legal bid with the largest `preference` int32[A], which has no ties."""
    legal = game.legal(state)
    ranked = jnp.where(legal, preference[None], jnp.iinfo(jnp.int32).min)
    return (legal & (ranked == ranked.max(1, keepdims=True))).astype(jnp.float32)
