"""Gradient pricing: buyers who choose softly, at a temperature that falls, from many starts at once.

Shapes: `Q` metrics, `H` types, `S` sets, `B` starts.

Reference: the softened menu of RochetNet (Dütting et al., "Optimal auctions through deep learning", 2019).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.datamarket.instance import Instance


def anneal(
    instance: Instance,
    starts: np.ndarray,
    *,
    steps: int = 600,
    hot: float = 0.1,
    cold: float = 0.003,
    learning_rate: float = 0.02,
) -> np.ndarray:
    """Adam on the softened revenue of every start, batched on the device.

    Args:
      instance: the pricing problem.
      starts: float[B, Q]; prices above the highest useful one are taken for it.
      steps: of Adam.
      hot: first temperature, as a share of the highest valuation.
      cold: last temperature.
      learning_rate: of learning, as a share of the highest valuation.

    Returns:
      float64[B, Q]: for each start, the prices passed through that earned most from buyers who do not choose softly.
    """
    scale, highest = instance.scale, instance.highest
    problem = [instance.valuations / scale, instance.sets, instance.mass, highest / scale]
    prices = np.minimum(np.where(np.isfinite(starts), starts, highest), highest) / scale
    annealed = _anneal(
        *(jnp.asarray(x, None if x.dtype == bool else jnp.float32) for x in problem),
        jnp.asarray(prices, jnp.float32), steps, hot, cold, learning_rate, instance.forced,
    )  # fmt: skip
    return np.asarray(annealed, np.float64) * scale


@functools.partial(jax.jit, static_argnums=(5, 6, 7, 8, 9))
def _anneal(valuations, sets, mass, highest, starts, steps, hot, cold, learning_rate, forced):
    outside = -1e3 if forced else 0.0

    def nets(prices):
        net = jnp.where(sets[None], (valuations - prices[None])[:, None], -1e3)
        net = jnp.concatenate([jnp.full((*net.shape[:-1], 1), outside), net], -1)
        return net, jnp.concatenate([jnp.zeros(1), prices])

    def soft(prices, temperature):
        net, priced = nets(prices)
        return jnp.sum(mass[..., None] * jax.nn.softmax(net / temperature, -1) * priced[None, None])

    def hard(prices):  # a hair below, where ties are the seller's
        net, priced = nets(prices * (1 - 1e-5))
        return jnp.sum(mass * jnp.take(priced, jnp.argmax(net, -1)))

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps, 0.05))

    def one(start):
        def step(carry, now):
            prices, state, best, value = carry
            temperature = hot * (cold / hot) ** (now / max(steps - 1, 1))
            slope = jax.grad(soft)(prices, temperature)
            updates, state = optimizer.update(-slope, state)
            prices = jnp.clip(prices + updates, 0.0, highest)
            found = hard(prices)
            best, value = jnp.where(found > value, prices, best), jnp.maximum(found, value)
            return (prices, state, best, value), None

        carry = start, optimizer.init(start), start, hard(start)
        return jax.lax.scan(step, carry, jnp.arange(steps, dtype=jnp.float32))[0][2]

    return jax.vmap(one)(starts)
