"""Pendulum swing-up: a rod that hangs on a pivot is to be swung up and held there by a motor too weak to lift it.

The dynamics, the reward and the start states are those of Gymnasium's Pendulum-v1; the analytic expert `swing_up` and
the reference scores make it the continuous-control problem that needs no training to be known.

Shapes: `P` = 1 player, `action_size` = 1.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError

GRAVITY = 10.0  # m/s^2
MASS = 1.0  # kg, of the rod
LENGTH = 1.0  # m
MAX_TORQUE = 2.0  # N m
MAX_SPEED = 8.0  # rad/s
TIME_STEP = 0.05  # s

# Mean returns of 65,536 episodes of DEFAULT_TURNS steps, as rl.rollout.evaluate measures them; their standard errors
# are 1.1 and 0.4.
DEFAULT_TURNS = 200
RANDOM_SCORE = -1228.6
EXPERT_SCORE = -151.1


class PendulumState(NamedTuple):
    """The rod. `angle` counts from upright and is not wrapped."""

    angle: jax.Array  # float32[], rad
    speed: jax.Array  # float32[], rad/s
    turn: jax.Array  # int32[], steps taken
    reward: jax.Array  # float32[P], received on the last step
    terminated: jax.Array  # bool[], always False
    truncated: jax.Array  # bool[], after `max_turns` steps


@dataclasses.dataclass(frozen=True)
class Pendulum:
    """The control problem. Action 1 is the torque `MAX_TORQUE`; an action beyond [-1, 1] saturates, as the motor does.

    Args:
      max_turns: steps after which an episode is truncated.

    Raises:
      UserError: unless `max_turns` is a whole number of at least 1.
    """

    max_turns: int = DEFAULT_TURNS

    def __post_init__(self):
        if not isinstance(self.max_turns, int) or self.max_turns < 1:
            raise UserError(f"max_turns must be a whole number of at least 1, got {self.max_turns!r}")

    @property
    def num_players(self) -> int:
        return 1

    @property
    def action_size(self) -> int:
        return 1

    @property
    def reference_scores(self) -> tuple[float, float]:
        """Mean returns of uniformly random actions and of `swing_up`, for episodes of the default length.

        Raises:
          AttributeError: if episodes have another length, whose scores `rl.references` measures.
        """
        if self.max_turns != DEFAULT_TURNS:
            raise AttributeError("reference_scores are of episodes of 200 steps: measure others with rl.references")
        return RANDOM_SCORE, EXPERT_SCORE

    def init(self, key: jax.Array) -> PendulumState:
        """Any angle, and a speed of at most 1 rad/s either way."""
        angle, speed = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        return PendulumState(
            angle=jnp.pi * angle,
            speed=speed,
            turn=jnp.int32(0),
            reward=jnp.zeros(1, jnp.float32),
            terminated=jnp.bool_(False),
            truncated=jnp.bool_(False),
        )

    def step(self, state: PendulumState, action: jax.Array, key: jax.Array) -> PendulumState:
        """One step of 0.05 s, by semi-implicit Euler; the cost is that of the state before it.

        Args:
          state: the current state.
          action: float32[P, 1] in [-1, 1].
          key: not needed, as there is no chance.
        """
        del key
        torque = MAX_TORQUE * jnp.clip(action[0, 0], -1.0, 1.0)
        cost = wrap(state.angle) ** 2 + 0.1 * state.speed**2 + 0.001 * torque**2
        gain = 3 * GRAVITY / (2 * LENGTH) * jnp.sin(state.angle) + 3 / (MASS * LENGTH**2) * torque
        speed = jnp.clip(state.speed + TIME_STEP * gain, -MAX_SPEED, MAX_SPEED)
        after = PendulumState(
            angle=state.angle + TIME_STEP * speed,
            speed=speed,
            turn=state.turn + 1,
            reward=-cost[None],
            terminated=jnp.bool_(False),
            truncated=state.turn + 1 >= self.max_turns,
        )
        absorbed = state._replace(reward=jnp.zeros_like(state.reward))
        return jax.tree.map(lambda old, new: jnp.where(state.truncated, old, new), absorbed, after)

    def observe(self, state: PendulumState, player: jax.Array | int = 0) -> jax.Array:
        """float32[3]: cosine and sine of the angle, and the speed."""
        del player
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed])

    def expert(self, observation: jax.Array) -> jax.Array:
        """float32[1]: the action of `swing_up`."""
        return swing_up(observation)


def wrap(angle: jax.Array) -> jax.Array:
    """The same direction in [-pi, pi)."""
    return (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi


def energy(angle: jax.Array, speed: jax.Array) -> jax.Array:
    """float32[]: kinetic and potential energy of the rod in J; at rest it is 5 upright and -5 hanging."""
    inertia = MASS * LENGTH**2 / 3
    return 0.5 * inertia * speed**2 + 0.5 * MASS * GRAVITY * LENGTH * jnp.cos(angle)


def swing_up(
    observation: jax.Array, *, pump: float = 1.0, position: float = 8.0, damping: float = 2.0, catch: float = 0.5
) -> jax.Array:
    """The analytic expert: pumps energy until it is that of rest upright, then holds with a PD controller.

    Args:
      observation: float32[3].
      pump: torque for each joule that is missing, N m / J. With 3 the mean return is higher by 1, but the action jumps
        more where the speed changes its sign, which makes it harder to imitate.
      position: torque for each radian from upright, where the PD controller holds.
      damping: torque for each rad/s.
      catch: cosine of the angle within which it holds.

    Returns:
      float32[1]: the action.

    Reference: Astrom and Furuta, "Swinging up a pendulum by energy control", Automatica 36 (2000).
    """
    cosine, sine, speed = observation[0], observation[1], observation[2]
    angle = jnp.arctan2(sine, cosine)
    missing = 0.5 * MASS * GRAVITY * LENGTH - energy(angle, speed)
    pumping = pump * missing * jnp.where(speed >= 0, 1.0, -1.0)
    holding = -position * angle - damping * speed
    torque = jnp.where(cosine > catch, holding, pumping)
    return jnp.clip(torque / MAX_TORQUE, -1.0, 1.0)[None]
