"""The actor-critic that PPO trains: ours, and how a user's own is asked.

Shapes: `...` batch axes, `N` rows, `A` action dimensions or actions.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax

from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.ppo_config import PPOConfig
from jaxrl_suite.rl.policies import ConvPolicy, MLPPolicy, Params, Policy


class ActorCriticOutput(NamedTuple):
    """Answer of an actor-critic."""

    output: jax.Array  # float32[..., A], logits or means
    log_std: jax.Array | None  # float32[A], of continuous actions
    values: jax.Array  # float32[...]


class ActorCritic(nn.Module):
    """A policy and a value network without parameters in common, and a deviation that does not depend on observations.

    Args:
      policy: answers logits or means [N, A].
      value: answers [N, 1].
      continuous: A, whose deviations are learned; 0 if actions are discrete.
      initial_log_std: the logarithm of the deviations at the start.
    """

    policy: nn.Module
    value: nn.Module
    continuous: int = 0
    initial_log_std: float = 0.0

    @nn.compact
    def __call__(self, observations: jax.Array) -> tuple[jax.Array, ...]:
        """(logits [N, A], value [N]), or (mean [N, A], log of the deviation [A], value [N])."""
        output, value = self.policy(observations), self.value(observations)[..., 0]
        if not self.continuous:
            return output, value
        start = nn.initializers.constant(self.initial_log_std)
        return output, self.param("log_std", start, (self.continuous,)), value


def default_network(shape: tuple[int, ...], actions: int, discrete: bool, config: PPOConfig) -> ActorCritic:
    """Perceptrons with tanh, or convolutions with rectifiers for images, initialised orthogonally.

    Args:
      shape: of an observation.
      actions: A.
      discrete: whether an action is a number below A.
      config: its `widths`, `channels` and `log_std`.
    """

    def make(outputs: int, head_scale: float, squash: bool) -> nn.Module:
        if len(shape) == 3 and config.channels:
            return ConvPolicy(outputs, config.channels, config.widths, "relu", "orthogonal", head_scale, squash)
        return MLPPolicy(outputs, config.widths, "tanh", "orthogonal", head_scale, squash)

    policy, value = make(actions, 0.01, not discrete), make(1, 1.0, False)
    return ActorCritic(policy, value, 0 if discrete else actions, config.log_std)


def ask(policy: Policy, params: Params, observations: jax.Array) -> ActorCriticOutput:
    """The answer of the policy's module, which must be an actor-critic, for observations [..., *observation_shape].

    Raises:
      UserError: if it answers something else, see `networks.apply`.
    """
    outputs = policy.outputs(params, observations)
    wanted = ("logits [N, A]", "value [N]") if policy.discrete else ("mean [N, A]", "log_std [A]", "value [N]")
    batch = observations.shape[: observations.ndim - len(policy.observation_shape)]
    shapes = ((*batch, policy.actions), *([] if policy.discrete else [(policy.actions,)]), batch)
    got = tuple(part.shape for part in outputs) if isinstance(outputs, tuple) else (outputs.shape,)
    if got != shapes:
        name = type(policy.module).__name__
        raise UserError(f"PPO needs ({', '.join(wanted)}) of {name}, here {shapes}, and it answers {got}")
    return ActorCriticOutput(outputs[0], None if policy.discrete else outputs[1], outputs[-1])
