"""Anchors of DDRL: offline reinforcement learning on all data, evolution strategies on the set itself, and
other draws of the data.

Shapes: `S` seeds of a learner, `R` distillation seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.distill.evolution import Evolution, mean_return
from jaxrl_suite.distill.pairs import Distilled
from jaxrl_suite.distill.scorer import Scorer
from jaxrl_suite.experiments.ddrl.config import Config
from jaxrl_suite.experiments.ddrl.scores import scorer_of, train
from jaxrl_suite.experiments.ddrl.sets import POLISHED, PairSet, cloned_sets, percentile_label
from jaxrl_suite.experiments.ddrl.tasks import DDRLTask, make_task
from jaxrl_suite.rl.actors import Actor, Greedy
from jaxrl_suite.rl.datasets.transitions import Transitions, transitions
from jaxrl_suite.rl.learners import offline_fit
from jaxrl_suite.rl.learners.iql import IQL
from jaxrl_suite.rl.learners.td3_bc import TD3BC
from jaxrl_suite.rl.policies import Params

_ANCHOR_CHUNKS = 10
DRAWS = 6  # of the data, the report's own among them


@dataclasses.dataclass(frozen=True)
class Shifted:
    """An actor whose observations are scaled by numbers that are part of it, so that it can stand in a fitness."""

    actor: Actor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, params: Params, observation: jax.Array, key: jax.Array) -> jax.Array:
        scaled = (observation - jnp.asarray(self.mean)) / jnp.asarray(self.std)
        return self.actor(params, scaled, key)


def anchor_rows(run: Run, task: DDRLTask, scorer: Scorer, total: int) -> list[dict[str, Any]]:
    """TD3+BC and IQL on all data by `total` updates, one row each; none on images, or if there are no updates."""
    if not total or task.discrete:
        return []
    policy, rows = task.imitation.policy, []
    widths: tuple[int, ...] = getattr(policy.module, "widths")  # noqa: B009
    learners: dict[str, Any] = {
        "TD3+BC on everything": TD3BC(policy.observation_shape, policy.actions, widths=widths),
        "IQL on everything": IQL(policy.observation_shape, policy.actions, widths=widths),
    }
    everything = transitions(task.data)
    # Rewards of an episode add up to the order of 1000, as published for rewards of locomotion.
    low, high = task.reference
    spread = 1000.0 / (high - low) if high > low else 1.0
    data = Transitions(*(jnp.asarray(leaf) for leaf in offline_fit.scaled(everything, task.scaling)))
    data = data._replace(rewards=data.rewards * spread)
    updates = max(1, total // _ANCHOR_CHUNKS)
    for title, learner in learners.items():
        keys = jax.vmap(jax.random.key)(jnp.arange(scorer.protocol.students, dtype=jnp.uint32))
        name = f"{task.slug}-{type(learner).__name__.lower()}"
        start_keys, step_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        start = offline_fit.init_seeds(learner, start_keys)
        loop = run.chunks(_ANCHOR_CHUNKS, start, f"{task.name}: {title}", name=name)
        for chunk in loop:
            drawn = jax.vmap(jax.random.fold_in, (0, None))(step_keys, chunk)
            loop.carry, metrics = offline_fit.fit(learner, loop.carry, data, drawn, updates)
            losses = {key: float(value.mean()) for key, value in metrics.items()}
            run.log(task=task.name, learner=title, update=(chunk + 1) * updates, **losses)
        params = jax.tree.map(lambda leaf: leaf[:, None], jax.device_get(loop.carry.actor))
        scores = scorer.score(params, imitation=dataclasses.replace(task.imitation, policy=learner.policy))
        cell = stats.bootstrap_interval(task.score(scores.returns[0]))
        rows.append(
            {
                "trained on": title,
                "pairs": len(task.data),
                "score": round(cell.estimate, 1),
                "low": round(cell.low, 1),
                "high": round(cell.high, 1),
            }
        )
    return rows


def polish(run: Run, task: DDRLTask, pair_set: PairSet, seeds: Sequence[int], generations: int) -> PairSet:
    """The smallest distilled sets moved on by their students' return, which distillation never looked at."""
    mean, std = (tuple(np.ravel(leaf).tolist()) for leaf in task.scaling)
    policy, recipe = task.imitation.policy, next(iter(task.recipes.values()))
    actor = Greedy(policy)
    env = next(iter(task.arenas.values()))
    fitness = mean_return(
        env, actor if task.discrete else Shifted(actor, mean, std), task.imitation, recipe, students=2, episodes=4
    )
    evolution = Evolution(population=64, sigma=0.03, learning_rate=0.01)
    targets = pair_set.pairs.targets
    sets = Distilled(
        observations=pair_set.pairs.observations,
        labels=jnp.log(jnp.maximum(targets, 1e-6)) if task.discrete else targets,
        log_weights=jnp.zeros(pair_set.pairs.weights.shape),
        raw_rate=jnp.full(len(seeds), jnp.log(jnp.expm1(recipe.learning_rate))),
    )
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), 2) for seed in seeds])
    state = jax.vmap(evolution.init)(keys, sets)
    step = jax.jit(jax.vmap(lambda state: evolution.update(state, fitness)))
    name = f"{task.slug}-polish-{pair_set.size}"
    loop = run.chunks(generations, state, f"{task.name}: {POLISHED}, {pair_set.size} pairs", name=name)
    for generation in loop:
        loop.carry, fitnesses = step(loop.carry)
        run.log(task=task.name, generation=generation + 1, fitness=np.asarray(fitnesses).mean(axis=1).tolist())
    pairs = jax.vmap(task.imitation.pairs)(loop.carry.syn)
    return PairSet(POLISHED, "distilled", pair_set.size, pairs, steps=generations, seconds=loop.seconds)


def draws(config: Config, run: Run, environment: str) -> np.ndarray:
    """float64[DRAWS, 2, S]: scores of clones of the best tenth, by return and by return for its start.

    The first draw is the data of the report, the others differ from it in nothing but their key.
    """
    kinds = [percentile_label(0.1, by) for by in ("raw", "start_normalised")]
    found = np.full((DRAWS, len(kinds), config.evaluation.students), np.nan)
    loop = run.chunks(DRAWS, found, f"{environment}: other draws of the data", name=f"{environment}-draws")
    for draw in loop:
        other = dataclasses.replace(config, data_seed=(config.data_seed + draw) % 2**32)
        task = make_task(other, environment)
        scorer, sets = scorer_of(config, run, task), {one.label: one for one in cloned_sets(task)}
        for place, label in enumerate(kinds):
            scores = scorer.score(train(scorer, task.clone, sets[label]))
            loop.carry[draw, place] = task.score(scores.returns[0])[:, 0]
        run.log(task=environment, data_seed=other.data_seed, scores=loop.carry[draw].mean(axis=1).tolist())
    return loop.carry
