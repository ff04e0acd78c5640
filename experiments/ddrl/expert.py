"""An expert by PPO for an environment that comes with none, and the levels of data that its training leaves.

Shapes: `C` checkpoints of training.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite import envs
from jaxrl_suite.core.run import Run
from jaxrl_suite.core.trees import check_finite
from jaxrl_suite.distill.task import Teacher, make_teacher
from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.ddrl.config import Config
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.datasets.collection import (
    Behaviour,
    Teachers,
    collect_data,
    level_behaviours,
    medium_checkpoint,
    references,
)
from jaxrl_suite.rl.datasets.offline import OfflineData
from jaxrl_suite.rl.datasets.scores import Reference
from jaxrl_suite.rl.learners.ppo import PPO, ActorParams
from jaxrl_suite.rl.learners.ppo_config import INVERTED_PENDULUM, PPOConfig

# Sized for an accelerator, in the range of the settings that are published for Brax; not tuned here.
LOCOMOTION = PPOConfig(
    num_envs=2048, unroll=20, iterations=1200, chunk=40, epochs=8, minibatches=32, learning_rate=3e-4, discount=0.97,
    entropy_weight=1e-3, reward_scale=0.1, widths=(256, 256, 256), eval_episodes=64,
)  # fmt: skip
_EPISODES = 64  # of a data set
_JUDGED = 128  # episodes behind a reference score


class Trained(NamedTuple):
    """PPO's result for one environment."""

    learner: PPO
    expert: ActorParams  # the best checkpoint
    checkpoints: ActorParams  # of numpy, leading axis C, in the order of training
    returns: np.ndarray  # float64[C]
    reference: Reference
    expert_return: float  # over episodes that did not choose it


def train_expert(config: Config, run: Run, environment: str) -> Trained:
    """Trains in a loop that can be resumed, and measures the reference scores."""
    settings = INVERTED_PENDULUM if environment == "mujoco/inverted_pendulum" else LOCOMOTION
    if iterations := config.mujoco.expert_iterations:
        chunk = min(settings.chunk, iterations)
        settings = dataclasses.replace(settings, iterations=iterations // chunk * chunk, chunk=chunk)
    env = envs.make(environment)
    learner = PPO(env, settings)
    train_key, judge_key, test_key = jax.random.split(jax.random.key(config.data_seed), 3)
    state = learner.init(train_key)
    checkpoints = jax.tree.map(
        lambda leaf: np.zeros((settings.updates, *leaf.shape), leaf.dtype), learner.actor_params(state)
    )
    carry = (state, checkpoints, np.full(settings.updates, np.nan))
    slug = environment.replace("/", "-")
    loop = run.chunks(settings.updates, carry, f"{environment}: PPO", name=f"{slug}-expert")
    update: Any = None
    for at in loop:
        state, checkpoints, returns = loop.carry
        if update is None:
            update = run.compile(learner.update, state, name=f"PPO on {environment}")
        state, metrics = update(state)
        check_finite(learner.actor_params(state), f"PPO on {environment}, update {at + 1}")
        for leaf, row in zip(jax.tree.leaves(checkpoints), jax.tree.leaves(learner.actor_params(state)), strict=True):
            leaf[at] = np.asarray(row)
        returns[at] = float(metrics.score)
        loop.carry = state, checkpoints, returns
        run.log(task=environment, expert_return=returns[at], episode_return=float(metrics.episode_return))
    state, checkpoints, returns = loop.carry
    steps = settings.chunk * settings.num_envs * settings.unroll
    run.throughput(f"steps of {environment} under PPO", loop.total * steps, loop.seconds)
    expert = state.best.params
    reached = float(rollout.evaluate(env, learner.actor, learner.stack(expert), test_key, _JUDGED).mean())
    reference = references(env, judge_key, actor=learner.actor, params=expert, episodes=_JUDGED)
    run.text(
        f"The expert is PPO's best checkpoint: return {reached:,.1f} over {_JUDGED} new episodes, where random actions "
        f"reach {reference.ref_min_score:,.1f}.",
        f"Expert on {environment}",
    )
    return Trained(learner, expert, checkpoints, returns, reference, reached)


def collect_level(trained: Trained, environment: str, level: str, noise: float, key: jax.Array) -> OfflineData:
    """Data of one level: D4RL's, or the expert from faultless to a share of `noise` random actions."""
    learner, expert = trained.learner, trained.expert
    if level == "noisy-expert":
        behaviours: Any = [Behaviour("expert", learner.actor, expert, _EPISODES, (0.0, noise))]
    else:
        behaviours = level_behaviours(level, _teachers(trained), learner.env, _EPISODES)  # pyright: ignore[reportArgumentType]
    return collect_data(learner.env, behaviours, key, name=environment, reference=trained.reference)


def teacher_of(trained: Trained) -> Teacher:
    """The expert's actions, within the bounds that students can answer."""
    learner, expert = trained.learner, trained.expert
    answer = jax.jit(jax.vmap(lambda x: jnp.clip(learner.actor(expert, x, jax.random.key(0)), -1, 1)))
    return make_teacher(answer)


def _teachers(trained: Trained) -> Teachers:
    """The medium policy is the first checkpoint at a third of the expert's score; replay ends there."""
    try:
        at = medium_checkpoint(trained.returns, trained.reference)
    except UserError:
        raise UserError("PPO did not reach a third of its best: raise mujoco.expert_iterations") from None
    medium = jax.tree.map(lambda leaf: leaf[at], trained.checkpoints)
    replay = jax.tree.map(lambda leaf: leaf[: at + 1], trained.checkpoints)
    return Teachers(trained.learner.actor, trained.expert, medium, replay)
