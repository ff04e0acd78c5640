"""Pairs to imitate: the real ones, the distilled ones that are learned, and the loss that is fitted to both.

Shapes: `M` real pairs, `N` distilled pairs, `A` action dimensions or actions.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core.config import check_choices
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Loss, check_targets, cloning_loss, default_loss, sample_losses
from jaxrl_suite.rl.policies import Params, Policy

LEARNABLE = ("observations", "labels", "log_weights", "raw_rate")
SMOOTHING = 0.1  # of hard labels that become logits to be learned


class Pairs(NamedTuple):
    """Observations with what to answer there. A batch may have more leading axes."""

    observations: jax.Array  # [M, *observation_shape], normalised as students read them
    targets: jax.Array  # float32[M, A]: actions, or probabilities of the actions
    weights: jax.Array  # float32[M], at least 0


class Distilled(NamedTuple):
    """The set that is learned."""

    observations: jax.Array  # float32[N, *observation_shape]
    labels: jax.Array  # float32[N, A]: actions; of discrete policies, logits of the labels
    log_weights: jax.Array  # float32[N]
    raw_rate: jax.Array  # float32[]: softplus of it is the learning rate of students

    @property
    def learning_rate(self) -> jax.Array:
        """float32[]: the learning rate that was learned with the set."""
        return jax.nn.softplus(self.raw_rate)


@dataclasses.dataclass(frozen=True)
class Imitation:
    """Imitation: a student's network and how it imitates.

    Args:
      policy: the student's network.
      loss: `default_loss(policy)` if None.
      labels: of a discrete policy's distilled pairs: `soft` is the softmax of their logits, `hard` the one-hot of the
        largest, which is not learned.
    """

    policy: Policy
    loss: Loss | None = None
    labels: Literal["soft", "hard"] = "soft"

    def __post_init__(self):
        check_choices(self, labels=("soft", "hard"), loss=(None, *get_args(Loss)))
        if not self.policy.discrete and self.kind not in ("mse", "mae"):
            raise UserError(
                f"{self.kind} compares probabilities, of which continuous actions have none: use mse or mae"
            )

    @property
    def kind(self) -> Loss:
        return self.loss or default_loss(self.policy)

    def pairs(self, syn: Distilled) -> Pairs:
        """The distilled set as pairs; their weights have mean 1."""
        if not self.policy.discrete:
            targets = syn.labels
        elif self.labels == "hard":
            targets = jax.nn.one_hot(jnp.argmax(syn.labels, axis=-1), syn.labels.shape[-1], dtype=syn.labels.dtype)
        else:
            targets = jax.nn.softmax(syn.labels)
        return Pairs(syn.observations, targets, jax.nn.softmax(syn.log_weights) * syn.log_weights.shape[-1])

    def mean_loss(self, params: Params, pairs: Pairs) -> jax.Array:
        """float32[]: the weighted mean loss of a student."""
        return cloning_loss(self.policy, params, *pairs, kind=self.kind)

    def scaled_loss(self, params: Params, pairs: Pairs) -> jax.Array:
        """float32[]: as `mean_loss`, without the division by the mean weight: right for batches drawn uniformly."""
        losses = sample_losses(self.kind, self.policy.apply(params, pairs.observations), pairs.targets)
        return jnp.mean(pairs.weights * losses)


def make_pairs(
    policy: Policy,
    observations: np.ndarray | jax.Array,
    targets: np.ndarray | jax.Array,
    weights: np.ndarray | jax.Array | None = None,
    *,
    rescale: bool = True,
) -> Pairs:
    """Checked pairs for a policy; integer labels become one-hot rows.

    Args:
      policy: the student.
      observations: [M, *observation_shape].
      targets: float[M, A], or int[M] labels of a discrete policy.
      weights: float[M], at least 0; all 1 if None.
      rescale: whether weights are scaled to mean 1.

    Raises:
      UserError: if shapes do not fit, a number is not finite, a label is out of range, or no weight is positive.
    """
    x, y = np.asarray(observations), np.asarray(targets)
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise UserError(f"observations and targets must be numbers, got {x.dtype} and {y.dtype}")
    if x.ndim == 0 or len(x) == 0 or x.shape[1:] != tuple(policy.observation_shape):
        raise UserError(f"observations must be [M, *{policy.observation_shape}] with M at least 1, got {x.shape}")
    if np.issubdtype(y.dtype, np.integer):
        if not policy.discrete or y.shape != (len(x),):
            raise UserError(f"integer targets are labels [M] of a discrete policy, got shape {y.shape}")
        if y.min() < 0 or y.max() >= policy.actions:
            raise UserError(f"labels must be 0 to {policy.actions - 1}, got {y.min()} to {y.max()}")
        y = np.eye(policy.actions, dtype=np.float32)[y]
    if y.shape != (len(x), policy.actions):
        raise UserError(f"targets must be [{len(x)}, {policy.actions}], got {y.shape}")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (len(x),) or not np.all(np.isfinite(w)) or w.min() < 0 or w.max() <= 0:
        raise UserError(f"weights must be {len(x)} finite numbers, at least 0 and not all 0")
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        raise UserError("observations and targets must be finite: drop the rows that are not")
    check_targets(policy, y)
    kind = x.dtype if x.dtype == np.uint8 else np.float32
    w = w / w.mean() if rescale else w
    return Pairs(jnp.asarray(x, kind), jnp.asarray(y, jnp.float32), jnp.asarray(w, jnp.float32))


def start_from(pairs: Pairs, rows: np.ndarray | jax.Array, policy: Policy, learning_rate: float = 0.1) -> Distilled:
    """A distilled set that starts as rows of real pairs.

    Args:
      pairs: the real ones.
      rows: int[N].
      policy: the student; if it is discrete, labels become the logits of slightly smoothed targets.
      learning_rate: of students, that the set starts with, above 0.

    Raises:
      UserError: if there are no rows, one is not of the pairs, or the learning rate is not above 0.
    """
    if not 0 < learning_rate < float("inf"):
        raise UserError(f"learning_rate must be above 0 and finite, got {learning_rate}")
    index, count = np.asarray(rows), pairs.weights.shape[0]
    if index.ndim != 1 or not index.size or index.dtype.kind not in "iu" or not 0 <= index.min() <= index.max() < count:
        raise UserError(f"rows must be at least one integer of 0 to {count - 1}, got {index.dtype}{list(index.shape)}")
    labels = jnp.take(pairs.targets, index, axis=0)
    if policy.discrete:
        labels = jnp.log((1 - SMOOTHING) * labels + SMOOTHING / policy.actions)
    return Distilled(
        observations=jnp.take(pairs.observations, index, axis=0).astype(labels.dtype),
        labels=labels,
        log_weights=jnp.zeros(index.shape, labels.dtype),
        raw_rate=jnp.asarray(
            learning_rate + math.log(-math.expm1(-learning_rate)), labels.dtype
        ),  # the inverse of softplus
    )


def take(pairs: Pairs, rows: jax.Array) -> Pairs:
    """Rows of pairs: leading axes of `rows` become those of the batch."""
    return Pairs(*(jnp.take(leaf, rows, axis=0) for leaf in pairs))
