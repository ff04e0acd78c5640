"""Students are trained on sets of pairs and play; every set meets the same students and the same episodes.

Shapes: `S` students, `R` sets of a kind (distillation seeds), `E` episodes, `W` arenas.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core.devices import map_batch
from jaxrl_suite.core.run import Run
from jaxrl_suite.distill.pairs import Imitation, Pairs
from jaxrl_suite.distill.students import train_students
from jaxrl_suite.experiments.ddrl.sets import PairSet
from jaxrl_suite.experiments.ddrl.tasks import Task
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.actors import Scaled, ScaledActor, student_actor
from jaxrl_suite.rl.datasets.scores import normalised_score
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import Params

if TYPE_CHECKING:
    from jaxrl_suite.experiments.ddrl.config import Config


class Scores(NamedTuple):
    """What the students of one set and recipe reach."""

    returns: np.ndarray  # float64[W, S, R], means over episodes
    losses: np.ndarray  # float64[S, R], on held-out pairs with the teacher's answers


class Judge:
    """Trains and plays, with one compiled program a shape."""

    def __init__(self, config: Config, run: Run, task: Task):
        self._config, self._run, self._task = config, run, task
        self._mesh = run.mesh(batch=config.students)
        self._programs: dict[Any, Any] = {}
        self._speed: dict[str, tuple[int, float]] = {}
        key = jax.random.fold_in(jax.random.key(config.data_seed), 77)
        train_key, self._play_key = jax.random.split(key)
        self._keys = jax.random.split(train_key, config.students)
        self._held_out = task.pairs(task.held_out.observations, task.teach(task.held_out.observations))

    def students(self, recipe: Recipe, found: PairSet, imitation: Imitation | None = None) -> Params:
        """Parameters with leading axes [S, R], of students trained on R sets of one kind."""
        imitation, pairs = imitation or self._task.imitation, found.pairs
        count, size = pairs.weights.shape
        rates = jnp.full(count, recipe.rate)
        if found.rates is not None and recipe.optimiser == "sgd":
            rates = found.rates

        def train(keys: jax.Array, sets: tuple[Pairs, jax.Array]) -> Params:
            params = jax.vmap(lambda one, rate: train_students(imitation, recipe, one, keys, rate))(*sets)
            return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), params)

        what = f"training of {self._config.students} x {count} students on {size} pairs, {_say(recipe)}"
        start = time.perf_counter()
        known = len(self._programs)
        params = self._call(("train", imitation, recipe, count, size), train, self._keys, (pairs, rates), name=what)
        jax.block_until_ready(params)
        if known == len(self._programs):  # or else compilation is in it
            done, seconds = self._speed.get(what, (0, 0.0))
            self._speed[what] = (done + count * self._config.students, seconds + time.perf_counter() - start)
        return params

    def say_speed(self) -> None:
        """Students trained a second, by set and recipe."""
        for what, (count, seconds) in self._speed.items():
            self._run.throughput(f"students: {what}, {self._task.name}", count, seconds)

    def judge(self, params: Params, imitation: Imitation | None = None, *, ensemble: bool = False) -> Scores:
        """Plays episodes with the parameters [S, R, ...]; an ensemble has all S students of a set as its members."""
        imitation, config, task = imitation or self._task.imitation, self._config, self._task
        actor = ScaledActor(student_actor(imitation.policy, ensemble=ensemble, sample=config.sample and task.discrete))
        if ensemble:
            params = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1)[None], jax.device_get(params))
        many, sets = jax.tree.leaves(params)[0].shape[:2]

        def play(params: Params, key: jax.Array) -> jax.Array:
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), params)
            rows = jax.tree.leaves(flat)[0].shape[0]
            mean, std = (jnp.broadcast_to(jnp.asarray(x), (rows, *x.shape)) for x in task.scaling)
            found = [
                rollout.evaluate(env, actor, Scaled(flat, mean, std), key, config.episodes).mean(axis=1)
                for env in task.arenas.values()
            ]
            return jnp.stack(found, axis=1).reshape(-1, sets, len(found))

        def loss(params: Params, held_out: Pairs) -> jax.Array:
            return jax.vmap(jax.vmap(imitation.mean_loss, (0, None)), (0, None))(params, held_out)

        what = f"{many} x {sets} {'ensembles' if ensemble else 'students'}, {config.episodes} episodes each"
        kind = (imitation, many, sets, ensemble)
        returns = self._call(("play", *kind), play, params, self._play_key, name=what, split=not ensemble)
        if ensemble:
            losses: Any = np.full((many, sets), np.nan)
        else:
            losses = self._call(("loss", *kind), loss, params, self._held_out, name="")
        return Scores(np.moveaxis(np.asarray(returns, np.float64), 2, 0), np.asarray(losses, np.float64))

    def _call(self, kind: Any, fn: Any, *args: Any, name: str, split: bool = True) -> Any:
        if kind not in self._programs:
            program = map_batch(fn, self._mesh, replicated=(1,)) if split else jax.jit(fn)
            self._programs[kind] = self._run.compile(program, *args, name=name) if name else program
        return self._programs[kind](*args)


def score_sets(config: Config, run: Run, task: Task, judge: Judge, sets: list[PairSet]) -> dict[Any, Scores]:
    """Scores by (label, size, recipe), in a loop of its own; a set of everything has one recipe, `clone`."""
    jobs = [
        (index, name, recipe)
        for index, found in enumerate(sets)
        for name, recipe in ({"clone": task.clone} if found.kind == "cloned" else task.recipes).items()
    ]
    shapes = [(config.students, sets[index].pairs.weights.shape[0]) for index, *_ in jobs]
    empty = [Scores(np.full((len(task.arenas), *shape), np.nan), np.full(shape, np.nan)) for shape in shapes]
    loop = run.chunks(len(jobs), empty, f"{task.name}: students", name=f"{task.slug}-students")
    for job in loop:
        index, name, recipe = jobs[job]
        found = judge.judge(judge.students(recipe, sets[index]))
        loop.carry[job] = found
        run.log(task=task.name, pairs=sets[index].label, size=sets[index].size, recipe=name,
                returns=found.returns.mean(axis=(1, 2)).tolist(), held_out=float(found.losses.mean()))  # fmt: skip
    run.throughput(f"sets of pairs judged on {task.name}", len(jobs), loop.seconds)
    return {(sets[i].label, sets[i].size, name): found for (i, name, _), found in zip(jobs, loop.carry, strict=True)}


def points(task: Task, returns: np.ndarray) -> np.ndarray:
    """Normalised scores of returns."""
    return normalised_score(returns, task.reference)


def steps_to_score(
    config: Config, run: Run, task: Task, judge: Judge, few: PairSet, everything: PairSet
) -> dict[str, np.ndarray]:
    """float64[steps, S, R] by label: scores in the first arena of students that stop after each of `curve_steps`."""
    first, clone = next(iter(task.recipes.values())), task.clone
    ways = {f"{few.size} distilled pairs": (few, first), f"all {everything.size:,} pairs": (everything, clone)}
    shape = [(len(config.curve_steps), config.students, found.pairs.weights.shape[0]) for found, _ in ways.values()]
    jobs = [(way, at) for way in range(len(ways)) for at in range(len(config.curve_steps))]
    loop = run.chunks(len(jobs), [np.full(s, np.nan) for s in shape], f"{task.name}: steps", name=f"{task.slug}-steps")
    for job in loop:
        way, at = jobs[job]
        found, recipe = list(ways.values())[way]
        shorter = dataclasses.replace(recipe, steps=config.curve_steps[at])
        scores = judge.judge(judge.students(shorter, found))
        loop.carry[way][at] = points(task, scores.returns[0])
        run.log(task=task.name, pairs=list(ways)[way], steps=shorter.steps, score=float(loop.carry[way][at].mean()))
    return dict(zip(ways, loop.carry, strict=True))


def across(config: Config, run: Run, task: Task, judge: Judge, found: PairSet) -> list[dict[str, Any]]:
    """Scores of other architectures and optimisers on the same set, and of ensembles, one row each."""
    from jaxrl_suite.distill.evaluation import architectures, summary

    others = architectures(task.imitation)
    jobs = [(name, label, False) for name in others for label in task.recipes]
    jobs += [("same", label, True) for label in task.recipes]
    shape = (len(jobs), config.students, found.pairs.weights.shape[0])
    loop = run.chunks(len(jobs), np.full(shape, np.nan), f"{task.name}: architectures", name=f"{task.slug}-others")
    for job in loop:
        name, label, ensemble = jobs[job]
        params = judge.students(task.recipes[label], found, others[name])
        scores = points(task, judge.judge(params, others[name], ensemble=ensemble).returns[0])
        loop.carry[job] = scores  # an ensemble's is repeated over students
        run.log(task=task.name, student=name, recipe=label, ensemble=ensemble, score=float(scores.mean()))
    rows = []
    for (name, label, ensemble), scores in zip(jobs, loop.carry, strict=True):
        shown = scores[:1].T if ensemble else scores
        title = f"ensemble of {config.students}" if ensemble else {"same": "as in distillation"}.get(name, name)
        mean = float(shown.mean())
        alone: dict[str, Any] = {"mean": mean, "deviation": None, "iqm": mean, "low": None, "high": None}
        cell: dict[str, Any] = dict(summary(shown)) if shown.shape[0] > 1 else alone
        cell |= {"worst": float(scores.mean(axis=0).min())}
        numbers = {key: None if value is None else round(value, 1) for key, value in cell.items()}
        rows.append({"student": title, "optimiser": label, **numbers})
    return rows


def _say(recipe: Recipe) -> str:
    batch = f", batches of {recipe.batch}" if recipe.batch else ""
    return f"{recipe.steps} steps of {recipe.optimiser}{batch}"
