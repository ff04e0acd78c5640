"""Transitions that a learner reads off offline data: one step each, actions within [-1, 1], scaled observations.

Shapes: `N` rows of the data, `M` transitions, `A` dimensions of an action; an observation has any shape.

Reference: the floor of the deviation is that of Fujimoto and Gu, "A minimalist approach to offline reinforcement
learning" (NeurIPS 2021), section 5.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxrl_suite.envs.rules import is_concrete
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.offline import OfflineData

Array: TypeAlias = Any  # of numpy on the host, of JAX inside a learner
_STD_FLOOR = 1e-3  # added to a deviation, so that a constant feature becomes 0


class Transitions(NamedTuple):
    """Transitions for a learner with a critic."""

    observations: Array  # float32[M, ...]; float64 of data that are finer, until they are centred (`scaled`)
    actions: Array  # float32[M, A] or int32[M]
    rewards: Array  # float32[M]
    next_observations: Array  # as `observations`
    terminals: Array  # float32[M], 1 where nothing follows


class Scaling(NamedTuple):
    """Mean and deviation of observations; a policy sees (observation - mean) / std."""

    mean: np.ndarray  # float32[...]
    std: np.ndarray  # float32[...]

    def __call__(self, observations):
        return (observations - self.mean) / self.std


def transitions(data: OfflineData) -> Transitions:
    """One-step transitions for a critic.

    Without `next_observations` they are read off the next row of the episode, and the last row of an episode that was
    cut off is left out, because what follows it is not known.

    Raises:
      UserError: if continuous actions leave [-1, 1], or no transition has a successor.
    """
    actions = data.actions.astype(np.int32 if data.discrete else np.float32)
    check_range(actions)
    kind = np.result_type(data.observations.dtype, np.float32)  # float64 for what float32 cannot hold
    observations = data.observations.astype(kind)
    if data.next_observations is not None:
        following, usable = data.next_observations.astype(kind), np.ones(len(data), bool)
    else:
        following = np.concatenate([observations[1:], observations[-1:]])
        following[data.terminals] = observations[data.terminals]  # multiplied by 0 in a target
        usable = data.terminals | ~data.timeouts
        usable[-1] = data.terminals[-1]
        if not usable.any():
            raise UserError("every episode is one step that was cut off: collect next_observations, or longer episodes")
    return Transitions(
        observations[usable],
        actions[usable],
        data.rewards.astype(np.float32)[usable],
        following[usable],
        data.terminals.astype(np.float32)[usable],
    )


def check_range(actions: Any, name: str = "actions") -> None:
    """Refuses continuous actions beyond [-1, 1], which a policy with tanh can only answer by saturating.

    Discrete actions, and arrays that are traced, are not looked at.

    Raises:
      UserError: if an action lies beyond.
    """
    if not is_concrete(actions) or np.asarray(actions).dtype.kind != "f" or not np.size(actions):
        return
    if (most := float(np.abs(actions).max())) > 1 + 1e-6:
        raise UserError(f"{name} reach {most:g}: learners act in [-1, 1], divide by the bound (rescale_actions)")


def rescale_actions(data: OfflineData, low: Any, high: Any) -> OfflineData:
    """Continuous actions between the bounds `low` and `high` (numbers or float[A]), moved to [-1, 1]."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    shapes = ((), data.actions.shape[1:])
    if data.discrete or not np.all(np.isfinite(high - low) & (high > low)):
        raise UserError("rescale_actions needs continuous actions and finite bounds with low below high")
    if low.shape not in shapes or high.shape not in shapes:
        raise UserError(f"bounds must be numbers or {list(shapes[1])}, got {list(low.shape)} and {list(high.shape)}")
    scaled = 2 * (data.actions - low) / (high - low) - 1
    if np.abs(scaled).max() > 1 + 1e-6:
        raise UserError("some actions lie outside low and high: give the environment's own bounds")
    return dataclasses.replace(data, actions=np.clip(scaled, -1, 1).astype(data.actions.dtype))


def scaling(observations: np.ndarray) -> Scaling:
    """Mean and deviation + 1e-3 over the first axis, as the published offline learners normalise."""
    observations = np.asarray(observations, np.float64)
    return Scaling(
        observations.mean(axis=0).astype(np.float32), (observations.std(axis=0) + _STD_FLOOR).astype(np.float32)
    )
