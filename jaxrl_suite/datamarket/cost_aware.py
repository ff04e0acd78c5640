"""Prices where discovery has a cost: exact expected revenue from buyers who stop optimally, and a search for the most.

With a cost, when a buyer stops depends on the prices, so revenue jumps where a stopping decision flips. The search
softens stopping and buying at a temperature that falls, follows the gradient from many starts, and then tries prices
one at a time on the exact revenue. Several scenarios (priors, chains, costs) are priced for the worst of them.

Shapes: `Q` metrics, `I = Q + 1` items, `H` types, `T` periods, `B` curves, `W` scenarios.

Reference: arXiv 2310.17843, section 3 (the objective); its program (1) drops the cost.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.datamarket import stopping
from jaxrl_suite.datamarket.market import Market, check_prices
from jaxrl_suite.datamarket.stopping import Chain
from jaxrl_suite.errors import UserError


class Scenarios(NamedTuple):
    """Markets of one shape, stacked, in units of the highest valuation."""

    chain: Chain  # leaves [W, ...]
    valuations: jax.Array  # float[W, H, Q]
    prior: jax.Array  # float[W, H]


class CostAware(NamedTuple):
    """A price curve for markets with a cost."""

    prices: np.ndarray  # float[Q]; inf where a model is not for sale
    revenue: float  # exact, in the worst scenario
    revenues: np.ndarray  # float[W]


def expected_revenue(market: Market, prices: np.ndarray) -> np.ndarray:
    """float[...]: the exact expected payment at curves float[..., Q], from buyers who stop optimally."""
    return np.asarray(_outcomes(*_on_device(market, prices)).payment) @ market.prior


def expected_items(market: Market, prices: np.ndarray) -> np.ndarray:
    """float[..., H, I]: how likely each type is to leave and to buy each model, at curves float[..., Q]."""
    return np.asarray(_outcomes(*_on_device(market, prices)).items)


def _on_device(market: Market, prices: np.ndarray):
    values = jnp.asarray(market.valuations, jnp.float32)
    return stopping.chain_of(market), values, jnp.asarray(check_prices(prices, market.num_metrics), jnp.float32)


@jax.jit
def _outcomes(chain, valuations, prices):
    return stopping.outcomes(chain, valuations, prices)


def price_with_cost(
    markets: Market | Sequence[Market],
    starts: np.ndarray,
    *,
    steps: int = 300,
    rounds: int = 6,
    candidates: int = 33,
    keep: int = 4,
    seed: int = 0,
) -> CostAware:
    """Prices one market, or several for the worst of them.

    Args:
      markets: of the same numbers of metrics, types and periods.
      starts: float[B, Q], such as the portfolio's curve at cost 0 and the baselines'; the result is never worse.
      steps: of the softened gradient search; 0 leaves it out.
      rounds: of the exact search over single prices, at most.
      candidates: prices tried for one metric at a time: half from 0 to the highest, half close to the present one.
      keep: how many of the best curves the exact search continues.
      seed: of the order of metrics.

    Raises:
      UserError: if the markets differ in shape or there is none, or what `check_prices` refuses.
    """
    if steps < 0 or rounds < 0 or candidates < 2 or keep < 1:
        raise UserError("steps and rounds must be at least 0, candidates at least 2, and keep at least 1")
    group = [markets] if isinstance(markets, Market) else list(markets)
    if not group:
        raise UserError("there is no market to price: give at least one")
    shapes = {(m.num_metrics, m.num_types, m.horizon) for m in group}
    if len(shapes) > 1:
        raise UserError(f"scenarios differ in (metrics, types, periods): {sorted(shapes)}; price them one by one")
    scale = max(float(m.valuations.max()) for m in group) or 1.0
    worlds = _stack(group, scale)
    starts = np.atleast_2d(check_prices(starts, group[0].num_metrics))
    if starts.ndim != 2 or not len(starts):
        raise UserError(f"starts must be [B, {group[0].num_metrics}] with at least one curve, got {list(starts.shape)}")
    curves = jnp.asarray(np.where(np.isfinite(starts), starts / scale, 2.0), jnp.float32)
    if steps:
        curves = jnp.concatenate([curves, _soft_search(worlds, curves, steps)])
    value = np.asarray(_worst(worlds, curves))
    order = np.argsort(-value, kind="stable")[:keep]
    best, values = np.asarray(curves)[order], value[order]
    rng = np.random.default_rng(seed)
    spread = candidates - candidates // 2
    for _ in range(rounds):
        before = values.max()
        for metric in rng.permutation(best.shape[1]):
            tried = np.repeat(best[:, None], candidates + 1, 1)
            tried[:, :spread, metric] = np.linspace(0.0, 1.0, spread)
            tried[:, spread:candidates, metric] = best[:, None, metric] * rng.uniform(0.9, 1.1, candidates // 2)
            tried[:, -1, metric] = 2.0  # not for sale
            found = np.asarray(_worst(worlds, jnp.asarray(tried)))
            top = found.argmax(1)
            better = found.max(1) > values
            best[better], values[better] = tried[better, top[better]], found[better, top[better]]
        if values.max() <= before + 1e-7:
            break
    winner = best[np.argmax(values)]
    prices = np.where(winner <= 1.0, winner * scale, np.inf)
    revenues = np.array([float(expected_revenue(m, prices)) for m in group])
    return CostAware(prices, float(revenues.min()), revenues)


def _stack(group: list[Market], scale: float) -> Scenarios:
    def stacked(name):
        return jnp.asarray(np.stack([getattr(m, name) for m in group]), jnp.float32)

    chain = Chain(stacked("initial"), stacked("transitions"), stacked("cost") / scale)
    return Scenarios(chain, stacked("valuations") / scale, stacked("prior"))


@jax.jit
def _worst(worlds: Scenarios, curves: jax.Array) -> jax.Array:
    """float[...]: exact revenue of curves float[..., Q] in the worst scenario."""

    def revenue(world):
        payment = stopping.outcomes(world.chain, world.valuations, curves).payment
        return payment @ world.prior

    return jnp.min(jax.vmap(revenue)(worlds), 0)


@functools.partial(jax.jit, static_argnames="steps")
def _soft_search(worlds: Scenarios, starts: jax.Array, steps: int) -> jax.Array:
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps, 0.05))

    def value(prices, temperature):
        def revenue(world):
            paid = jax.vmap(lambda v: _soft_payment(world.chain, v, prices, temperature))(world.valuations)
            return paid @ world.prior

        found = jax.vmap(revenue)(worlds)
        return jnp.sum(found * jax.nn.softmax(-found / 0.01))  # close to the worst

    def one(start):
        def step(carry, now):
            prices, state = carry
            slope = jax.grad(value)(prices, 0.05 * 0.05 ** (now / steps))
            updates, state = optimizer.update(-slope, state)
            return (jnp.clip(prices + updates, 0.0, 1.0), state), None

        start = jnp.clip(start, 0.0, 1.0)
        return jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(steps, dtype=jnp.float32))[0][0]

    return jax.vmap(one)(starts)


def _soft_payment(chain: Chain, valuation: jax.Array, prices: jax.Array, temperature: jax.Array) -> jax.Array:
    """float[]: payment of a buyer who stops and picks items by logistic choice."""
    net = jnp.concatenate([jnp.zeros(1), valuation - prices])
    paid = jnp.concatenate([jnp.zeros(1), prices])
    taken = jax.nn.sigmoid((net[None, 1:] - net[:, None]) / temperature)  # [I, Q]
    size = valuation.shape[0]
    new = jnp.arange(1, size + 1), jnp.arange(size)

    def hold(table):
        """The surplus of a holder of each item once a metric is revealed: [I, Q] of [I, Q]."""
        return taken * table[new][None] + (1 - taken) * table

    def back(after, step):
        period, law = step
        worth, money = after
        worth_ahead, money_ahead = hold(worth) @ law.T, hold(money) @ law.T
        now = net[:, None] - chain.cost * period
        stop = jax.nn.sigmoid((now - worth_ahead) / temperature)
        worth = stop * now + (1 - stop) * worth_ahead
        return (worth, stop * paid[:, None] + (1 - stop) * money_ahead), None

    periods = chain.transitions.shape[0] + 1
    ones = jnp.ones((1, size))
    last = (net - chain.cost * periods)[:, None] * ones, paid[:, None] * ones
    steps = jnp.arange(1, periods, dtype=jnp.float32), chain.transitions
    (_, money), _ = jax.lax.scan(back, last, steps, reverse=True)
    return jnp.sum(chain.initial * hold(money)[0])
