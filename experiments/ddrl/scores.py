"""Scores of the sets of a task, in loops that can be resumed; every set meets the same students and episodes.

Shapes: `S` students, `R` sets of a kind (distillation seeds).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.distill.evaluation import architectures, summary
from jaxrl_suite.distill.pairs import Imitation
from jaxrl_suite.distill.scorer import Protocol, Scorer, Scores, make_scorer
from jaxrl_suite.experiments.ddrl.config import Config
from jaxrl_suite.experiments.ddrl.sets import PairSet
from jaxrl_suite.experiments.ddrl.tasks import DDRLTask
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import Params


def scorer_of(config: Config, run: Run, task: DDRLTask) -> Scorer:
    """The scorer of a task, over the run's devices."""
    how = config.evaluation
    protocol = Protocol(how.students, how.episodes, sample=how.sample and task.discrete)
    key = jax.random.fold_in(jax.random.key(config.data_seed), 77)
    return make_scorer(task, key, protocol, mesh=run.mesh(batch=how.students), compile=run.compile)


def train(scorer: Scorer, recipe: Recipe, pair_set: PairSet, imitation: Imitation | None = None) -> Params:
    """Students on a set, by SGD with the learning rate that was learned with it."""
    learning_rates = pair_set.learning_rates if recipe.optimiser == "sgd" else None
    return scorer.students(recipe, pair_set.pairs, learning_rates=learning_rates, imitation=imitation)


def say_speed(run: Run, task: DDRLTask, scorer: Scorer) -> None:
    """Students trained per second, by set and recipe."""
    for what, (count, seconds) in scorer.speeds.items():
        run.throughput(f"students: {what}, {task.name}", count, seconds)


def score_sets(run: Run, task: DDRLTask, scorer: Scorer, sets: list[PairSet]) -> dict[Any, Scores]:
    """Scores by (label, size, recipe), in a loop of its own; a set of everything has one recipe, `clone`."""
    jobs = [
        (index, name, recipe)
        for index, pair_set in enumerate(sets)
        for name, recipe in ({"clone": task.clone} if pair_set.kind == "cloned" else task.recipes).items()
    ]
    shapes = [(scorer.protocol.students, sets[index].pairs.weights.shape[0]) for index, *_ in jobs]
    empty = [Scores(np.full((len(task.arenas), *shape), np.nan), np.full(shape, np.nan)) for shape in shapes]
    loop = run.chunks(len(jobs), empty, f"{task.name}: students", name=f"{task.slug}-students")
    for job in loop:
        index, name, recipe = jobs[job]
        scores = scorer.score(train(scorer, recipe, sets[index]))
        loop.carry[job] = scores
        run.log(task=task.name, pairs=sets[index].label, size=sets[index].size, recipe=name,
                returns=scores.returns.mean(axis=(1, 2)).tolist(), held_out=float(scores.losses.mean()))  # fmt: skip
    run.throughput(f"sets of pairs judged on {task.name}", len(jobs), loop.seconds)
    return {(sets[i].label, sets[i].size, name): scores for (i, name, _), scores in zip(jobs, loop.carry, strict=True)}


def steps_to_score(
    run: Run, task: DDRLTask, scorer: Scorer, few: PairSet, everything: PairSet, steps: Sequence[int]
) -> dict[str, np.ndarray]:
    """float64[steps, S, R] by label: scores in the first arena of students that stop after each of `steps`."""
    first, clone = next(iter(task.recipes.values())), task.clone
    ways = {f"{few.size} distilled pairs": (few, first), f"all {everything.size:,} pairs": (everything, clone)}
    shape = [(len(steps), scorer.protocol.students, pair_set.pairs.weights.shape[0]) for pair_set, _ in ways.values()]
    jobs = [(way, at) for way in range(len(ways)) for at in range(len(steps))]
    loop = run.chunks(len(jobs), [np.full(s, np.nan) for s in shape], f"{task.name}: steps", name=f"{task.slug}-steps")
    for job in loop:
        way, at = jobs[job]
        pair_set, recipe = list(ways.values())[way]
        shorter = dataclasses.replace(recipe, steps=steps[at])
        scores = scorer.score(train(scorer, shorter, pair_set))
        loop.carry[way][at] = task.score(scores.returns[0])
        run.log(task=task.name, pairs=list(ways)[way], steps=shorter.steps, score=float(loop.carry[way][at].mean()))
    return dict(zip(ways, loop.carry, strict=True))


def across(run: Run, task: DDRLTask, scorer: Scorer, pair_set: PairSet) -> list[dict[str, Any]]:
    """Scores of other architectures and optimisers on the same set, and of ensembles, one row each."""
    students = scorer.protocol.students
    others = architectures(task.imitation)
    jobs = [(name, label, False) for name in others for label in task.recipes]
    jobs += [("same", label, True) for label in task.recipes]
    shape = (len(jobs), students, pair_set.pairs.weights.shape[0])
    loop = run.chunks(len(jobs), np.full(shape, np.nan), f"{task.name}: architectures", name=f"{task.slug}-others")
    for job in loop:
        name, label, ensemble = jobs[job]
        params = train(scorer, task.recipes[label], pair_set, others[name])
        ensembles = students if ensemble else 0
        scores = task.score(scorer.score(params, imitation=others[name], ensembles=ensembles).returns[0])
        loop.carry[job] = scores  # an ensemble's is repeated over students
        run.log(task=task.name, student=name, recipe=label, ensemble=ensemble, score=float(scores.mean()))
    rows = []
    for (name, label, ensemble), scores in zip(jobs, loop.carry, strict=True):
        shown = scores[:1].T if ensemble else scores
        title = f"ensemble of {students}" if ensemble else {"same": "as in distillation"}.get(name, name)
        mean = float(shown.mean())
        alone: dict[str, Any] = {"mean": mean, "deviation": None, "iqm": mean, "low": None, "high": None}
        cell: dict[str, Any] = dict(summary(shown)) if shown.shape[0] > 1 else alone
        cell |= {"worst": float(scores.mean(axis=0).min())}
        numbers = {key: None if value is None else round(value, 1) for key, value in cell.items()}
        rows.append({"student": title, "optimiser": label, **numbers})
    return rows
