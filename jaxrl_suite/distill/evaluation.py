"""Scores of a set: of fresh students trained on it, across architectures and optimisers, with intervals.

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
from jaxrl_suite.distill.scorer import Protocol, Scorer
from jaxrl_suite.distill.task import Task
from jaxrl_suite.envs.base import AnyEnv
from jaxrl_suite.rl.datasets.offline import Metadata
from jaxrl_suite.rl.datasets.scores import Reference, normalised_score
from jaxrl_suite.rl.datasets.transitions import Scaling
from jaxrl_suite.rl.learners.cloning import RECIPES, Recipe
from jaxrl_suite.rl.policies import ConvPolicy, MLPPolicy


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
    learning_rate: jax.Array | None = None,
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
      learning_rate: in place of the recipe's.

    Returns:
      float64[S, E], or float64[S / ensembles, E] of ensembles.
    """
    scorer = Scorer(imitation, (env,), key, protocol or Protocol(), scaling=scaling)
    sets = Pairs(*(jnp.asarray(leaf)[None] for leaf in pairs))
    learning_rates = None if learning_rate is None else jnp.asarray(learning_rate)[None]
    params = scorer.students(recipe, sets, learning_rates=learning_rates)
    returns = scorer.play(params, ensembles=scorer.protocol.ensembles, by_episode=True)
    return normalised_score(returns[0, :, 0], reference)


def score_table(
    task: Task, scorer: Scorer, pairs: Pairs, *, recipes: Mapping[str, Recipe] | None = None
) -> list[dict[str, Any]]:
    """One row for each architecture and optimiser: interquartile mean over students and its interval.

    Args:
      task: what students are judged in.
      scorer: of the task.
      pairs: R sets of a kind, with a leading axis R.
      recipes: `rl.cloning.RECIPES` by default.
    """
    rows = []
    for name, imitation in architectures(task.imitation).items():
        for label, recipe in (recipes or RECIPES).items():
            params = scorer.students(recipe, pairs, imitation=imitation)
            scores = task.score(scorer.score(params, imitation=imitation).returns[0])
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
    """The student and others: perceptrons of 2 to 6 layers, half and double width, tanh; for images wider, deeper."""
    module = imitation.policy.module
    changed: dict[str, Any] = {"same": module}
    if isinstance(module, MLPPolicy):
        width = module.widths[0] if module.widths else 64
        for depth in (1, 2, 3, 4, 5):
            changed[f"{depth + 1} layers"] = module.clone(widths=(width,) * depth)
        changed["half width"] = module.clone(widths=tuple(max(1, w // 2) for w in module.widths))
        changed["double width"] = module.clone(widths=tuple(2 * w for w in module.widths))
        other = "tanh" if module.activation == "relu" else "relu"
        changed[other] = module.clone(activation=other)
    elif isinstance(module, ConvPolicy):
        changed["double width"] = module.clone(channels=tuple(2 * c for c in module.channels))
        changed["deeper"] = module.clone(widths=(*module.widths, 64))
    seen: dict[Any, str] = {}
    for name, candidate in changed.items():
        seen.setdefault(candidate, name)
    return {
        name: dataclasses.replace(imitation, policy=dataclasses.replace(imitation.policy, module=candidate))
        for candidate, name in seen.items()
    }
