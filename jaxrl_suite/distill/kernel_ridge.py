"""Kernel ridge: the features of a pooled network are frozen, and its last layer is solved for in closed form.

The gradient goes through one Cholesky factor of N by N, so a step costs a small fraction of an unrolled one. Networks
of the pool age: each trains on the distilled set for a step between outer steps, and starts anew at `max_age`.

Shapes: `N` distilled pairs, `B` real pairs, `F` features, `A` outputs.

Reference: Zhou, Nezhadarya and Ba, "Dataset distillation using neural feature regression", NeurIPS 2022, section 3.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.distill.objective import Aux, ObjectiveState
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import Params, Policy


class Aged(NamedTuple):
    """A network of the pool."""

    params: Params
    opt_state: optax.OptState
    age: jax.Array  # int32[], updates since it was initialised


@dataclasses.dataclass(frozen=True)
class KernelRidge:
    """Squared error on real pairs of ridge regression on the features of distilled pairs.

    The linear head answers actions, or probabilities less 1 / A, without a tanh or softmax after it.

    Args:
      imitation: the student; its loss trains the pool.
      ridge: penalty, as a fraction of the mean of the kernel's diagonal.
      inner: training of the pool; `inner.steps` full-batch steps between outer steps.
      max_age: updates after which a network starts anew; ages are staggered at first.
    """

    imitation: Imitation
    ridge: float = 1e-3
    inner: Recipe = dataclasses.field(default_factory=lambda: Recipe("adam", 5e-3, 1))
    max_age: int = 100

    def __post_init__(self):
        check_ranges(self, ridge=(1e-12, 1e6), max_age=(1, 10**9))
        if self.inner.batch is not None:
            raise UserError("the pool trains on the whole distilled set: leave the recipe's batch out")

    def init(self, key: jax.Array, teacher: Params | None) -> ObjectiveState:
        del teacher
        init_key, age_key = jax.random.split(key)
        params = self.imitation.policy.init(init_key)
        return Aged(params, self.inner.make().init(params), jax.random.randint(age_key, (), 0, self.max_age))

    def loss(self, syn: Distilled, batch: Pairs, state: Aged, key: jax.Array) -> tuple[jax.Array, Aux]:
        del key
        policy, pairs = self.imitation.policy, self.imitation.pairs(syn)
        ours, real = (
            features(policy, state.params, pairs.observations),
            features(policy, state.params, batch.observations),
        )
        centre = 1 / policy.actions if policy.discrete else 0.0
        predicted = ridge_predict(ours, pairs.targets - centre, pairs.weights, real, self.ridge)
        gap = jnp.mean((predicted - (batch.targets - centre)) ** 2, axis=-1)
        return jnp.mean(batch.weights * gap), {}

    def update(self, syn: Distilled, state: Aged, key: jax.Array) -> Aged:
        pairs, optimiser = self.imitation.pairs(syn), self.inner.make()
        fresh = self.imitation.policy.init(key)
        young = state.age + 1 < self.max_age

        def step(carry: tuple[Params, optax.OptState], _: None):
            params, momentum = carry
            gradient = jax.grad(self.imitation.mean_loss)(params, pairs)
            updates, momentum = optimiser.update(gradient, momentum, params)
            return (optax.apply_updates(params, updates), momentum), None

        trained = jax.lax.scan(step, (state.params, state.opt_state), None, length=self.inner.steps)[0]
        kept = jax.tree.map(lambda a, b: jnp.where(young, a, b), trained, (fresh, optimiser.init(fresh)))
        params, momentum = kept
        return Aged(params, momentum, jnp.where(young, state.age + 1, 0))


def features(policy: Policy, params: Params, observations: jax.Array) -> jax.Array:
    """float32[..., F + 1]: features before the last layer and a constant for its bias, scaled by sqrt(F + 1)."""
    found = policy.features(params, observations)
    found = jnp.concatenate([found, jnp.ones((*found.shape[:-1], 1), found.dtype)], axis=-1)
    return found / jnp.sqrt(jnp.asarray(found.shape[-1], found.dtype))


def ridge_predict(
    ours: jax.Array, targets: jax.Array, weights: jax.Array, queries: jax.Array, ridge: float
) -> jax.Array:
    """float32[B, A]: weighted ridge regression at the queries, in its dual form.

    Args:
      ours: float32[N, F], features of the pairs that are fitted.
      targets: float32[N, A].
      weights: float32[N]; the squared errors' weights.
      queries: float32[B, F].
      ridge: penalty, as a fraction of the mean diagonal of the weighted kernel.
    """
    chex.assert_rank([ours, targets, queries, weights], [2, 2, 2, 1])
    chex.assert_equal_shape_prefix([ours, targets, weights], 1)
    root = jnp.sqrt(weights)[:, None]
    scaled = root * ours
    kernel = scaled @ scaled.T
    penalty = ridge * jnp.mean(jnp.diagonal(kernel))
    factor = jnp.linalg.cholesky(kernel + penalty * jnp.eye(len(kernel), dtype=kernel.dtype))
    return (queries @ scaled.T) @ jax.scipy.linalg.cho_solve((factor, True), root * targets)
