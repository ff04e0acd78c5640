"""Implicit Q-learning: values of the best actions that the data hold, without asking for any other action.

A state's value is an upper expectile of the action values in the data; the policy imitates the data, weighted by the
exponential of the advantage.

Shapes: `B` rows of a mini-batch, `A` dimensions of an action, or actions.

Reference: Kostrikov, Nair and Levine, "Offline reinforcement learning with implicit Q-learning" (ICLR 2022),
equations 5 to 7.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.rl import densities
from jaxrl_suite.rl.datasets.transitions import Transitions
from jaxrl_suite.rl.learners.q_functions import TwinCritic, apply_critic, bootstrap, init_critic, polyak_average
from jaxrl_suite.rl.policies import Params, Policy, mlp_policy

_LOG_STD = (-5.0, 2.0)  # bounds of the log-deviation of a continuous policy


class IQLState(NamedTuple):
    actor: Params
    log_std: jax.Array  # float32[A], of a continuous policy
    critic: Params
    value: Params
    target_critic: Params
    opt_state: optax.OptState  # of all that learns


@dataclasses.dataclass(frozen=True)
class IQL:
    """The learner; `policy` reads the actor's parameters and acts by the mean or the most probable action.

    Args:
      observation_shape: (D,).
      actions: A; a continuous action lies in [-1, 1].
      discrete: whether an action is a number below A.
      widths: of the hidden layers of actor and critics.
      expectile: of the action values that a state's value is, in (0, 1): 0.5 values the data's policy, 1 its best.
      beta: inverse temperature of the advantages; 0 is behaviour cloning.
      limit: of a pair's weight.
      discount: of the return.
      tau: Polyak rate of the target critics.
      learning_rate: of Adam.
      batch: B.
      network: of the actor, a user's own in place of an `MLPPolicy` of these widths; see `networks.apply`.
    """

    observation_shape: tuple[int, ...]
    actions: int
    discrete: bool = False
    widths: tuple[int, ...] = (256, 256)
    expectile: float = 0.7
    beta: float = 3.0
    limit: float = 100.0
    discount: float = 0.99
    tau: float = 0.005
    learning_rate: float = 3e-4
    batch: int = 256
    network: nn.Module | None = None

    def __post_init__(self):
        check_ranges(self, expectile=(0, 1), beta=(0, 1e6), limit=(1, 1e9), discount=(0, 1), tau=(0, 1))
        check_ranges(self, learning_rate=(0, 1), batch=(1, 1 << 24))

    @property
    def rows(self) -> tuple[int, ...]:
        return (self.batch,)

    @property
    def policy(self) -> Policy:
        if self.network is not None:
            return Policy(self.network, self.observation_shape, self.actions, self.discrete)
        return mlp_policy(self.observation_shape, self.actions, self.discrete, self.widths)

    @property
    def critic(self) -> TwinCritic:
        return TwinCritic(self.actions, self.discrete, self.widths)

    @property
    def value(self) -> Policy:
        """The state's value, as a policy with one number that is no action."""
        return mlp_policy(self.observation_shape, 1, widths=self.widths, squash=False)

    def init(self, key: jax.Array) -> IQLState:
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        critic = init_critic(self.critic, critic_key, self.observation_shape)
        learned = (self.policy.init(actor_key), jnp.zeros(self.actions), critic, self.value.init(value_key))
        return IQLState(*learned, target_critic=critic, opt_state=optax.adam(self.learning_rate).init(learned))

    def update(self, state: IQLState, batch: Transitions, key: jax.Array) -> tuple[IQLState, dict[str, jax.Array]]:
        """One step of value, critics and actor on the same batch [B, ...]; all three see the state before it."""
        del key
        values = apply_critic(self.critic, state.target_critic, batch.observations, batch.actions)
        action_value = jnp.min(values, axis=0)
        state_value = self.state_values(state.value, batch.observations)
        following = self.state_values(state.value, batch.next_observations)
        goal = bootstrap(batch.rewards, batch.terminals, following, self.discount)
        weights = jnp.minimum(jnp.exp(self.beta * (action_value - state_value)), self.limit)

        def loss(learned: tuple[Params, jax.Array, Params, Params]):
            actor, log_std, critic, value = learned
            gap = action_value - self.state_values(value, batch.observations)
            error = apply_critic(self.critic, critic, batch.observations, batch.actions) - goal[None, :]
            parts = {
                "value_loss": jnp.mean(expectile_loss(gap, self.expectile)),
                "critic_loss": jnp.sum(jnp.mean(error**2, axis=1)),
                "actor_loss": -jnp.mean(weights * self.log_density(actor, log_std, batch)),
            }
            return sum(parts.values()), parts

        learned = (state.actor, state.log_std, state.critic, state.value)
        gradient, parts = jax.grad(loss, has_aux=True)(learned)
        updates, opt_state = optax.adam(self.learning_rate).update(gradient, state.opt_state, learned)
        after: Any = optax.apply_updates(learned, updates)
        actor, log_std, critic, value = after
        target = polyak_average(state.target_critic, critic, self.tau)
        return IQLState(actor, log_std, critic, value, target, opt_state), parts

    def state_values(self, params: Params, observations: jax.Array) -> jax.Array:
        """float32[B]."""
        return self.value.apply(params, observations)[..., 0]

    def log_density(self, actor: Params, log_std: jax.Array, batch: Transitions) -> jax.Array:
        """float32[B]: of the data's actions, under a Gaussian around the policy's action, or its softmax."""
        output = self.policy.apply(actor, batch.observations)
        return densities.log_density(self.policy, output, jnp.clip(log_std, *_LOG_STD), batch.actions)


def expectile_loss(gap: jax.Array, expectile: float) -> jax.Array:
    """|expectile - 1(gap < 0)| gap^2: its minimiser over v of gap = x - v is an expectile of x."""
    return jnp.where(gap < 0, 1 - expectile, expectile) * gap**2
