"""Settings of PPO, and those that are known to work for environments of this package."""

from __future__ import annotations

import dataclasses

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.errors import UserError


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """The config of `rl.ppo.PPO`.

    Args:
      num_envs: environments that run side by side.
      unroll: steps of each in an iteration.
      iterations: of data collection and learning, in all; the learning rate falls to 0 over them.
      chunk: iterations of one `update`, after which the policy is evaluated.
      epochs: passes over the data of an iteration.
      minibatches: of each pass.
      learning_rate: of Adam, at the start.
      discount: gamma.
      decay: lambda of the advantages.
      clip: bound on the change of a probability ratio.
      value_clip: bound on the change of a value in its loss; None leaves it free.
      value_weight: of the value's loss beside the policy's.
      entropy_weight: of the entropy bonus.
      max_grad_norm: bound on the norm of the gradient.
      reward_scale: factor on rewards in learning; evaluation reports them as they are.
      normalise: whether observations are normalised by their running statistics; leave it off for images.
      widths: of the hidden layers, of the policy and of the value network.
      channels: of the convolutions before them, for images; () flattens an image instead.
      log_std: the logarithm of the standard deviation of continuous actions, at the start.
      eval_episodes: by which the best checkpoint is chosen.
      greedy: whether they are played without sampling.

    Raises:
      UserError: if a value is out of range, or the data of an iteration do not split into equal minibatches.
    """

    num_envs: int = 256
    unroll: int = 10
    iterations: int = 200
    chunk: int = 20
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 1e-3
    discount: float = 0.99
    decay: float = 0.95
    clip: float = 0.2
    value_clip: float | None = None
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    max_grad_norm: float = 0.5
    reward_scale: float = 1.0
    normalise: bool = True
    widths: tuple[int, ...] = (64, 64)
    channels: tuple[int, ...] = (16, 32)
    log_std: float = -0.5
    eval_episodes: int = 32
    greedy: bool = True

    def __post_init__(self):
        many = (1, 10**9)
        check_ranges(self, num_envs=many, unroll=many, iterations=many, chunk=many, epochs=many, minibatches=many)
        check_ranges(self, eval_episodes=many, learning_rate=(0, 1), discount=(0, 1), decay=(0, 1), clip=(0, 10))
        check_ranges(self, value_weight=(0, 1e6), entropy_weight=(0, 1e6), max_grad_norm=(0, 1e6), log_std=(-10, 3))
        check_ranges(self, reward_scale=(0, 1e9), widths=many, channels=many)
        if self.value_clip is not None:
            check_ranges(self, value_clip=(0, 1e9))
        if self.num_envs * self.unroll % self.minibatches:
            raise UserError(
                f"num_envs * unroll = {self.num_envs * self.unroll} steps do not split into {self.minibatches} equal "
                "minibatches: choose numbers that divide"
            )
        if self.iterations % self.chunk:
            raise UserError(f"iterations ({self.iterations}) must be a multiple of chunk ({self.chunk})")

    @property
    def updates(self) -> int:
        """Calls of `update` in a whole run."""
        return self.iterations // self.chunk

    @property
    def steps(self) -> int:
        """Environment steps of a whole run, without evaluation."""
        return self.iterations * self.num_envs * self.unroll


# mujoco/inverted_pendulum on spring: 2 million steps, 48 CPU seconds with compilation.
INVERTED_PENDULUM = PPOConfig(iterations=800, chunk=80, discount=0.97, reward_scale=0.1)

PENDULUM = PPOConfig(
    num_envs=256, unroll=20, iterations=100, chunk=20, epochs=8, discount=0.95, reward_scale=0.05, learning_rate=2e-3
)
