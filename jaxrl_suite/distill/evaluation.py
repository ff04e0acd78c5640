"""What a set is worth: returns of fresh students trained on it, across architectures and optimisers, with intervals.

Shapes: `S` students, `E` episodes, `N` pairs, `D` sets (distillation seeds).

Reference: the protocol of Lei, Zhang and Tao, "Offline behavior distillation", NeurIPS 2024, section 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import stats
from jaxrl_suite.distill.pairs import Imitation, Pairs
from jaxrl_suite.distill.students import train_students
from jaxrl_suite.envs.base import AnyEnv
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.actors import Actor, Scaled, ScaledActor, student_actor
from jaxrl_suite.rl.datasets.offline import Metadata
from jaxrl_suite.rl.datasets.scores import Reference, normalised_score
from jaxrl_suite.rl.datasets.transitions import Scaling
from jaxrl_suite.rl.learners.cloning import RECIPES, Recipe
from jaxrl_suite.rl.policies import CNN, MLP


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a set is judged.

    Args:
      students: S, trained on each set.
      episodes: E, played by each.
      sample: whether discrete actions are sampled.
      ensembles: 0, or the number of members of ensembles made of the S students, which it must divide.
    """

    students: int = 8
    episodes: int = 16
    sample: bool = False
    ensembles: int = 0

    def __post_init__(self):
        if self.students < 1 or self.episodes < 1:
            raise UserError(f"students and episodes must be at least 1, got {self.students} and {self.episodes}")
        if self.ensembles < 0 or (self.ensembles and self.students % self.ensembles):
            raise UserError(f"ensembles of {self.ensembles} cannot be made of {self.students} students: use a divisor")


def student_scores(
    env: AnyEnv,
    imitation: Imitation,
    recipe: Recipe,
    pairs: Pairs,
    key: jax.Array,
    reference: Reference | Metadata,
    *,
    protocol: Protocol | None = None,
    scaling: Scaling | None = None,
    rate: jax.Array | None = None,
) -> np.ndarray:
    """Normalised scores of fresh students trained on a set.

    Args:
      env: where they act.
      imitation: the student.
      recipe: its training.
      pairs: the set, with observations as students read them.
      key: of the students and of the episodes; sets that are compared get the same one.
      reference: what 0 and 100 are.
      protocol: numbers of students and episodes; the defaults of `Protocol` if None.
      scaling: of the environment's observations into those of the set; None if they are the same.
      rate: step size in place of the recipe's.

    Returns:
      float64[S, E], or float64[S / ensembles, E] of ensembles.
    """
    how = protocol or Protocol()
    train_key, play_key = jax.random.split(key)
    params = train_students(imitation, recipe, pairs, jax.random.split(train_key, how.students), rate)
    if how.ensembles:
        params = jax.tree.map(lambda leaf: leaf.reshape(-1, how.ensembles, *leaf.shape[1:]), params)
    actor: Actor = student_actor(imitation.policy, ensemble=how.ensembles > 0, sample=how.sample)
    if scaling is not None:
        many = how.students // (how.ensembles or 1)
        mean, std = (jnp.broadcast_to(jnp.asarray(leaf), (many, *leaf.shape)) for leaf in scaling)
        params, actor = Scaled(params, mean, std), ScaledActor(actor)
    return normalised_score(rollout.evaluate(env, actor, params, play_key, how.episodes), reference)


def score_table(
    env: AnyEnv,
    imitations: Mapping[str, Imitation],
    pairs: Pairs,
    key: jax.Array,
    reference: Reference | Metadata,
    *,
    recipes: Mapping[str, Recipe] | None = None,
    protocol: Protocol | None = None,
    scaling: Scaling | None = None,
) -> list[dict[str, Any]]:
    """One row for each architecture and optimiser: interquartile mean over students and its interval.

    Args:
      imitations: students by name, for instance from `architectures`.
      recipes: `rl.cloning.RECIPES` by default.
      env, pairs, key, reference, protocol, scaling: as in `student_scores`.
    """
    rows = []
    for name, imitation in imitations.items():
        for label, recipe in (recipes or RECIPES).items():
            scores = student_scores(
                env, imitation, recipe, pairs, key, reference, protocol=protocol, scaling=scaling
            ).mean(axis=1)
            rows.append({"student": name, "recipe": label, **summary(scores)})
    return rows


def summary(scores: np.ndarray) -> dict[str, float]:
    """Mean, deviation, interquartile mean and its 95 % bootstrap interval of scores over students.

    Args:
      scores: float[S], or float[S, D]: students by distillation seeds; resampling is within each seed.
    """
    interval = stats.bootstrap_interval(scores)
    return {
        "mean": float(np.mean(scores)),
        "deviation": float(np.std(scores, ddof=1)),
        "iqm": interval.estimate,
        "low": interval.low,
        "high": interval.high,
    }


def architectures(imitation: Imitation) -> dict[str, Imitation]:
    """The student and others: for an MLP of 2 to 6 layers, half and double width, tanh; for a CNN wider and deeper."""
    policy = imitation.policy
    changed: dict[str, Any] = {"same": policy}
    if isinstance(policy, MLP):
        width = policy.widths[0] if policy.widths else 64
        for depth in (1, 2, 3, 4, 5):
            changed[f"{depth + 1} layers"] = dataclasses.replace(policy, widths=(width,) * depth)
        changed["half width"] = dataclasses.replace(policy, widths=tuple(max(1, w // 2) for w in policy.widths))
        changed["double width"] = dataclasses.replace(policy, widths=tuple(2 * w for w in policy.widths))
        other = "tanh" if policy.activation == "relu" else "relu"
        changed[other] = dataclasses.replace(policy, activation=other)
    elif isinstance(policy, CNN):
        changed["double width"] = dataclasses.replace(policy, channels=tuple(2 * c for c in policy.channels))
        changed["deeper"] = dataclasses.replace(policy, widths=(*policy.widths, 64))
    seen: dict[Any, str] = {}
    for name, candidate in changed.items():
        seen.setdefault(candidate, name)
    return {name: dataclasses.replace(imitation, policy=candidate) for candidate, name in seen.items()}
