"""Proximal policy optimisation for one player, continuous and discrete actions, as an (init, update) pair.

One `update` is a scan over iterations of collecting and learning, followed by an evaluation; the best evaluated policy
is kept. Nothing else runs inside, so `jax.jit(ppo.update)` compiles once, and `jax.vmap` of both runs many seeds. The
loop over updates is the caller's. Actions are masked by the environment's `legal`, if it has one, wherever one is
chosen; parameters with a NaN are never the best ones, `metrics.not_finite` counts them, and
`core.trees.check_finite(ppo.actor_params(state), where)` stops the loop and names the first:

    ppo = PPO(env, INVERTED_PENDULUM)
    state, update = jax.jit(ppo.init)(key), jax.jit(ppo.update)
    for _ in range(ppo.config.updates):
        state, metrics = update(state)
    returns = rollout.evaluate(env, ppo.actor, ppo.stack(state.best.params), another_key, 100)

Shapes: `B` environments, `T` steps of an iteration, `M` rows of a minibatch, `A` dimensions of an action or actions.

Reference: Schulman et al., "Proximal policy optimization algorithms" (arXiv 1707.06347).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.envs.base import AnyEnv, ContinuousEnv, State
from jaxrl_suite.rl import densities, rollout
from jaxrl_suite.rl import running_statistics as statistics
from jaxrl_suite.rl.learners.actor_critic import ask, default_network
from jaxrl_suite.rl.learners.gae import gae
from jaxrl_suite.rl.learners.ppo_config import PPOConfig
from jaxrl_suite.rl.policies import Params, Policy
from jaxrl_suite.rl.running_statistics import Statistics


class ActorParams(NamedTuple):
    """Parameters that a trained policy needs to act."""

    statistics: Statistics  # of observations, which are normalised by them
    policy: Params  # of the actor-critic


class Best(NamedTuple):
    params: ActorParams
    score: jax.Array  # float32[], mean return in the evaluation that chose it, and so a little too high


class PPOState(NamedTuple):
    params: Params  # of the actor-critic
    opt_state: optax.OptState
    statistics: Statistics
    envs: State  # B states
    running: jax.Array  # float32[B], return of the unfinished episodes so far
    best: Best
    iteration: jax.Array  # int32[]
    key: jax.Array


class PPOMetrics(NamedTuple):
    """Of one update; means over its iterations."""

    score: jax.Array  # float32[], mean return of the evaluation after it
    episode_return: jax.Array  # float32[], mean over the training episodes that ended; NaN if none did
    policy_loss: jax.Array  # float32[]
    value_loss: jax.Array  # float32[]
    entropy: jax.Array  # float32[], of the action distribution, nats
    divergence: jax.Array  # float32[], estimate of KL(old || new)
    clipped: jax.Array  # float32[], share of ratios beyond the bound
    not_finite: jax.Array  # int32[], numbers of the policy after it that are NaN or infinite: stop if there are any


class PPOBatch(NamedTuple):
    """Rows of experience, of shape [T, B], later [M]."""

    observations: jax.Array  # [..., *shape], normalised
    actions: jax.Array  # float32[..., A] or int32[...]
    log_probs: jax.Array  # float32[...]
    values: jax.Array  # float32[...]
    advantages: jax.Array  # float32[...]
    legal: jax.Array | None  # bool[..., A], in an environment that has it


@dataclasses.dataclass(frozen=True)
class TrainedActor:
    """Acts with `ActorParams`: greedily, or by drawing from the policy's distribution."""

    policy: Policy
    sample: bool = False

    def __call__(
        self, params: ActorParams, observation: jax.Array, key: jax.Array, legal: jax.Array | None = None
    ) -> jax.Array:
        seen = statistics.normalise(params.statistics, observation)
        if self.sample:
            found = ask(self.policy, params.policy, seen)
            return densities.sample(self.policy, found.output, found.log_std, key, legal)
        return self.policy.act(params.policy, seen, legal)


