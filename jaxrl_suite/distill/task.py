"""Tasks: offline data with an environment, a teacher and a student, all that is fixed before a pair is distilled.

A teacher is a function that answers observations, by which real pairs are labelled.

Example:
    task = make_task(data, env, keys=jax.random.split(jax.random.key(0)))
    real, held_out = task.answered(), task.answered(held_out=True)

Shapes: `M` pairs, `A` action dimensions or actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.distill.pairs import Imitation, Pairs, make_pairs
from jaxrl_suite.envs.base import AnyEnv
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.episodes import episodes, split_episodes, take_episodes
from jaxrl_suite.rl.datasets.offline import OfflineData
from jaxrl_suite.rl.datasets.scores import Reference, normalised_score
from jaxrl_suite.rl.datasets.transitions import Scaling, scaling
from jaxrl_suite.rl.policies import Policy, mlp_policy

# Observations [M, ...] in the environment's units -> float[M, A]: actions, or probabilities of the actions.
Teacher: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """A task that sets are distilled from, and how the students that they train are judged."""

    arenas: Mapping[str, AnyEnv]  # label to environment; the first is the data's own
    data: OfflineData  # to distil from
    held_out: OfflineData  # other episodes
    scaling: Scaling  # of observations, for students
    imitation: Imitation  # the student
    teacher: Teacher
    reference: Reference  # returns of random actions and of the expert

    @property
    def discrete(self) -> bool:
        """True if actions are discrete."""
        return self.imitation.policy.discrete

    def pairs(self, observations: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> Pairs:
        """Pairs as students read them, from observations in the environment's units."""
        return make_pairs(self.imitation.policy, self.scaling(observations), targets, weights)

    def recorded(self, weights: np.ndarray | None = None) -> Pairs:
        """The data's pairs with the recorded actions."""
        return self.pairs(self.data.observations, self.data.actions, weights)

    def answered(self, weights: np.ndarray | None = None, *, held_out: bool = False) -> Pairs:
        """The data's pairs, or those of the held-out episodes, with the teacher's answers."""
        observations = (self.held_out if held_out else self.data).observations
        return self.pairs(observations, self.teacher(observations), weights)

    def score(self, returns: np.ndarray) -> np.ndarray:
        """Normalised scores of returns, 0 for random actions and 100 for the expert."""
        return normalised_score(returns, self.reference)


def make_task(
    data: OfflineData,
    env: AnyEnv,
    teacher: Teacher | None = None,
    *,
    keys: jax.Array,
    held_out: float = 0.1,
    imitation: Imitation | None = None,
    reference: Reference | None = None,
    scale: Scaling | None = None,
    arenas: Mapping[str, AnyEnv] | None = None,
) -> Task:
    """A task from offline data.

    Args:
      data: of `env`, in its units.
      env: where students act.
      teacher: what answers observations; the environment's own expert by default.
      keys: [2], of the order of the episodes, so that a tie of returns is not decided by when they were recorded, and
        of which of them are held out.
      held_out: share of the episodes that sets are judged by and not made from.
      imitation: the student; a network of two hidden layers of 64 by default.
      reference: returns that scores are measured against; by default those of the data's metadata, or else the
        environment's own.
      scale: of observations; by default mean and deviation of the data that are distilled, and none for images.
      arenas: where students are judged, by label; in `env` alone by default.

    Raises:
      UserError: if there is no reference or no teacher, or too few episodes to hold some out.
    """
    order_key, split_key = keys
    order = np.asarray(jax.random.permutation(order_key, len(episodes(data).starts)))
    train, other = split_episodes(take_episodes(data, order), split_key, held_out)
    images = train.observations.ndim > 2
    return Task(
        arenas=arenas or {"": env},
        data=train,
        held_out=other,
        scaling=scale or (no_scaling(train.observations) if images else scaling(train.observations)),
        imitation=imitation or Imitation(_student(data)),
        teacher=teacher or own_teacher(env),
        reference=reference or _reference(data, env),
    )


def make_teacher(answer: Callable[[jax.Array], jax.Array], *, block: int = 4096) -> Teacher:
    """A teacher that answers rows in blocks of one size, so that there is one program.

    Args:
      answer: observations [block, ...] -> float[block, A].
      block: rows of a call.
    """

    def teach(observations: np.ndarray) -> np.ndarray:
        padded = np.concatenate([observations, np.repeat(observations[-1:], -len(observations) % block, axis=0)])
        parts = [np.asarray(answer(jnp.asarray(padded[i : i + block]))) for i in range(0, len(padded), block)]
        return np.concatenate(parts)[: len(observations)]

    return teach


def own_teacher(env: AnyEnv) -> Teacher:
    """An environment's own expert: its actions, or equal probabilities of all that are optimal.

    Raises:
      UserError: if it has none.
    """
    if optimal := getattr(env, "optimal_actions", None):

        def answer(x: jax.Array) -> jax.Array:
            good = jax.vmap(optimal)(x).astype(jnp.float32)
            return good / jnp.maximum(jnp.sum(good, axis=-1, keepdims=True), 1.0)
    elif expert := getattr(env, "expert", None):
        answer = jax.vmap(expert)
    else:
        raise UserError(f"{type(env).__name__} has no expert of its own: give a teacher, see distill.make_teacher")
    return make_teacher(jax.jit(answer))


def no_scaling(observations: np.ndarray) -> Scaling:
    """The scaling of observations [M, ...] that are read as they are, such as images of 0 and 1."""
    shape = observations.shape[1:]
    return Scaling(np.zeros(shape, np.float32), np.ones(shape, np.float32))


def _student(data: OfflineData) -> Policy:
    actions = data.num_actions if data.discrete else data.actions.shape[1]
    return mlp_policy(data.observations.shape[1:], actions, data.discrete)


def _reference(data: OfflineData, env: AnyEnv) -> Reference:
    known = data.metadata
    if known.ref_min_score is not None and known.ref_max_score is not None:
        return Reference(known.ref_min_score, known.ref_max_score)
    if (scores := getattr(env, "reference_scores", None)) is None:
        raise UserError("neither the data nor the environment know the returns of 0 and 100: give a reference")
    return Reference(*scores)
