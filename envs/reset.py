"""Auto-reset that keeps the final state: the loop of reinforcement learning over any environment."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import AnyEnv, State


class Transition(NamedTuple):
    """One step. `after` is where the action led, the end of an episode included; `state` is where to act next."""

    state: State  # a fresh episode's first state where the last one ended, `after` elsewhere
    after: State  # its reward, terminated and truncated are those of the step


@dataclasses.dataclass(frozen=True)
class AutoReset:
    """Starts a new episode, from a new key, in the step that ended the last one.

    A value target bootstraps from `after`: not at all where it is terminated, from its observation where it is
    truncated.
    """

    env: AnyEnv

    def init(self, key: jax.Array) -> State:
        return self.env.init(key)

    def step(self, state: State, action: jax.Array, key: jax.Array) -> Transition:
        """One step of one environment; `key` is consumed."""
        step_key, reset_key = jax.random.split(key)
        after = self.env.step(state, action, step_key)
        over: Any = after.terminated | after.truncated
        fresh = self.env.init(reset_key)
        return Transition(jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, after), after)
