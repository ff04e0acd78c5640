"""Sets of pairs that students are trained on: distilled ones, real ones of the same size, and whole data sets.

Shapes: `R` distillation seeds, `N` pairs, `C` chunks of outer steps.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.distill import baselines, presets, weighting
from jaxrl_suite.distill.distilled_file import DistilledSet, write_distilled
from jaxrl_suite.distill.driver import Driver, check_finite, run_chunk
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs, start_from
from jaxrl_suite.distill.sampling import balanced_rows
from jaxrl_suite.distill.unrolled import Unrolled
from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.ddrl.config import Config, DistillationConfig, MazeConfig
from jaxrl_suite.experiments.ddrl.tasks import DDRLTask
from jaxrl_suite.rl.datasets.episodes import returns_to_go
from jaxrl_suite.rl.datasets.percentile import RANKINGS, percentile_rows
from jaxrl_suite.rl.learners.cloning import Recipe

LABELS = {
    "pbc": "distilled, PBC",
    "pbc-both": "distilled, PBC through SGD and Adam",
    "dbc": "distilled, DBC",
    "av-pbc": "distilled, Av-PBC",
    "sdw": "distilled, SDW",
    "gm-l2": "gradient matching, L2",
    "gm-layer": "gradient matching, by layer",
    "gm-cosine": "gradient matching, cosine",
    "kernel-ridge": "kernel ridge",
    "random-regressors": "random regressors",
    "paper-p1": "published matching, teacher (P1)",
    "paper-p2": "published matching, student (P2)",
}
RANDOM, RELABELLED, EVERYTHING = "random pairs", "random pairs, relabelled", "BC on everything"
POLISHED = "distilled, then evolved by return"
ANSWERED = "BC on everything, relabelled"  # by the teacher, as what is distilled
SHARES = (0.1, 0.25, 0.4)  # of the episodes, in percentile cloning
_THROUGH = "observations and labels learned through the training of fresh students, by their loss on all data"
_MATCHED = "gradients of fresh students on the set and on the data are brought together"
ABOUT = {
    LABELS["pbc"]: f"{_THROUGH} with the teacher's answers; SGD is unrolled",
    LABELS["pbc-both"]: f"{_THROUGH} with the teacher's answers; the mean of SGD and Adam unrolled",
    LABELS["dbc"]: f"{_THROUGH} as recorded; SGD is unrolled",
    LABELS["av-pbc"]: f"{_THROUGH} with the teacher's answers, weighted by rank of the return to go; SGD is unrolled",
    LABELS["sdw"]: f"{_THROUGH} weighted as in Av-PBC and by how rare states are; SGD is unrolled",
    LABELS["gm-l2"]: f"{_MATCHED}, by squared distance",
    LABELS["gm-layer"]: f"{_MATCHED}, each layer's distance relative to its size",
    LABELS["gm-cosine"]: f"{_MATCHED}, by cosine",
    LABELS["kernel-ridge"]: "a student's last layer, solved for in closed form on the set, is made to fit the data",
    LABELS["random-regressors"]: "random, untrained networks are to have the same loss on the set as on the data",
    LABELS["paper-p1"]: "the published method: observations alone, gradients of one teacher",
    LABELS["paper-p2"]: "the published method: observations alone, gradients of one student in training",
    POLISHED: "the smallest distilled set, moved on by evolution strategies towards its students' return",
    RANDOM: "of the data, with the recorded actions as all that follow",
    RELABELLED: "random pairs of the data, with the teacher's answers",
    "k-means": "the real pairs nearest to the centres of clusters of observations",
    "top-q": "the pairs with the highest discounted return to go",
    "stepwise dual ranking": "early pairs, and later ones of high return to go in rare states",
    "pairs of the best 10 %": "random pairs of the episodes with the highest returns",
}
_RANKED = {"raw": "return", "discounted": "discounted return", "start_normalised": "return for its start"}


class PairSet(NamedTuple):
    """Sets of one kind and size, one a distillation seed; of all data, or of a part that no seed decides, R = 1."""

    label: str
    kind: Literal["distilled", "chosen", "cloned"]
    size: int
    pairs: Pairs  # leading axis R
    rows: np.ndarray | None = None  # int64[R, N] of real pairs
    learning_rates: jax.Array | None = None  # float32[R], of students' SGD, where it was learned
    losses: np.ndarray | None = None  # float64[C, R], held-out loss as distillation goes on
    steps: int = 0  # outer steps
    seconds: float = 0.0  # of this process, for them


def percentile_label(share: float, ranking: str) -> str:
    return f"BC on {share:.0%} by {_RANKED[ranking]}"


def distil(config: Config, run: Run, task: DDRLTask, method: str, size: int) -> PairSet:
    """Distils one set for each seed, side by side, in a loop of its own that can be resumed."""
    real, held_out = real_pairs(task, method), task.answered(held_out=True)
    starts = [start_of(task, real, seed, size) for seed in config.seeds]
    driver = driver_of(task, method, starts[0], config.distillation, config.maze)
    teacher = teacher_parameters(task, config.data_seed) if method == "paper-p1" else None
    syn: Distilled = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), 1) for seed in config.seeds])
    bounds = None if method.startswith("paper") else observed_range(task, real)
    state = jax.vmap(lambda key, syn: driver.init(key, syn, teacher=teacher, bounds=bounds))(keys, syn)
    table = driver.sampler.prepare(real)
    part = config.distillation.chunk
    chunks = outer_steps(task, method, config.distillation, config.maze) // part
    label, losses = LABELS[method], np.full((chunks, len(config.seeds)), np.nan)
    loop = run.chunks(
        chunks, (state, losses), f"{task.name}: {label}, {size} pairs", name=f"{task.slug}-{method}-{size}"
    )
    step: Any = None
    for chunk in loop:
        state, losses = loop.carry
        if step is None:
            program = functools.partial(run_chunk, driver, steps=part, runs=True)
            what = f"{part} outer steps of {label}, {size} pairs, {len(config.seeds)} seeds"
            step = run.compile(lambda s, t, h, go=program: go(s, t, h), state, table, held_out, name=what)
        state, metrics = step(state, table, held_out)
        check_finite(metrics)
        losses[chunk] = np.asarray(metrics.held_out)
        loop.carry = state, losses
        run.log(task=task.name, method=method, size=size, outer_step=(chunk + 1) * part,
                loss=float(jnp.mean(metrics.loss)), held_out=losses[chunk].tolist())  # fmt: skip
    state, losses = loop.carry
    pairs = jax.vmap(driver.objective.imitation.pairs)(state.best)
    learning_rates = state.best.learning_rate if "raw_rate" in driver.learn else None
    return PairSet(
        label,
        "distilled",
        size,
        pairs,
        learning_rates=learning_rates,
        losses=losses,
        steps=chunks * part,
        seconds=loop.seconds,
    )


def observed_range(task: DDRLTask, real: Pairs) -> tuple[jax.Array, jax.Array]:
    """Between what learned observations are kept: pixels are 0 to 1, other numbers as large as the data have them."""
    if task.discrete:
        return jnp.float32(0), jnp.float32(1)
    return jnp.min(real.observations, axis=0), jnp.max(real.observations, axis=0)


def outer_steps(task: DDRLTask, method: str, settings: DistillationConfig, maze: MazeConfig) -> int:
    """Updates of the distilled set."""
    if method.startswith("paper"):
        return settings.published_steps
    return maze.outer_steps if task.discrete else settings.outer_steps


def driver_of(task: DDRLTask, method: str, start: Distilled, settings: DistillationConfig, maze: MazeConfig) -> Driver:
    """The outer loop of a method; `start` says which actions the pairs of the published ones have."""
    policy = task.imitation.policy
    if method == "paper-p1":
        return presets.paper_teacher(policy, start)
    if method == "paper-p2":
        return presets.paper_student(policy, start)
    own = maze if task.discrete else settings
    changes: dict[str, Any] = dict(
        students=own.meta_students,
        learning_rate=own.meta_learning_rate,
        clip=settings.clip,
        anneal=outer_steps(task, method, settings, maze),
        recipes=tuple(task.recipes.values()),
        judges=settings.judges,
    )
    if method in ("dbc", "pbc", "av-pbc", "sdw"):
        inner, learned = Recipe("sgd", settings.inner_learning_rate, own.inner_steps), settings.learn_inner_rate
        learn = ("observations", "labels", "raw_rate") if learned else ("observations", "labels")
        return Driver(Unrolled(Imitation(policy), inner, learn_rate=learned), learn=learn, **changes)
    return presets.make_driver({"pbc-both": "bptt-both"}.get(method, method), policy, **changes)


def real_pairs(task: DDRLTask, method: str) -> Pairs:
    """The pairs that a method distils: recorded actions for DBC and as published, else the teacher's answers."""
    if method == "dbc" or method.startswith("paper"):
        return task.recorded()
    weights = None
    if method in ("av-pbc", "sdw"):
        # Without a critic of the teacher: the return to go that was observed.
        weights = weighting.value_weights(returns_to_go(task.data, discount=0.99), "rank")
    if method == "sdw":
        assert weights is not None
        weights = weights * weighting.density_weights(task.scaling(task.data.observations))
    return task.answered(weights)


