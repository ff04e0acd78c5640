"""Training of an offline learner: one scan over mini-batches, vmapped over seeds.

Shapes: `S` seeds, `T` updates, `M` transitions.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.rules import is_concrete
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.transitions import Scaling, Transitions, check_range
from jaxrl_suite.rl.policies import Policy

State: TypeAlias = Any  # a pytree of arrays; its field `actor` holds the policy's parameters
Metrics: TypeAlias = dict[str, jax.Array]


class OfflineLearner(Protocol):
    """An (init, update) pair; frozen and hashable."""

    @property
    def policy(self) -> Policy: ...
    @property
    def rows(self) -> tuple[int, ...]:
        """The leading axes of the batch that an update takes."""
        ...

    def init(self, key: jax.Array) -> State: ...

    def update(self, state: State, batch: Transitions, key: jax.Array) -> tuple[State, Metrics]: ...


def fit(
    learner: OfflineLearner, state: State, data: Transitions, keys: jax.Array, updates: int
) -> tuple[State, Metrics]:
    """Goes on training from `state`; call it again with other keys to train in chunks.

    Args:
      learner: an (init, update) pair.
      state: with a leading axis S, for instance `init_seeds(learner, keys)`.
      data: of all seeds, normalised as the policy is to see it, see `scaled`.
      keys: key[S], draw the mini-batches, uniformly with replacement, and the learner's noise.
      updates: T.

    Returns:
      The states, and each metric float32[S, T].

    Raises:
      UserError: if updates is not positive, the data are not of the learner's kind of actions, or reach beyond
        [-1, 1]; or a metric becomes NaN or infinite, with its step (not under a `jit` of the caller's).
    """
    check_range(data.actions)
    state, metrics = _fit(learner, state, data, keys, updates)
    for name, values in metrics.items():
        check_history(values, f"{type(learner).__name__}'s {name}")
    return state, metrics


def check_history(values: jax.Array, name: str) -> None:
    """Stops at a loss or metric [..., T] that is NaN or infinite, and names its step; what is traced is not looked at.

    Raises:
      UserError: at the first step of any seed.
    """
    if is_concrete(values) and not (finite := np.isfinite(np.asarray(values))).all():
        step = int(np.argwhere(~finite)[:, -1].min())
        raise UserError(f"{name} is not finite from step {step} on: lower the learning rate, or check the data")


@functools.partial(jax.jit, static_argnames=("learner", "updates"))
def _fit(
    learner: OfflineLearner, state: State, data: Transitions, keys: jax.Array, updates: int
) -> tuple[State, Metrics]:
    if updates < 1:
        raise UserError(f"updates must be at least 1, got {updates}")
    policy, actions, count = learner.policy, data.actions, data.rewards.shape[0]
    expected = (count,) if policy.discrete else (count, policy.actions)
    if not count or actions.shape != expected or jnp.issubdtype(actions.dtype, jnp.integer) != policy.discrete:
        kind = "int" if policy.discrete else "float"
        found = f"got {actions.dtype}{list(actions.shape)}"
        if jnp.issubdtype(actions.dtype, jnp.integer) and not policy.discrete:
            found += f": {type(learner).__name__} is for continuous actions only here, use IQL(..., discrete=True)"
        raise UserError(f"the learner needs actions {kind}{list(expected)}, {found}")

    def update(state: State, key: jax.Array) -> tuple[State, Metrics]:
        draw_key, noise_key = jax.random.split(key)
        rows = jax.random.randint(draw_key, (math.prod(learner.rows),), 0, count).reshape(learner.rows)
        batch = Transitions(*(jnp.take(jnp.asarray(leaf), rows, axis=0) for leaf in data))
        return learner.update(state, batch, noise_key)

    return jax.vmap(lambda state, key: jax.lax.scan(update, state, jax.random.split(key, updates)))(state, keys)


def init_seeds(learner: OfflineLearner, keys: jax.Array) -> State:
    """States with a leading axis S, one for each of the keys."""
    return jax.vmap(learner.init)(keys)


def scaled(data: Transitions, scaling: Scaling, *, reward_scale: float = 1.0) -> Transitions:
    """The same transitions as a policy on normalised observations sees them.

    Args:
      data: in the environment's units.
      scaling: of the observations.
      reward_scale: factor on the rewards, above 0. The best policy stays the same, but IQL's `beta` is measured
        against it: advantages should be of the order of 1. The published runs divide by the range of the returns and
        multiply by 1000, the length of an episode.
    """
    if reward_scale <= 0:
        raise UserError(f"reward_scale must be above 0, got {reward_scale}")
    return data._replace(
        observations=scaling(data.observations).astype(np.float32),  # centred as finely as the data are, then rounded
        next_observations=scaling(data.next_observations).astype(np.float32),
        rewards=reward_scale * data.rewards,
    )
