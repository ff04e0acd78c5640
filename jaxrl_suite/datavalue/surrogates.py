"""Surrogates of a utility, fitted to its value on some subsets: affine in the mask, and a small network.

A surrogate is a utility itself, so that greedy selection and curves take it as they take the true one. Greedy
selection by an affine surrogate is ranking by its coefficients.

Shapes: `S` subsets, `N` points, `B` masks.

Reference: Charnes et al. (1988) and Lundberg and Lee (2017) for Shapley values as constrained least squares;
`semivalues.least_squares_kernel` for the others.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.apply import apply


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AffineSurrogate:
    """intercept + sum of the coefficients of the points that are in."""

    intercept: jax.Array  # float32[]
    coefficients: jax.Array  # float32[N]

    def __call__(self, masks: jax.Array) -> jax.Array:
        return self.intercept + masks.astype(jnp.float32) @ self.coefficients


class SubsetNetwork(nn.Module):
    """A multi-layer perceptron on the mask, with a sigmoid at the end: utilities lie in 0 to 1.

    A point's weights into the hidden layer are a part that all points share, through which the size of the set acts,
    plus its own.

    Args:
      width: of the hidden layer.
      mean: the utility that the untrained network gives every subset, about.
    """

    width: int = 32
    mean: float | jax.Array = 0.5

    @nn.compact
    def __call__(self, masks: jax.Array) -> jax.Array:
        """float32[B], for masks bool[B, N]."""
        rows = masks.astype(jnp.float32)
        size = jnp.mean(rows, axis=1, keepdims=True)
        own = nn.Dense(self.width, use_bias=False, kernel_init=nn.initializers.normal(0.1), name="own")(rows)
        shared = self.param("shared", nn.initializers.normal(4.0), (self.width,))
        # Units turn, at first, at a size of the set between 0 and N.
        shift = self.param("shift", lambda key: -shared * jax.random.uniform(key, (self.width,)))
        hidden = jnp.tanh(own + size * shared[None] + shift[None])
        mean = jnp.clip(self.mean, 0.01, 0.99)
        bias = nn.initializers.constant(jnp.log(mean / (1 - mean)))
        outer = nn.Dense(1, kernel_init=nn.initializers.normal(0.1), bias_init=bias, name="outer")
        return jax.nn.sigmoid(outer(hidden)[:, 0])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NetworkSurrogate:
    """A trained `SubsetNetwork` as a utility."""

    params: Any

    def __call__(self, masks: jax.Array) -> jax.Array:
        width = self.params["shared"].shape[0]
        return apply(SubsetNetwork(width), self.params, masks)


def fit_affine(
    masks: ArrayLike,
    utilities: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    ridge: float = 1e-6,
    ends: tuple[float, float] | None = None,
) -> AffineSurrogate:
    """Weighted least squares with an intercept.

    Args:
      masks: bool[S, N].
      utilities: float[S].
      weights: float[S], at least 0; all alike by default. Subsets drawn with probability proportional to a kernel
        take none.
      ridge: penalty on the squared coefficients, as a share of the sum of weights; needed where S is less than N.
      ends: the utility of no points and of all; then the fit is exact at both, as Shapley values are.

    Raises:
      UserError: if shapes do not agree or the weights are not usable.
    """
    rows, target, weight = _check(masks, utilities, weights)
    n = rows.shape[1]
    if ends is None:
        design = np.column_stack([np.ones(len(rows)), rows])
        gram = design.T @ (weight[:, None] * design) + ridge * np.diag([0.0, *np.ones(n)])
        solved = np.linalg.solve(gram, design.T @ (weight * target))
        intercept, coefficients = solved[0], solved[1:]
    else:
        intercept = ends[0]
        gram = np.zeros((n + 1, n + 1))  # with the multiplier of "the coefficients sum to U(all) - U(none)"
        gram[:n, :n] = rows.T @ (weight[:, None] * rows) + ridge * np.eye(n)
        gram[:n, n] = gram[n, :n] = 1.0
        side = np.append(rows.T @ (weight * (target - ends[0])), ends[1] - ends[0])
        coefficients = np.linalg.solve(gram, side)[:n]
    return AffineSurrogate(jnp.float32(intercept), jnp.asarray(coefficients, jnp.float32))


def fit_network(
    key: jax.Array,
    masks: ArrayLike,
    utilities: ArrayLike,
    *,
    hidden: int = 32,
    steps: int = 1000,
    learning_rate: float = 0.01,
    decay: float = 2e-3,
) -> NetworkSurrogate:
    """Full-batch Adam on the squared error.

    Args:
      key: of the initialisation, consumed.
      masks: bool[S, N].
      utilities: float[S], in 0 to 1.
      hidden: width of the hidden layer.
      steps: of Adam.
      learning_rate: at the start; it falls to 0 along a cosine.
      decay: penalty on the sum of squares of the points' own weights.
    """
    rows, target, _ = _check(masks, utilities, None)
    if target.min() < 0 or target.max() > 1:
        raise UserError("a network surrogate is for utilities in 0 to 1: divide by their range first")
    arrays = jnp.asarray(rows, bool), jnp.asarray(target, jnp.float32)
    return NetworkSurrogate(_train(key, *arrays, hidden, steps, learning_rate, decay))


@functools.partial(jax.jit, static_argnums=(3, 4))
def _train(key, masks, target, hidden, steps, learning_rate, decay) -> Any:
    network = SubsetNetwork(hidden, jnp.mean(target))
    start = network.init(key, masks[:1])["params"]
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(params):
        predicted = apply(network, params, masks)
        return jnp.mean((predicted - target) ** 2) + decay * jnp.sum(params["own"]["kernel"] ** 2)

    def step(carry, _):
        params, memory = carry
        updates, memory = optimiser.update(jax.grad(loss)(params), memory)
        return (optax.apply_updates(params, updates), memory), None

    (params, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), None, length=steps)
    return params


def _check(masks: ArrayLike, utilities: ArrayLike, weights: ArrayLike | None):
    rows, target = np.asarray(masks, np.float64), np.asarray(utilities, np.float64)
    if rows.ndim != 2 or target.shape != (len(rows),) or not rows.size:
        raise UserError(f"masks [subsets, points] and utilities [subsets] expected, got {rows.shape}, {target.shape}")
    if len(bad := np.flatnonzero(~np.isfinite(target))):
        raise UserError(f"the utility of subset {bad[0]} is {target[bad[0]]}: drop it")
    weight = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != target.shape or weight.min() < 0 or not 0 < weight.sum() < np.inf:
        raise UserError("weights must be at least 0, one a subset, and not all 0")
    return rows, target, weight / weight.sum()