def start_of(task: DDRLTask, real: Pairs, seed: int, size: int) -> Distilled:
    """Random real pairs, as many of each discrete action."""
    key = jax.random.key(seed)
    if task.discrete:
        rows = balanced_rows(key, real, size)
    else:
        rows = np.asarray(jax.random.permutation(key, real.weights.shape[0]))[:size]
    return start_from(real, rows, task.imitation.policy)


def teacher_parameters(task: DDRLTask, seed: int) -> Any:
    """A network trained on everything with the teacher's answers, for P1, which matches a network's gradients."""
    from jaxrl_suite.distill.students import train_students

    keys = jax.random.key(seed)[None]
    params = train_students(task.imitation, task.clone, task.answered(), keys)
    return jax.tree.map(lambda leaf: leaf[0], params)


def chosen_sets(task: DDRLTask, size: int, seeds: Sequence[int]) -> list[PairSet]:
    """Real pairs by every rule of selection, one set a seed."""
    rules: dict[str, Any] = {
        RANDOM: functools.partial(baselines.choose_random, balanced=task.discrete),
        RELABELLED: functools.partial(baselines.choose_random, balanced=task.discrete),
        "k-means": baselines.choose_kmeans,
        "top-q": baselines.choose_top,
        "stepwise dual ranking": baselines.choose_dual_ranking,
        "pairs of the best 10 %": functools.partial(baselines.choose_percentile, fraction=0.1),
    }
    if task.discrete:  # the others are of scalar returns, which tie here
        rules = {name: rules[name] for name in (RANDOM, RELABELLED, "k-means")}
    sets = []
    for label, rule in rules.items():
        pairs, rows = [], []
        for seed in seeds:
            try:
                choice = rule(task.data, size, jax.random.key(seed))
            except UserError:  # too few pairs pass the rule: no set of this size
                break
            if label == RELABELLED:
                choice = baselines.relabel(choice, task.data, task.teacher)
            pairs.append(task.pairs(task.data.observations[choice.rows], choice.targets, choice.weights))
            rows.append(choice.rows)
        else:
            stacked = Pairs(*(jnp.stack(leaves) for leaves in zip(*pairs, strict=True)))
            sets.append(PairSet(label, "chosen", size, stacked, rows=np.stack(rows)))
    return sets