@dataclasses.dataclass(frozen=True)
class PPO:
    """The algorithm for one environment.

    Args:
      env: of one player, with `max_turns`.
      config: the settings; `rl.ppo_config` has some that work.
      network: an actor-critic of the user's own, see `networks.apply`; by default perceptrons, or convolutions.

    Raises:
      UserError: if the environment has several players or no time limit.
    """

    env: Any
    config: PPOConfig
    network: nn.Module | None = None

    def __post_init__(self):
        rollout.time_limit(self.env)

    @property
    def policy(self) -> Policy:
        """The actor-critic, as the policy that it holds."""
        return _policy(self.env, self.config, self.network)

    @property
    def actor(self) -> TrainedActor:
        """Acts as in evaluation."""
        return TrainedActor(self.policy, sample=not self.config.greedy)

    def init(self, key: jax.Array) -> PPOState:
        """Fresh networks and environments; `key` is consumed."""
        network_key, env_key, key = jax.random.split(key, 3)
        policy = self.policy
        params = policy.init(network_key)
        seen = statistics.init(policy.observation_shape)
        return PPOState(
            params=params,
            opt_state=self._optimiser().init(params),
            statistics=seen,
            envs=jax.vmap(self.env.init)(jax.random.split(env_key, self.config.num_envs)),
            running=jnp.zeros(self.config.num_envs),
            best=Best(ActorParams(seen, params), jnp.float32(-jnp.inf)),
            iteration=jnp.int32(0),
            key=key,
        )

    def update(self, state: PPOState) -> tuple[PPOState, PPOMetrics]:
        """`config.chunk` iterations and an evaluation."""
        state, (losses, ended) = jax.lax.scan(lambda s, _: self._iterate(s), state, None, self.config.chunk)
        key, eval_key = jax.random.split(state.key)
        now = self.actor_params(state)
        score = jnp.mean(rollout.evaluate(self.env, self.actor, self.stack(now), eval_key, self.config.eval_episodes))
        bad = not_finite(now)
        better = (score > state.best.score) & (bad == 0)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), Best(now, score), state.best)
        total, count = (jnp.sum(part) for part in ended)
        means = [jnp.mean(loss) for loss in losses]
        metrics = PPOMetrics(score, total / count, *means, not_finite=bad)
        return state._replace(best=best, key=key), metrics

    def actor_params(self, state: PPOState) -> ActorParams:
        """Of the current policy; those of the best one are `state.best.params`."""
        return ActorParams(state.statistics, state.params)

    @staticmethod
    def stack(*params: ActorParams) -> ActorParams:
        """Parameters of several policies with a leading axis, as `rollout.evaluate` takes them."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)

    def _optimiser(self) -> optax.GradientTransformation:
        config = self.config
        rate = optax.linear_schedule(config.learning_rate, 0.0, config.iterations * config.epochs * config.minibatches)
        return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(rate, eps=1e-5))

    def _iterate(self, state: PPOState) -> tuple[PPOState, Any]:
        key, collect_key, learn_key = jax.random.split(state.key, 3)
        state, batch, raw, ended = self._collect(state, collect_key)
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
        optimiser, size = self._optimiser(), self.config.num_envs * self.config.unroll

        def minibatch(carry: tuple[Any, Any], index: jax.Array):
            params, opt_state = carry
            part = jax.tree.map(lambda leaf: leaf[index], rows)
            gradient, losses = jax.grad(self._loss, has_aux=True)(params, part)
            updates, opt_state = optimiser.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), losses

        def order(key: jax.Array) -> jax.Array:
            return jax.random.permutation(key, size).reshape(self.config.minibatches, -1)

        orders = jax.vmap(order)(jax.random.split(learn_key, self.config.epochs))
        orders = orders.reshape(-1, orders.shape[-1])
        (params, opt_state), losses = jax.lax.scan(minibatch, (state.params, state.opt_state), orders)
        seen = statistics.update(state.statistics, raw) if self.config.normalise else state.statistics
        state = state._replace(
            params=params, opt_state=opt_state, statistics=seen, iteration=state.iteration + 1, key=key
        )
        return state, ([jnp.mean(loss) for loss in losses], ended)

    def _collect(self, state: PPOState, key: jax.Array):
        """T steps of B environments: (state, Batch [T, B], raw observations, (sum, number) of returns that ended)."""
        config, env, policy = self.config, self.env, self.policy
        start_key, turn_key = jax.random.split(key)
        # Starts are made once for the iteration, as they can cost as much as a step. Environment i takes number i + t
        # at step t, so that one that ends twice starts anew.
        fresh = jax.vmap(env.init)(jax.random.split(start_key, config.num_envs))

        def observe(envs: State) -> jax.Array:
            return jax.vmap(lambda one: env.observe(one, 0))(envs)

        def turn(carry: tuple[State, jax.Array], inputs: tuple[jax.Array, jax.Array]):
            envs, running = carry
            number, turn_key = inputs
            act_key, step_key = jax.random.split(turn_key)
            raw = observe(envs)
            seen = statistics.normalise(state.statistics, raw)
            found = ask(policy, state.params, seen)
            legal = jax.vmap(lambda one: rollout.legal_actions(env, one))(envs)
            act_keys = jax.random.split(act_key, config.num_envs)
            actions = jax.vmap(lambda out, key, mask: densities.sample(policy, out, found.log_std, key, mask))(
                found.output, act_keys, legal
            )
            step_keys = jax.random.split(step_key, config.num_envs)
            after: Any = jax.vmap(lambda *row: rollout.step(env, *row)[0])(envs, actions, step_keys)
            over = after.terminated | after.truncated
            reward = after.reward[:, 0]
            running = running + reward
            ended = jnp.sum(jnp.where(over, running, 0.0)), jnp.sum(over)
            starts = jax.tree.map(lambda leaf: jnp.roll(leaf, -number, axis=0), fresh)
            following = jax.vmap(lambda o, new, old: jax.tree.map(lambda a, b: jnp.where(o, a, b), new, old))(
                over, starts, after
            )
            log_probs = densities.log_density(policy, found.output, found.log_std, actions, legal)
            row = (raw, seen, actions, legal, log_probs, reward, observe(after), after.terminated, after.truncated)
            return (following, jnp.where(over, 0.0, running)), (row, ended)

        turns = (jnp.arange(config.unroll), jax.random.split(turn_key, config.unroll))
        (envs, running), (row, ended) = jax.lax.scan(turn, (state.envs, state.running), turns)
        raw, seen, actions, legal, log_probs, rewards, after, terminated, truncated = row
        both = jnp.stack([seen, statistics.normalise(state.statistics, after)])
        values, next_values = ask(policy, state.params, both).values
        advantages = gae(
            config.reward_scale * rewards, values, next_values, terminated, truncated, config.discount, config.decay
        )
        batch = PPOBatch(seen, actions, log_probs, values, advantages, legal)
        return state._replace(envs=envs, running=running), batch, raw, ended

    def _loss(self, params: Params, batch: PPOBatch) -> tuple[jax.Array, list[jax.Array]]:
        config, policy = self.config, self.policy
        output, log_std, values = ask(policy, params, batch.observations)
        log_ratio = densities.log_density(policy, output, log_std, batch.actions, batch.legal) - batch.log_probs
        ratio = jnp.exp(log_ratio)
        spread = jnp.std(batch.advantages) + 1e-8
        advantages = (batch.advantages - jnp.mean(batch.advantages)) / spread
        bounded = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        policy_loss = -jnp.mean(jnp.minimum(ratio * advantages, bounded * advantages))
        targets = batch.values + batch.advantages
        errors = (values - targets) ** 2
        if config.value_clip is not None:
            held = batch.values + jnp.clip(values - batch.values, -config.value_clip, config.value_clip)
            errors = jnp.maximum(errors, (held - targets) ** 2)
        value_loss = 0.5 * jnp.mean(errors)
        entropy = jnp.mean(densities.entropy(policy, output, log_std, batch.legal))
        loss = policy_loss + config.value_weight * value_loss - config.entropy_weight * entropy
        clipped = jnp.mean((jnp.abs(ratio - 1) > config.clip).astype(jnp.float32))
        return loss, [policy_loss, value_loss, entropy, jnp.mean(ratio - 1 - log_ratio), clipped]


def not_finite(tree: Any) -> jax.Array:
    """int32[]: how many numbers of a tree are NaN or infinite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((jnp.sum(~jnp.isfinite(leaf)).astype(jnp.int32) for leaf in leaves), jnp.int32(0))


def _policy(env: AnyEnv, config: PPOConfig, network: nn.Module | None) -> Policy:
    discrete = not isinstance(env, ContinuousEnv)
    actions = env.num_actions if discrete else env.action_size
    shape = rollout.observation_spec(env).shape
    if network is None:
        network = default_network(shape, actions, discrete, config)
    return Policy(network, shape, actions, discrete)
