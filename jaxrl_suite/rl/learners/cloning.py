"""Behaviour cloning: losses with sample weights, and a fit that is one scan and vmaps over students.

Targets are actions float32[N, A] for continuous policies, and for discrete ones labels int32[N] or probabilities
float32[N, A].

Shapes: `N` samples, `A` action dimensions or actions, `B` rows of a mini-batch, `T` steps, `S` students.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.rl.datasets.transitions import check_range
from jaxrl_suite.rl.learners.offline_fit import check_history
from jaxrl_suite.rl.policies import Params, Policy

Loss: TypeAlias = Literal["mse", "mae", "cross_entropy", "softmax_mse", "softmax_mae"]
_OPTIMISERS = {"sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe of a student's training: optimiser, learning rate and number of steps.

    Args:
      optimiser: name in optax.
      learning_rate: of the optimiser.
      steps: T, at least 1.
      batch: rows of a mini-batch; None uses all rows in each step.
      momentum: of `sgd`.
    """

    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.1
    steps: int = 100
    batch: int | None = None
    momentum: float = 0.0

    def __post_init__(self):
        if self.optimiser not in _OPTIMISERS:
            raise UserError(f"unknown optimiser {self.optimiser!r}{suggest(self.optimiser, _OPTIMISERS)}")
        check_ranges(self, learning_rate=(0, 1e3), steps=(1, 10**9), momentum=(0, 1))
        if self.batch is not None and self.batch < 1:
            raise UserError(f"batch must be at least 1, or none for all rows, got {self.batch}")

    def make(self, learning_rate: float | jax.Array | None = None) -> optax.GradientTransformation:
        """The optimiser, with another learning rate if `learning_rate` is given."""
        learning_rate = self.learning_rate if learning_rate is None else learning_rate
        if self.optimiser == "sgd":
            return optax.sgd(learning_rate, momentum=self.momentum or None)
        return _OPTIMISERS[self.optimiser](learning_rate)


RECIPES = {
    "sgd100": Recipe("sgd", 0.1, 100),
    "adam300": Recipe("adam", 5e-3, 300),
}


def recipe(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
      UserError: if there is none of this name.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}{suggest(name, RECIPES)}")
    return RECIPES[name]


def default_loss(policy: Policy) -> Loss:
    """Squared error for continuous policies, cross-entropy for discrete ones."""
    return "cross_entropy" if policy.discrete else "mse"


def sample_losses(kind: Loss, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """The loss of each sample, a mean over its A numbers except for cross-entropy.

    Args:
      kind: `mse` and `mae` compare outputs with targets; `cross_entropy` reads outputs as logits; `softmax_mse` and
        `softmax_mae` compare the softmax of outputs with targets, as DDRL's published code does.
      outputs: float32[..., N, A], of a policy.
      targets: float32[..., N, A], or int32[..., N] labels.

    Returns:
      float32[..., N].

    Raises:
      UserError: if there is no such loss, or outputs and targets differ in shape.
    """
    if kind not in get_args(Loss):
        raise UserError(f"unknown loss {kind!r}{suggest(kind, get_args(Loss))}")
    if jnp.issubdtype(targets.dtype, jnp.integer):
        targets = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
    if targets.shape[-2:] != outputs.shape[-2:]:  # they would broadcast to all pairs of samples
        raise UserError(f"targets {targets.shape} do not fit outputs {outputs.shape}: give [N, A], or int labels [N]")
    if kind == "cross_entropy":
        return optax.losses.softmax_cross_entropy(outputs, targets)
    gap = (jax.nn.softmax(outputs) if kind.startswith("softmax") else outputs) - targets
    return jnp.mean(jnp.abs(gap) if kind.endswith("mae") else gap**2, axis=-1)


def weighted_mean(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Mean over the last axis with weights that need not sum to anything; 0 where all weights are 0."""
    if weights is None:
        return jnp.mean(values, axis=-1)
    total = jnp.sum(weights, axis=-1)
    return jnp.sum(weights * values, axis=-1) / jnp.where(total == 0, 1, total)


def cloning_loss(
    policy: Policy,
    params: Params,
    observations: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None = None,
    kind: Loss | None = None,
) -> jax.Array:
    """float32[]: the weighted mean loss of a policy on pairs.

    Args:
      policy: the network.
      params: its parameters.
      observations: [N, *observation_shape].
      targets: float32[N, A] or int32[N].
      weights: float32[N], at least 0; all 1 if None.
      kind: `default_loss(policy)` if None.
    """
    losses = sample_losses(kind or default_loss(policy), policy.apply(params, observations), targets)
    if weights is not None and weights.shape != losses.shape:
        raise UserError(f"weights {weights.shape} do not fit the losses {losses.shape}: give one a sample")
    return weighted_mean(losses, weights)


def check_targets(policy: Policy, targets: Any) -> None:
    """Refuses actions beyond [-1, 1] as targets of a continuous policy that answers a tanh.

    Raises:
      UserError: see `check_range`.
    """
    if not policy.discrete and getattr(policy.module, "squash", False):
        check_range(targets)


def fit(
    policy: Policy,
    params: Params,
    observations: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: jax.Array,
    *,
    batch: int | None = None,
    kind: Loss | None = None,
    unroll: int = 1,
) -> tuple[Params, jax.Array]:
    """Trains one student; vmap over `params` and `key` for many.

    Args:
      policy: the network.
      params: where training starts.
      observations, targets, weights: as in `cloning_loss`.
      optimiser: of optax.
      steps: T.
      key: draws the mini-batches, with replacement.
      batch: B; None uses all N rows in each step.
      kind: of loss.
      unroll: steps of the scan that are compiled as one.

    Returns:
      The parameters, and the loss before each step, float32[T].

    Raises:
      UserError: if the policy answers a tanh and targets lie beyond it, or the loss becomes NaN or infinite (under a
        `jit` of the caller's nothing is looked at).
    """
    check_targets(policy, targets)
    grad = jax.value_and_grad(lambda p, x, y, w: cloning_loss(policy, p, x, y, w, kind))

    def step(carry: tuple[Params, Any], key: jax.Array | None):
        params, state = carry
        rows: tuple[Any, ...] = (observations, targets, weights)
        if key is not None and batch is not None:
            index = jax.random.randint(key, (batch,), 0, observations.shape[0])
            rows = tuple(None if x is None else jnp.take(x, index, axis=0) for x in rows)
        loss, gradient = grad(params, *rows)
        updates, state = optimiser.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), loss

    keys = None if batch is None else jax.random.split(key, steps)
    start = (params, optimiser.init(params))
    (params, _), losses = jax.lax.scan(step, start, keys, length=steps, unroll=min(unroll, steps))
    check_history(losses, "the cloning loss")
    return params, losses


def fit_recipe(
    policy: Policy,
    params: Params,
    observations: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None,
    recipe: Recipe,
    key: jax.Array,
    *,
    kind: Loss | None = None,
    learning_rate: jax.Array | None = None,
) -> tuple[Params, jax.Array]:
    """`fit` as a recipe says, with its own learning rate if `learning_rate` is given."""
    rows = None if recipe.batch is None or recipe.batch >= observations.shape[0] else recipe.batch
    optimiser = recipe.make(learning_rate)
    return fit(policy, params, observations, targets, weights, optimiser, recipe.steps, key, batch=rows, kind=kind)