def cloned_sets(task: DDRLTask) -> list[PairSet]:
    """Sets of all pairs, as recorded and with the teacher's answers, and the best episodes by several rankings.

    Starts of mazes are images, which are not near or far as states are: there the ranking is by return alone. All
    sets have as many rows, so that one program trains on any: a part is repeated, its rows weighed to count alike.
    """
    count = len(task.data)
    whole = np.arange(count)
    sets = [
        _cloned(task, EVERYTHING, whole, task.data.actions),
        _cloned(task, ANSWERED, whole, task.teacher(task.data.observations)),
    ]
    for ranking in RANKINGS[:1] if task.discrete else RANKINGS:
        for share in SHARES:
            kept = percentile_rows(task.data, share, by=ranking)  # pyright: ignore[reportArgumentType]
            sets.append(_cloned(task, percentile_label(share, ranking), kept, task.data.actions))
    return sets


def save_sets(run: Run, task: DDRLTask, sets: list[PairSet], seeds: Sequence[int]) -> None:
    """Each distilled set as a file of its own in the run's folder, see `distill.read_distilled`."""
    learning_rate = next(iter(task.recipes.values())).learning_rate
    for pair_set in (pair_set for pair_set in sets if pair_set.kind == "distilled"):
        for place, seed in enumerate(seeds):
            distilled = DistilledSet(
                observations=np.asarray(pair_set.pairs.observations[place], np.float32),
                actions=np.asarray(pair_set.pairs.targets[place], np.float32),
                weights=np.asarray(pair_set.pairs.weights[place], np.float32),
                obs_mean=np.asarray(task.scaling.mean),
                obs_std=np.asarray(task.scaling.std),
                inner_rate=learning_rate if pair_set.learning_rates is None else float(pair_set.learning_rates[place]),
                config={"task": task.name, "label": pair_set.label, "seed": seed},
            )
            name = re.sub("[^a-z0-9]+", "-", pair_set.label.lower()).strip("-")
            write_distilled(run.folder / "sets" / f"{task.slug}-{name}-{pair_set.size}-{seed}.npz", distilled)


def _cloned(task: DDRLTask, label: str, clone_rows: np.ndarray, targets: np.ndarray) -> PairSet:
    rows = np.resize(clone_rows, len(task.data))
    often = np.bincount(rows, minlength=len(task.data))
    pairs = task.pairs(task.data.observations[rows], targets[rows], 1.0 / often[rows])
    return PairSet(label, "cloned", len(clone_rows), Pairs(*(leaf[None] for leaf in pairs)))
