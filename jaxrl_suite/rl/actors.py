"""Actors: how one observation becomes an action. Frozen and hashable, so that a rollout compiles once for each.

An actor is called as `actor(params, observation, key)` with one observation of one player and answers int32[] for
discrete actions, float32[A] for continuous ones. Actors without parameters ignore `params`; pass None. In an
environment with `legal` an actor that has an argument of that name gets the mask bool[A]; what any actor answers is
checked by whoever plays it.

Shapes: `A` dimensions of an action, or actions.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import AnyEnv, ContinuousEnv
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl import discrete
from jaxrl_suite.rl.policies import Params, Policy


class Actor(Protocol):
    """Must be hashable."""

    def __call__(self, params: Params, observation: jax.Array, key: jax.Array) -> jax.Array:
        """int32[] or float32[A]; `key` is consumed. An argument `legal` bool[A], with None as default, may be added."""
        ...


def act(actor: Any, params: Params, observation: jax.Array, key: jax.Array, legal: jax.Array | None) -> jax.Array:
    """The actor's action; it gets `legal` where there is a mask, and the actor has such an argument."""
    if legal is None or "legal" not in inspect.signature(actor).parameters:
        return actor(params, observation, key)
    return actor(params, observation, key, legal=legal)


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The action that a policy takes: the output of a continuous one, the largest logit of a discrete one."""

    policy: Policy

    def __call__(
        self, params: Params, observation: jax.Array, key: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        del key
        return self.policy.act(params, observation, legal)


@dataclasses.dataclass(frozen=True)
class Sampled:
    """An action drawn from the softmax of a discrete policy's logits.

    Raises:
      UserError: if the policy is continuous.
    """

    policy: Policy

    def __post_init__(self):
        if not self.policy.discrete:
            raise UserError("a continuous policy has no softmax to draw from: use Greedy, and Noisy around it")

    def __call__(
        self, params: Params, observation: jax.Array, key: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        return discrete.draw(key, self.policy.apply(params, observation), legal)


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """The action of several policies together; their parameters have a leading axis of members.

    Args:
      policy: the network of each; its outputs (actions, or log-probabilities) are averaged.
      sample: whether a discrete action is drawn from the averaged probabilities, and not the largest taken.

    Raises:
      UserError: if a continuous policy is to be sampled.
    """

    policy: Policy
    sample: bool = False

    def __post_init__(self):
        if self.sample and not self.policy.discrete:
            raise UserError("only discrete actions are sampled: leave sample out")

    def __call__(
        self, params: Params, observation: jax.Array, key: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        out = jax.vmap(self.policy.apply, (0, None))(params, observation)
        if not self.policy.discrete:
            return jnp.mean(out, axis=0)
        mean = jnp.mean(jax.nn.log_softmax(discrete.mask(out, legal)), axis=0)
        return discrete.draw(key, mean, legal) if self.sample else discrete.most_likely(mean, legal)


def student_actor(policy: Policy, *, ensemble: bool = False, sample: bool = False) -> Actor:
    """`Ensemble`, `Sampled` or `Greedy`, as asked."""
    if ensemble:
        return Ensemble(policy, sample)
    return Sampled(policy) if sample else Greedy(policy)


class Scaled(NamedTuple):
    """Parameters of a policy with the scaling of the observations that it reads."""

    params: Params
    mean: jax.Array  # float32[*observation_shape]
    std: jax.Array  # float32[*observation_shape]


@dataclasses.dataclass(frozen=True)
class ScaledActor:
    """An actor whose observations are scaled first; its parameters are a `Scaled`."""

    actor: Actor

    def __call__(
        self, params: Scaled, observation: jax.Array, key: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        return act(self.actor, params.params, (observation - params.mean) / params.std, key, legal)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniformly random actions: any of the legal discrete ones, or each dimension in [-1, 1]."""

    env: AnyEnv

    def __call__(
        self, params: Params, observation: jax.Array, key: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        del params, observation
        if isinstance(self.env, ContinuousEnv):
            return jax.random.uniform(key, (self.env.action_size,), minval=-1.0, maxval=1.0)
        if legal is None:
            if hasattr(self.env, "legal"):
                raise UserError(f"{type(self.env).__name__} has legal actions: pass legal, or play by rl.rollout")
            return jax.random.randint(key, (), 0, self.env.num_actions)
        return discrete.draw(key, jnp.zeros(legal.shape), legal)


@dataclasses.dataclass(frozen=True)
class Expert:
    """The expert that an environment comes with.

    Raises:
      UserError: if it has none.
    """

    env: Any

    def __post_init__(self):
        if not hasattr(self.env, "expert"):
            raise UserError(f"{type(self.env).__name__} has no expert of its own: train one, for instance with PPO")

    def __call__(self, params: Params, observation: jax.Array, key: jax.Array) -> jax.Array:
        del params, key
        return self.env.expert(observation)


@dataclasses.dataclass(frozen=True)
class Noisy:
    """Another actor, each of whose actions is replaced by a uniformly random one with probability `rate`.

    Args:
      actor: the other one.
      env: for random actions.
      rate: the probability; with None the parameters are (rate, those of the other actor), so that episodes of
        different rates are one program.

    Raises:
      UserError: unless the rate lies in [0, 1].
    """

    actor: Actor
    env: AnyEnv
    rate: float | None = None

    def __post_init__(self):
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise UserError(f"rate must be 0 to 1, got {self.rate}")

    def __call__(
        self, params: Params, observation: jax.Array, key: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        rate, inner = params if self.rate is None else (self.rate, params)
        coin_key, noise_key, actor_key = jax.random.split(key, 3)
        noise = Uniform(self.env)(None, observation, noise_key, legal)
        chosen = act(self.actor, inner, observation, actor_key, legal)
        return jnp.where(jax.random.uniform(coin_key) < rate, noise, chosen)
