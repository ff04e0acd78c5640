"""Offline data collected from mixtures of policies, and D4RL's five levels in terms of given policies.

Reference scores go into the metadata: the environment's own if it has them, else measured with its random and its
expert policy, because D4RL's published ones hold for gym-MuJoCo alone.

Shapes: `E` episodes, `C` checkpoints of a training run.

Reference: Fu et al., "D4RL" (arXiv 2004.07219), section 5 (levels of the locomotion data).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.base import AnyEnv, ContinuousEnv
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.actors import Actor, Expert, Noisy, Uniform
from jaxrl_suite.rl.datasets.offline import Metadata, OfflineData, make_data
from jaxrl_suite.rl.datasets.scores import Reference
from jaxrl_suite.rl.policies import Params

Level = Literal["random", "medium", "medium-replay", "medium-expert", "expert"]
LEVELS: tuple[Level, ...] = ("random", "medium", "medium-replay", "medium-expert", "expert")
MEDIUM = 1 / 3  # of the expert's normalised score, as in D4RL


class Behaviour(NamedTuple):
    """A policy and how much of the data comes from it."""

    name: str
    actor: Actor
    params: Params  # of one policy; None for an actor without any
    episodes: int
    noise: tuple[float, float] = (0.0, 0.0)  # chance that an action is replaced by a random one, from first to last


class Teachers(NamedTuple):
    """Policies of one actor, of which the levels are made."""

    actor: Actor
    expert: Params
    medium: Params = None
    checkpoints: Params = None  # with a leading axis C, from the start of training up to the medium policy


def collect_data(
    env: AnyEnv,
    behaviours: Sequence[Behaviour],
    key: jax.Array,
    *,
    name: str,
    reference: Reference,
    max_turns: int | None = None,
    batch: int = 64,
) -> OfflineData:
    """Whole episodes of each behaviour, one after the other, with the observations that followed.

    `extra` says for each episode which behaviour it is of (`episodes/behaviour`, a number) and how noisy it was
    (`episodes/noise`); noise rises evenly from the first episode of a behaviour to its last.

    Args:
      env: of one player; hashable.
      behaviours: at least one.
      key: consumed.
      name: of the environment, for the metadata.
      reference: scores for the metadata, see `references`.
      max_turns: steps of an episode at most; the environment's own limit by default.
      batch: episodes that are played at once.

    Raises:
      UserError: if there is no behaviour, or one has no episode or a noise outside [0, 1].
    """
    if not behaviours or batch < 1:
        raise UserError("collection needs at least one behaviour and a batch of at least 1")
    parts, noises, owners = [], [], []
    for number, behaviour in enumerate(behaviours):
        low, high = behaviour.noise
        if behaviour.episodes < 1 or not 0 <= low <= high <= 1:
            raise UserError(f"{behaviour.name}: episodes must be at least 1 and noise rise within [0, 1]")
        rates = np.linspace(low, high, behaviour.episodes, dtype=np.float32)
        keys = jax.random.split(jax.random.fold_in(key, number), behaviour.episodes)
        for start in range(0, behaviour.episodes, batch):
            # A last, smaller batch is filled up with its first episode, so that there is one program to compile.
            rows = np.arange(start, start + batch)
            rows[rows >= behaviour.episodes] = start
            played = _play(env, behaviour.actor, behaviour.params, rates[rows], keys[rows], max_turns)
            rollout.check_played(played)
            wanted = min(batch, behaviour.episodes - start)
            parts.append(rollout.flatten(jax.tree.map(lambda leaf, wanted=wanted: leaf[:wanted], played)))
        noises.append(rates)
        owners.append(np.full(behaviour.episodes, number))
    arrays = {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
    metadata = Metadata(
        env=name,
        backend=str(getattr(env, "backend", "") or ""),
        teacher=", ".join(f"{b.episodes} {b.name}{_noise_text(b.noise)}" for b in behaviours),
        ref_min_score=reference.ref_min_score,
        ref_max_score=reference.ref_max_score,
        num_actions=None if isinstance(env, ContinuousEnv) else env.num_actions,
    )
    extra = {"episodes/behaviour": np.concatenate(owners), "episodes/noise": np.concatenate(noises)}
    return make_data(arrays, metadata, extra=extra, source=name)


def level_behaviours(level: Level, teachers: Teachers, env: AnyEnv, episodes: int) -> tuple[Behaviour, ...]:
    """D4RL's levels: who plays how many of the episodes.

    Args:
      level: `medium-expert` has as many episodes of either; `medium-replay` as many of each checkpoint, which stands
        for the replay buffer of training up to the medium policy.
      teachers: the policies that the level needs.
      env: for random actions.
      episodes: E; of mixtures, divided as evenly as it goes.

    Raises:
      UserError: if there is no such level, or its policies are not there.
    """
    if level not in LEVELS:
        raise UserError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    if level == "random":
        return (Behaviour("random", Uniform(env), None, episodes),)
    if level == "expert":
        return (Behaviour("expert", teachers.actor, teachers.expert, episodes),)
    if level == "medium-replay":
        if teachers.checkpoints is None:
            raise UserError("medium-replay needs checkpoints of training: keep some, up to the medium policy")
        every = jax.tree.leaves(teachers.checkpoints)[0].shape[0]
        count = min(episodes, every)
        # Fewer episodes than checkpoints: evenly spaced ones, the last always among them.
        checkpoints = np.linspace(every - 1, 0, count).round().astype(int)[::-1]
        shares = _shares(episodes, count)
        return tuple(
            Behaviour(
                f"checkpoint {c}", teachers.actor, jax.tree.map(lambda leaf, c=c: leaf[c], teachers.checkpoints), n
            )
            for c, n in zip(checkpoints.tolist(), shares, strict=True)
        )
    if teachers.medium is None:
        raise UserError(f"{level} needs a medium policy: see medium_checkpoint")
    if level == "medium":
        return (Behaviour("medium", teachers.actor, teachers.medium, episodes),)
    medium, expert = _shares(episodes, 2)
    return (
        Behaviour("medium", teachers.actor, teachers.medium, medium),
        Behaviour("expert", teachers.actor, teachers.expert, expert),
    )


def medium_checkpoint(returns: np.ndarray, reference: Reference, target: float = MEDIUM) -> int:
    """The first checkpoint whose return reaches `target` of the way from random to expert.

    Args:
      returns: float[C], mean returns in the order of training.
      reference: scores of random actions and of the expert.
      target: share of the way.

    Raises:
      UserError: if none reaches it.
    """
    low, high = reference
    reached = np.flatnonzero((np.asarray(returns) - low) / (high - low) >= target)
    if not len(reached):
        raise UserError(f"no checkpoint reaches {target:.0%} of the expert's score: train longer, or keep more of them")
    return int(reached[0])


def references(
    env: AnyEnv, key: jax.Array, *, actor: Actor | None = None, params: Params = None, episodes: int = 256
) -> Reference:
    """The environment's own reference scores, or else the mean returns of random actions and of an expert.

    Args:
      env: of one player.
      key: consumed.
      actor: the expert; measured, even if the environment has scores of its own. By default the environment's.
      params: of the expert.
      episodes: to measure with.
    """
    if actor is None and (own := getattr(env, "reference_scores", None)) is not None:
        return Reference(*(float(score) for score in own))
    expert = actor or Expert(env)
    stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params)
    low = rollout.evaluate(env, Uniform(env), None, key, episodes)
    return Reference(float(low.mean()), float(rollout.evaluate(env, expert, stacked, key, episodes).mean()))


def noisy_expert_data(
    env: Any, key: jax.Array, *, name: str, episodes: int = 64, noise: tuple[float, float] = (0.0, 0.5)
) -> OfflineData:
    """Episodes of the environment's own expert, from faultless to half of its actions random; 64 by default.

    On the pendulum these are 12,800 transitions, the data that distillation is tried on.
    """
    reference_key, key = jax.random.split(key)
    return collect_data(
        env,
        [Behaviour("expert", Expert(env), None, episodes, noise)],
        key,
        name=name,
        reference=references(env, reference_key),
    )


@functools.partial(jax.jit, static_argnames=("env", "actor", "max_turns"))
def _play(
    env: AnyEnv, actor: Actor, params: Params, rates: jax.Array, keys: jax.Array, max_turns: int | None
) -> rollout.Trajectories:
    noisy = Noisy(actor, env)

    def episode(rate: jax.Array, key: jax.Array) -> rollout.Trajectories:
        played = rollout.collect(env, noisy, (rate, params), key, 1, max_turns=max_turns)
        return jax.tree.map(lambda leaf: leaf[0], played)

    return jax.vmap(episode)(rates, keys)


def _shares(total: int, count: int) -> list[int]:
    if total < count:
        raise UserError(f"{total} episodes cannot be shared by {count} policies: collect more")
    return [total // count + (part < total % count) for part in range(count)]


def _noise_text(noise: tuple[float, float]) -> str:
    low, high = noise
    return "" if high == 0 else f" with {low:.0%} to {high:.0%} random actions"
