"""The exact solution of the environment `market`: every price curve on its levels, against buyers who stop optimally.

The platform commits before the buyer moves, so its optimum is the best of all `L ** Q` curves, each valued exactly. Its
value after some prices are posted is the best over what may follow, which makes it a dynamic program over prefixes.

Shapes: `Q` metrics, `H` types, `L` levels, `K = L ** Q` curves.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.datamarket import stopping
from jaxrl_suite.datamarket.market import Market
from jaxrl_suite.envs.market import BUY, GO_ON, LEAVE, MarketState
from jaxrl_suite.envs.market import PostedPriceMarket as MarketEnv
from jaxrl_suite.errors import UserError


class Equilibrium(NamedTuple):
    """Optimal returns and what attains them."""

    returns: np.ndarray  # float[2], of platform and buyer, before the type is drawn
    levels: np.ndarray  # int[Q], an optimal curve
    revenues: np.ndarray  # float[L, ..., L], exact revenue of every curve
    chain: stopping.Chain
    valuations: jax.Array  # float[H, Q]


def to_env(market: Market, levels: np.ndarray) -> MarketEnv:
    """The environment of a market in which prices take one of `levels` float[L]."""
    return MarketEnv(market.initial, market.transitions, market.valuations, market.prior, levels, market.cost)


def solve_env(env: MarketEnv, most: int = 1 << 20) -> Equilibrium:
    """Solves the environment exactly.

    Args:
      env: the environment.
      most: curves that may be tried.

    Raises:
      UserError: if there are more.
    """
    size, count = env.num_metrics, len(env.levels)
    if count**size > most:
        raise UserError(f"{count} levels of {size} metrics make {count**size} curves, over {most}: use fewer levels")
    chain = stopping.Chain(
        jnp.asarray(env.initial),
        jnp.asarray(env.transitions).reshape(env.horizon - 1, size, size),
        jnp.float32(env.cost),
    )
    values, prior = jnp.asarray(env.valuations), np.asarray(env.prior)
    indices = np.stack(np.meshgrid(*[np.arange(count)] * size, indexing="ij"), -1).reshape(-1, size)
    curves = jnp.asarray(np.asarray(env.levels)[indices], jnp.float32)
    found = jax.jit(lambda x: jax.lax.map(lambda c: _summary(chain, values, c), x, batch_size=1024))(curves)
    revenue, utility = (np.asarray(part, np.float64) @ prior for part in found)
    best = int(np.argmax(revenue))
    return Equilibrium(
        np.array([revenue[best], utility[best]]), indices[best], revenue.reshape((count,) * size), chain, values
    )


def act(solution: Equilibrium, env: MarketEnv, state: MarketState) -> jax.Array:
    """int32[2]: optimal actions of both players, each used only when its player is to move."""
    size = env.num_metrics
    place = jnp.minimum(state.posted, size - 1)
    level = _best_level(jnp.asarray(solution.revenues), state.levels, place)
    prices = jnp.asarray(env.levels, jnp.float32)[jnp.maximum(state.levels, 0)]
    valuation = solution.valuations[jnp.maximum(state.kind, 0)]
    policy = stopping.plan(solution.chain, valuation, prices)
    net = jnp.where(state.seen, valuation - prices, -jnp.inf)
    tie = stopping.TIE * jnp.max(valuation)
    dearest = jnp.where(net >= jnp.max(net) - tie, prices, -1.0)
    item = jnp.where(jnp.max(net) >= -tie, jnp.argmax(dearest) + 1, 0)
    stop = policy.stop[jnp.clip(state.period - 1, 0, env.horizon - 1), item, jnp.maximum(state.latest, 0)]
    choice = jnp.where(stop, jnp.where(item > 0, item - 1 + BUY, LEAVE), GO_ON)
    return jnp.stack([level, choice]).astype(jnp.int32)


def _summary(chain, values, curve):
    found = stopping.outcomes(chain, values, curve)
    return found.payment, found.utility


def _best_level(revenues: jax.Array, levels: jax.Array, place: jax.Array) -> jax.Array:
    """int[]: the level of the metric at `place` that the best curve continuing what is posted has."""
    fits = jnp.ones(revenues.shape, bool)
    for axis in range(revenues.ndim):
        shape = [1] * revenues.ndim
        shape[axis] = revenues.shape[axis]
        same = (jnp.arange(revenues.shape[axis]) == levels[axis]) | (levels[axis] < 0)
        fits &= same.reshape(shape)
    best = jnp.argmax(jnp.where(fits, revenues, -jnp.inf).reshape(-1))
    return jnp.stack(jnp.unravel_index(best, revenues.shape))[place]
