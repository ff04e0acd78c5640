"""TD3+BC: an actor that climbs the critic's values and stays near the actions of the data.

An update is `delay` steps of the critics and one of the actor.

Shapes: `B` rows of a mini-batch, `A` dimensions of an action.

Reference: Fujimoto and Gu, "A minimalist approach to offline reinforcement learning" (NeurIPS 2021), equations 3 and
5; Fujimoto, van Hoof and Meger (ICML 2018) for TD3.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.rl.datasets.transitions import Transitions
from jaxrl_suite.rl.learners.q_functions import TwinCritic, apply_critic, bootstrap, init_critic, polyak_average
from jaxrl_suite.rl.policies import Params, Policy, mlp_policy


class TD3BCState(NamedTuple):
    actor: Params
    critic: Params
    target_actor: Params
    target_critic: Params
    actor_opt_state: optax.OptState
    critic_opt_state: optax.OptState


@dataclasses.dataclass(frozen=True)
class TD3BC:
    """The learner, for continuous actions only; `policy` reads the actor's parameters.

    Args:
      observation_shape: (D,).
      actions: A; an action lies in [-1, 1].
      widths: of the hidden layers of actor and critics.
      alpha: weight of the values against imitation; 0 is behaviour cloning.
      discount: of the return.
      tau: Polyak rate of the target networks, at each step of the actor.
      noise: deviation of the noise on the target's action.
      noise_limit: it is cut there.
      delay: steps of the critics in an update.
      learning_rate: of Adam.
      batch: B.
      network: of the actor, a user's own in place of an `MLPPolicy` of these widths; see `networks.apply`.
    """

    observation_shape: tuple[int, ...]
    actions: int
    widths: tuple[int, ...] = (256, 256)
    alpha: float = 2.5
    discount: float = 0.99
    tau: float = 0.005
    noise: float = 0.2
    noise_limit: float = 0.5
    delay: int = 2
    learning_rate: float = 3e-4
    batch: int = 256
    network: nn.Module | None = None

    def __post_init__(self):
        check_ranges(self, alpha=(0, 1e6), discount=(0, 1), tau=(0, 1), noise=(0, 10), noise_limit=(0, 2))
        check_ranges(self, delay=(1, 1000), learning_rate=(0, 1), batch=(1, 1 << 24))

    @property
    def rows(self) -> tuple[int, ...]:
        return self.delay, self.batch

    @property
    def policy(self) -> Policy:
        if self.network is not None:
            return Policy(self.network, self.observation_shape, self.actions)
        return mlp_policy(self.observation_shape, self.actions, widths=self.widths)

    @property
    def critic(self) -> TwinCritic:
        return TwinCritic(self.actions, widths=self.widths)

    def init(self, key: jax.Array) -> TD3BCState:
        actor_key, critic_key = jax.random.split(key)
        actor, critic = self.policy.init(actor_key), init_critic(self.critic, critic_key, self.observation_shape)
        adam = optax.adam(self.learning_rate)
        return TD3BCState(actor, critic, actor, critic, adam.init(actor), adam.init(critic))

    def update(self, state: TD3BCState, batch: Transitions, key: jax.Array) -> tuple[TD3BCState, dict[str, jax.Array]]:
        """One update on a batch [delay, B, ...]; the actor learns from the last B rows."""

        def critic_step(carry: tuple[Params, Any], row: tuple[Transitions, jax.Array]):
            (critic, opt_state), (rows, key) = carry, row
            goal = self.targets(state, rows, key)
            loss, gradient = jax.value_and_grad(self.critic_loss)(critic, rows, goal)
            updates, opt_state = optax.adam(self.learning_rate).update(gradient, opt_state, critic)
            return (optax.apply_updates(critic, updates), opt_state), loss

        start = (state.critic, state.critic_opt_state)
        (critic, critic_opt_state), losses = jax.lax.scan(
            critic_step, start, (batch, jax.random.split(key, self.delay)), unroll=self.delay
        )
        last = Transitions(*(leaf[-1] for leaf in batch))
        (loss, aux), gradient = jax.value_and_grad(self.actor_loss, has_aux=True)(state.actor, critic, last)
        updates, actor_opt_state = optax.adam(self.learning_rate).update(gradient, state.actor_opt_state, state.actor)
        actor = optax.apply_updates(state.actor, updates)
        after = TD3BCState(
            actor=actor,
            critic=critic,
            target_actor=polyak_average(state.target_actor, actor, self.tau),
            target_critic=polyak_average(state.target_critic, critic, self.tau),
            actor_opt_state=actor_opt_state,
            critic_opt_state=critic_opt_state,
        )
        return after, {"critic_loss": jnp.mean(losses), "actor_loss": loss, **aux}

    def targets(self, state: TD3BCState, batch: Transitions, key: jax.Array) -> jax.Array:
        """float32[B]: r + discount (1 - terminal) min Q'(s', a'), a' the target's action with cut noise."""
        noise = jnp.clip(self.noise * jax.random.normal(key, batch.actions.shape), -self.noise_limit, self.noise_limit)
        action = jnp.clip(self.policy.apply(state.target_actor, batch.next_observations) + noise, -1.0, 1.0)
        values = apply_critic(self.critic, state.target_critic, batch.next_observations, action)
        return bootstrap(batch.rewards, batch.terminals, jnp.min(values, axis=0), self.discount)

    def critic_loss(self, critic: Params, batch: Transitions, targets: jax.Array) -> jax.Array:
        """float32[]: mean squared error of both critics, added."""
        values = apply_critic(self.critic, critic, batch.observations, batch.actions)
        return jnp.sum(jnp.mean((values - targets[None, :]) ** 2, axis=1))

    def actor_loss(self, actor: Params, critic: Params, batch: Transitions) -> tuple[jax.Array, dict[str, jax.Array]]:
        """float32[]: imitation less the first critic's values, scaled by alpha / mean |Q|."""
        action = self.policy.apply(actor, batch.observations)
        values = apply_critic(self.critic, critic, batch.observations, action)[0]
        imitation = jnp.mean((action - batch.actions) ** 2)
        scale = self.alpha / jnp.maximum(jnp.mean(jnp.abs(jax.lax.stop_gradient(values))), 1e-8)
        return imitation - scale * jnp.mean(values), {"imitation": imitation, "value": jnp.mean(values)}
