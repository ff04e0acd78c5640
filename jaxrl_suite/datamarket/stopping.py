"""The buyer's optimal stopping, exactly: backwards for the policy, forwards for the law of what happens.

A state is (best, latest): the item that the buyer would buy now (0 means leave, q + 1 the model of metric q) and the
metric revealed last, which the next one depends on. Costs that are paid are sunk, so they do not enter the choice of
an item, and the option to leave is an item of value and price 0; both are missing in parts of the paper's statement.

Ties: between items the dearer one is bought, and a buyer that gains nothing by stopping goes on; so at cost 0 it
always sees everything, which is the case that the pricing programs treat.

Shapes: `Q` metrics, `I = Q + 1` items, `H` types, `T` periods.

Reference: arXiv 2310.17843, proposition 4.1 and algorithm 3.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

TIE = 1e-5  # utilities closer than this share of the largest valuation are equal; float32 resolves no less


class Chain(NamedTuple):
    """The chain of metrics, the same for all types: how they are revealed and what that costs."""

    initial: jax.Array  # float[Q]
    transitions: jax.Array  # float[T-1, Q, Q]
    cost: jax.Array  # float[], a period


class StoppingPlan(NamedTuple):
    """A buyer's optimal policy."""

    value: jax.Array  # float[], expected utility before the first period
    values: jax.Array  # float[T, I, Q], utility from (best, latest) after period t + 1, all costs paid included
    stop: jax.Array  # bool[T, I, Q]
    better: jax.Array  # int[I, Q], the item held after metric q is revealed to a holder of an item


class BuyerOutcome(NamedTuple):
    """A buyer's outcome in expectation."""

    joint: jax.Array  # float[T, I], probability of ending after period t + 1 with each item
    stop_law: jax.Array  # float[T], probability that discovery ends after period t + 1
    items: jax.Array  # float[I], probability of leaving and of buying each model
    payment: jax.Array  # float[], expected price paid
    welfare: jax.Array  # float[], expected valuation of what is bought, less the cost of discovery
    utility: jax.Array  # float[], welfare less payment


def chain_of(market) -> Chain:
    """The chain of a `Market`, on the device."""
    return Chain(jnp.asarray(market.initial), jnp.asarray(market.transitions), jnp.asarray(market.cost, jnp.float32))


def plan(chain: Chain, valuation: jax.Array, prices: jax.Array) -> StoppingPlan:
    """Backward recursion: one matrix product a period.

    Args:
      chain: how metrics are revealed.
      valuation: float[Q], the buyer's.
      prices: float[Q]; inf where a model is not for sale.

    Returns:
      The policy; `O(T Q^3)` operations.
    """
    net, order, tie = _net(valuation, prices)
    better = _better(net, order, tie)
    periods = chain.transitions.shape[0] + 1
    latest = jnp.arange(valuation.shape[0])

    def back(after, step):
        period, law = step  # `after` is of period + 1
        ahead = after[better, latest[None]] @ law.T  # [I, Q]
        now = jnp.broadcast_to(net[:, None] - chain.cost * period, ahead.shape)
        stop = now > ahead + tie
        return (value := jnp.where(stop, now, ahead)), (value, stop)

    last = jnp.broadcast_to((net - chain.cost * periods)[:, None], better.shape)
    steps = jnp.arange(1, periods, dtype=net.dtype), chain.transitions
    _, (values, stop) = jax.lax.scan(back, last, steps, reverse=True)
    values = jnp.concatenate([values, last[None]])
    stop = jnp.concatenate([stop, jnp.ones_like(last, bool)[None]])
    value = jnp.sum(chain.initial * values[0][better[0], latest])
    return StoppingPlan(value, values, stop, better)


def outcome(chain: Chain, valuation: jax.Array, prices: jax.Array) -> BuyerOutcome:
    """Exact forward pass under the optimal policy; arguments as in `plan`."""
    policy = plan(chain, valuation, prices)
    latest = jnp.arange(valuation.shape[0])

    def ahead(mass, step):
        stop, law = step
        ended = jnp.where(stop, mass, 0.0)
        moved = (mass - ended) @ law  # [I, Q], before the new metric changes the best item
        mass = jnp.zeros_like(mass).at[policy.better, latest[None]].add(moved)
        return mass, ended

    start = jnp.zeros(policy.better.shape, chain.initial.dtype).at[policy.better[0], latest].add(chain.initial)
    last, ended = jax.lax.scan(ahead, start, (policy.stop[:-1], chain.transitions))
    ended = jnp.concatenate([ended, last[None]])
    joint = jnp.sum(ended, 2)
    law, items = jnp.sum(joint, 1), jnp.sum(joint, 0)
    price, value = _with_leaving(jnp.where(jnp.isfinite(prices), prices, 0.0)), _with_leaving(valuation)
    payment = jnp.sum(items * price)
    spent = chain.cost * jnp.sum(law * jnp.arange(1, law.shape[0] + 1, dtype=law.dtype))
    welfare = jnp.sum(items * value) - spent
    return BuyerOutcome(joint, law, items, payment, welfare, welfare - payment)


def outcomes(chain: Chain, valuations: jax.Array, prices: jax.Array) -> BuyerOutcome:
    """`outcome` of every type, float[H, Q], at every price curve, float[..., Q]; fields get the axes [..., H]."""
    each = jax.vmap(outcome, (None, 0, None))
    for _ in range(prices.ndim - 1):
        each = jax.vmap(each, (None, None, 0))
    return each(chain, valuations, prices)


def simulate(key: jax.Array, chain: Chain, valuation: jax.Array, prices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One buyer who follows the optimal policy.

    Args:
      key: consumed.
      chain: how metrics are revealed.
      valuation: float[Q].
      prices: float[Q].

    Returns:
      int[] the period after which it stopped, from 1, and int[] the item it left with, 0 for none.
    """
    policy = plan(chain, valuation, prices)
    keys = jax.random.split(key, chain.transitions.shape[0] + 1)
    latest = jax.random.categorical(keys[0], jnp.log(chain.initial))
    best, over, period = policy.better[0, latest], jnp.bool_(False), jnp.int32(1)
    if chain.transitions.shape[0] == 0:
        return period, best

    def step(carry, now):
        latest, best, over, period = carry
        key, stop, law = now
        over |= stop[best, latest]
        drawn = jax.random.categorical(key, jnp.log(law[latest]))
        seen = jnp.where(over, latest, drawn)
        best = jnp.where(over, best, policy.better[best, drawn])
        return (seen, best, over, period + ~over), None

    carry = latest, best, over, period
    (_, best, _, period), _ = jax.lax.scan(step, carry, (keys[1:], policy.stop[:-1], chain.transitions))
    return period, best


def _with_leaving(values: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.zeros((1,), values.dtype), values])


def _net(valuation: jax.Array, prices: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Net utility of each item, its price to break ties by, and the width of a tie."""
    shown = jnp.where(jnp.isfinite(prices), prices, 2 * jnp.max(valuation) + 1)  # never worth it
    tie = TIE * (jnp.max(valuation) + 1e-30)
    return _with_leaving(valuation - shown), _with_leaving(shown), tie


def _better(net: jax.Array, price: jax.Array, tie: jax.Array) -> jax.Array:
    """int[I, Q]: the better of a held item and the model of a metric just revealed."""
    size = net.shape[0]
    held, new = jnp.arange(size)[:, None], jnp.arange(1, size)[None]
    gain = net[None, 1:] - net[:, None]
    taken = (gain > tie) | ((jnp.abs(gain) <= tie) & (price[None, 1:] > price[:, None]))
    return jnp.where(taken, new, held)
