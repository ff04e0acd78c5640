"""MuJoCo's control problems through Brax: `mujoco/hopper` and the others, on four physics engines.

Brax is imported when the first of these environments is made. Its trainers do not run on current JAX and are not used.
Returns on one engine say nothing about another: time steps, gears, contact and so rewards differ, and none of them are
those of the Gymnasium environments of the same name. Compilation takes from ten seconds (spring) to minutes (mjx).

Shapes: `P` = 1 player, `D` numbers of an observation.

Reference: Freeman et al., "Brax: a differentiable physics engine for large scale rigid body simulation" (2021).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import io
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.registry import MUJOCO_NAMES as NAMES
from jaxrl_suite.errors import UserError

BACKENDS = ("spring", "positional", "generalized", "mjx")
_UNUSABLE = {
    "fast": "it is a stub for tests",
    "swimmer": "its fluid forces call jnp.clip with a_min, which JAX has removed",
}


class MuJoCoState(NamedTuple):
    """Physics and what Brax keeps beside it."""

    physics: Any  # the state of the engine, a pytree
    observation: jax.Array  # float32[D]
    metrics: dict[str, jax.Array]  # float32[] each, Brax's own, such as the parts of the reward
    info: dict[str, jax.Array]  # Brax's own
    turn: jax.Array  # int32[], steps taken
    reward: jax.Array  # float32[P], received on the last step
    terminated: jax.Array  # bool[], the task ended, for instance because the robot fell
    truncated: jax.Array  # bool[], after `max_turns` steps


@dataclasses.dataclass(frozen=True)
class MuJoCo:
    """One control problem. Action -1 to 1 is the range of each actuator, as Brax scales it; beyond it saturates.

    Args:
      name: one of `NAMES`, or one that you registered with Brax.
      backend: the physics engine, one of `BACKENDS`; `spring` compiles fastest. Compare returns within one engine only.
      max_turns: steps after which an episode is truncated; a fall on the last step is a termination.

    Raises:
      UserError: if Brax has no such environment or engine, or the environment does not run.
    """

    name: str
    backend: str = "spring"
    max_turns: int = 1000

    def __post_init__(self):
        if not isinstance(self.max_turns, int) or self.max_turns < 1:
            raise UserError(f"max_turns must be a whole number of at least 1, got {self.max_turns!r}")
        if self.backend not in BACKENDS:
            raise UserError(f"backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        _brax_env(self.name, self.backend)

    @property
    def num_players(self) -> int:
        return 1

    @property
    def action_size(self) -> int:
        return int(_brax_env(self.name, self.backend).action_size)

    @property
    def seconds_per_turn(self) -> float:
        """Simulated seconds of one step."""
        return float(_brax_env(self.name, self.backend).dt)

    def init(self, key: jax.Array) -> MuJoCoState:
        """A start state, near rest."""
        with _quiet():
            made = _brax_env(self.name, self.backend).reset(key)
        made = jax.tree.map(jnp.asarray, made)
        return MuJoCoState(
            physics=made.pipeline_state,
            observation=made.obs,
            metrics=dict(made.metrics),
            info=dict(made.info),
            turn=jnp.int32(0),
            reward=jnp.zeros(1, jnp.float32),
            terminated=jnp.bool_(False),
            truncated=jnp.bool_(False),
        )

    def step(self, state: MuJoCoState, action: jax.Array, key: jax.Array) -> MuJoCoState:
        """One control step, of several frames of physics.

        Args:
          state: the current state.
          action: float32[P, action_size] in [-1, 1].
          key: not needed, as there is no chance.
        """
        del key
        from brax.envs import State as BraxState

        before = BraxState(
            state.physics, state.observation, state.reward[0], jnp.float32(0), dict(state.metrics), dict(state.info)
        )
        with _quiet():
            made = _brax_env(self.name, self.backend).step(before, jnp.clip(action[0], -1.0, 1.0))
        over = state.terminated | state.truncated
        fell = jnp.asarray(made.done) > 0.5
        after = MuJoCoState(
            physics=made.pipeline_state,
            observation=made.obs,
            metrics=dict(made.metrics),
            info=dict(made.info),
            turn=state.turn + 1,
            reward=jnp.asarray(made.reward)[None],
            terminated=fell,
            truncated=~fell & (state.turn + 1 >= self.max_turns),
        )
        absorbed = state._replace(reward=jnp.zeros_like(state.reward))
        # Brax leaves some entries Python numbers, and some of another type than `reset` made them.
        return jax.tree.map(lambda old, new: jnp.where(over, old, jnp.asarray(new, old.dtype)), absorbed, after)

    def observe(self, state: MuJoCoState, player: jax.Array | int = 0) -> jax.Array:
        """float32[D]: positions and velocities, as Brax defines them for this environment."""
        del player
        return state.observation


@functools.lru_cache(maxsize=32)
def _brax_env(name: str, backend: str) -> Any:
    with _quiet():
        from brax import envs

        if name in _UNUSABLE:
            raise UserError(f"Brax's {name!r} is left out, as {_UNUSABLE[name]}; choose from {', '.join(NAMES)}")
        if name not in envs._envs:
            listed = ", ".join(sorted(envs._envs.keys() - _UNUSABLE.keys()))
            raise UserError(f"Brax has no environment {name!r}; it has {listed}")
        with jax.ensure_compile_time_eval(), _no_log():  # constants, also where this runs inside a trace
            return envs._envs[name](backend=backend)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what Brax prints and warns of, at import and in every trace, from the user; it needs rank promotion."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """Keeps MuJoCo's warnings on Brax's model files off the terminal, and out of a log file in the working folder."""
    mujoco: Any = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
