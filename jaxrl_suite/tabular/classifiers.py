"""Classifiers fitted on many weightings of the same rows at once, as pure functions.

A weighting is a vector of row weights, so that a subset of the rows is a mask and a bootstrap sample a vector of
counts: shapes are static, and a whole batch of fits is a few large matrix products. Each model is a frozen dataclass
of hyper-parameters with one method, `scores`; a query belongs to the class with the highest score, the first of
equals. A class without a row of positive weight scores -inf, so a fit that sees one class predicts that class; one
that sees none scores -inf everywhere and predicts class 0.

Models that solve linear systems say so in `uses_lapack`: on a CPU, run them inside `blas.one_thread()` and not sharded.
LAPACK calls spread over all cores by themselves, and two devices that make them wait for each other (jaxlib 0.10).

Shapes: `B` fits, `N` rows, `D` columns, `M` queries, `K` classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.apply import apply, init_params
from jaxrl_suite.networks.mlp import MLP
from jaxrl_suite.tabular import linear_fits


class Classifier(Protocol):
    """The protocol of a model: hashable hyper-parameters and this method."""

    def scores(self, x: jax.Array, y: jax.Array, weights: jax.Array, queries: jax.Array, classes: int) -> jax.Array:
        """float32[B, M, K].

        Args:
          x: float32[N, D], rows to fit.
          y: int32[N], their classes, 0 to K - 1.
          weights: float32[B, N], at least 0; 0 means that the row is not there.
          queries: float32[M, D].
          classes: K.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Logistic:
    """Logistic regression with an l2 penalty: the minimiser of scikit-learn's `LogisticRegression(C=1 / l2)`.

    Two classes are fitted by Newton's method, more by Newton steps that conjugate gradients solve, both with a line
    search. As in scikit-learn a fit that sees just two of K classes is binary, whose penalty counts twice.

    Args:
      l2: weight of the penalty, the intercept not penalised.
      steps: Newton steps for two classes.
      outer: Newton steps for three classes or more; with 5 and 6 accuracies differ from those of the minimiser by less
        than .001 on average, and more of both close the gap.
      inner: iterations of conjugate gradients in each of them.
    """

    l2: float = 1.0
    steps: int = 7
    outer: int = 5
    inner: int = 6
    uses_lapack: ClassVar[bool] = True

    def __post_init__(self):
        _check(self, "l2", 1e-6)
        _check(self, "steps", 1)
        _check(self, "outer", 1)
        _check(self, "inner", 1)

    def scores(self, x: jax.Array, y: jax.Array, weights: jax.Array, queries: jax.Array, classes: int) -> jax.Array:
        x, queries = linear_fits.reduce_columns(x, queries)
        if classes == 2:
            margin = linear_fits.affine(queries, linear_fits.binary_logistic(x, y, weights, self.l2, self.steps))
            return _mask_absent(jnp.stack([-margin, margin], axis=-1), y, weights)
        seen = present(y, weights, classes)
        coefficients = linear_fits.multinomial_logistic(x, y, weights, seen, self.l2, self.outer, self.inner)
        return _mask_absent(linear_fits.affine(queries, coefficients), y, weights)


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Least squares on targets of -1 and 1 for each class: scikit-learn's `RidgeClassifier(alpha)`.

    Args:
      alpha: weight of the penalty, the intercept not penalised.
    """

    alpha: float = 1.0
    uses_lapack: ClassVar[bool] = True

    def __post_init__(self):
        _check(self, "alpha", 1e-6)

    def scores(self, x: jax.Array, y: jax.Array, weights: jax.Array, queries: jax.Array, classes: int) -> jax.Array:
        x, queries = linear_fits.reduce_columns(x, queries)
        coefficients = linear_fits.ridge(x, _signs(y, classes), weights, self.alpha)
        return _mask_absent(linear_fits.affine(queries, coefficients), y, weights)


@dataclasses.dataclass(frozen=True)
class KernelRidgeClassifier:
    """Ridge regression on targets of -1 and 1 with a Gaussian kernel, without an intercept.

    Args:
      alpha: weight of the penalty.
      gamma: of the kernel exp(-gamma |a - b|^2); 1 / D by default, for standardised columns.
    """

    alpha: float = 1.0
    gamma: float | None = None
    uses_lapack: ClassVar[bool] = True

    def __post_init__(self):
        _check(self, "alpha", 1e-6)

    def scores(self, x: jax.Array, y: jax.Array, weights: jax.Array, queries: jax.Array, classes: int) -> jax.Array:
        gamma = 1 / x.shape[1] if self.gamma is None else self.gamma
        root = jnp.sqrt(weights)
        gram = jnp.exp(-gamma * squared_distances(x, x))
        system = root[:, :, None] * gram[None] * root[:, None, :] + self.alpha * jnp.eye(len(x))[None]
        targets = _signs(y, classes)[:, 1:] if classes == 2 else _signs(y, classes)
        dual = root[..., None] * linear_fits.solve(system, root[..., None] * targets[None])
        found = jnp.einsum("mn,bnk->bmk", jnp.exp(-gamma * squared_distances(queries, x)), dual)
        return _mask_absent(jnp.concatenate([-found, found], axis=-1) if classes == 2 else found, y, weights)


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Votes of the k nearest rows, of all rows where there are fewer; rows at the same distance in their order.

    Args:
      k: number of neighbours.
    """

    k: int = 5

    def __post_init__(self):
        _check(self, "k", 1)

    def scores(self, x: jax.Array, y: jax.Array, weights: jax.Array, queries: jax.Array, classes: int) -> jax.Array:
        order = jnp.argsort(squared_distances(queries, x), axis=1, stable=True)  # [M, N]
        there = (weights > 0)[:, order]  # [B, M, N]
        votes = there & (jnp.cumsum(there, axis=-1) <= self.k)
        labels = jax.nn.one_hot(jnp.asarray(y)[order], classes)
        return _mask_absent(jnp.einsum("bmn,mnk->bmk", votes.astype(jnp.float32), labels), y, weights)


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """A multi-layer perceptron, trained by full-batch Adam from one initialisation that all fits share.

    Args:
      hidden: width of each hidden layer.
      steps: of Adam.
      learning_rate: of Adam.
      l2: weight of the penalty on the sum of squares of all weights, as a share of the mean loss.
      seed: of the initialisation.
    """

    hidden: tuple[int, ...] = (32,)
    steps: int = 100
    learning_rate: float = 0.02
    l2: float = 1e-3
    seed: int = 0

    def __post_init__(self):
        _check(self, "steps", 1)
        if any(width < 1 for width in self.hidden):
            raise UserError(f"each of hidden must be at least 1, got {self.hidden}")

    def scores(self, x: jax.Array, y: jax.Array, weights: jax.Array, queries: jax.Array, classes: int) -> jax.Array:
        network = MLP(classes, self.hidden, initialiser="he", head_scale=math.sqrt(2.0))
        start = init_params(network, jax.random.key(self.seed), x.shape[1:])
        optimiser = optax.adam(self.learning_rate)

        def forward(params, rows):
            return apply(network, params, rows)

        def fit(weight):
            def loss(params):
                each = optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y)
                penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
                return jnp.sum(weight * each) / jnp.maximum(jnp.sum(weight), 1) + self.l2 * penalty

            def step(carry, _):
                params, memory = carry
                updates, memory = optimiser.update(jax.grad(loss)(params), memory)
                return (optax.apply_updates(params, updates), memory), None

            (params, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), None, length=self.steps)
            return forward(params, queries)

        return _mask_absent(jax.vmap(fit)(weights), y, weights)


def present(y: jax.Array, weights: jax.Array, classes: int) -> jax.Array:
    """bool[B, K]: which classes have a row of positive weight."""
    return (weights > 0).astype(jnp.float32) @ jax.nn.one_hot(y, classes) > 0


def squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """float32[M, N]: squared Euclidean distances of rows [M, D] and [N, D], summed column by column.

    The usual expansion into products loses the digits that order near neighbours.
    """

    def add(total, columns):
        left, right = columns
        return total + (left[:, None] - right[None, :]) ** 2, None

    return jax.lax.scan(add, jnp.zeros((len(a), len(b)), a.dtype), (a.T, b.T))[0]


def _signs(y: jax.Array, classes: int) -> jax.Array:
    return 2 * jax.nn.one_hot(y, classes) - 1


def _mask_absent(scores: jax.Array, y: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.where(present(y, weights, scores.shape[-1])[:, None, :], scores, -jnp.inf)


def _check(model: object, name: str, low: float) -> None:
    value = getattr(model, name)
    if not value >= low:
        raise UserError(f"{name} must be at least {low:g}, got {value}")
