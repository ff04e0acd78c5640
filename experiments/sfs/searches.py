"""Searches of `sfs`: its problems, its methods, and what a search cost when it ended."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np

from jaxrl_suite.experiments.sfs.config import Config, MethodName, ModelName, TestsName
from jaxrl_suite.llm.jobs import Algorithm, Job, JobOutcome
from jaxrl_suite.llm.ledger import Budget
from jaxrl_suite.llm.lockstep import run_lockstep, without_errors
from jaxrl_suite.llm.protocol import Sampler
from jaxrl_suite.llm.task_models.list_edits import ListEdits
from jaxrl_suite.llm.task_models.shipped import load_task_model
from jaxrl_suite.scaling.forest import (
    ForestResult,
    NoisyTests,
    SfsConfig,
    Thinker,
    fun_search,
    line_search,
    plain_tree,
    refine_instructions,
    resample,
    rex,
    sfs,
)
from jaxrl_suite.scaling.forest.list_thinker import (
    ListTests,
    ListThinker,
    list_prompts,
    list_samplers,
    list_thinker,
)
from jaxrl_suite.scaling.metrics import AXES
from jaxrl_suite.scaling.records import GradedAnswer

COLUMNS = ("solved", "covered", "solutions", *AXES)
# The key of the problems, which training never uses. No constant was chosen by a look at these. On those of stream 16
# scouting was seen to lose, whereupon `idle` was set to 0: hence another stream.
HELD_OUT, STREAM = 2**31, 17


class Bench(NamedTuple):
    """The problems of a run and what judges them."""

    task: ListEdits
    prompts: tuple[tuple[int, ...], ...]
    judge: ListTests


@functools.cache
def bench(problems: int, shortest: int, longest: int, visible: int) -> Bench:
    """Problems that depend on these numbers alone: models and methods share them."""
    task = ListEdits()
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), HELD_OUT), STREAM)
    steps = shortest + np.arange(problems, dtype=np.int32) % (longest - shortest + 1)
    drawn = jax.jit(jax.vmap(task.problem))(jax.random.split(key, problems), steps)
    return Bench(task, list_prompts(task, drawn), ListTests(task, drawn, visible))


def bench_of(config: Config) -> Bench:
    return bench(config.problems, config.shortest, config.longest, config.visible)


@functools.cache
def samplers(name: ModelName) -> dict[str, Sampler]:
    """The editing model's samplers."""
    model = load_task_model(f"list-edits-{name}")
    return list_samplers(f"list-edits-{name}", model.config, model.params)


def search(config: Config, method: MethodName, thinker: Thinker) -> Algorithm:
    """One method on one problem; its budget of requests ends it."""
    most = config.requests
    if method == "best_of_n":
        return resample(thinker, most)
    if method == "line":
        return line_search(thinker, most)
    if method == "tree":
        return plain_tree(thinker, most)
    if method == "rex":
        return rex(thinker, most)
    if method == "islands":
        return fun_search(thinker, most)
    if method == "irri":
        return refine_instructions(thinker, most, seeds=config.first)
    options = SfsConfig(most, config.first, config.ideas)
    if method != "sfs":
        options = dataclasses.replace(options, **{method.removeprefix("no_"): False})
    return sfs(thinker, options)


def run_searches(config: Config, model: ModelName, tests: TestsName, method: MethodName) -> np.ndarray:
    """float64[seeds, problems, COLUMNS]: of each search, whether what it submits is right, whether anything that it
    wrote is, how many solutions it wrote, and what it spent."""
    cells = [(seed, number) for seed in config.seeds for number in range(config.problems)]
    judge, rows = bench_of(config).judge, []
    outcomes = outcomes_of(config, model, tests, method, cells)
    for (_, number), outcome in zip(cells, outcomes, strict=True):
        result: ForestResult = outcome.value
        right = judge.solved([GradedAnswer(number, node.solution) for node in result.nodes])
        total = outcome.ledger.total
        submitted = result.submitted is not None and right[result.submitted]
        rows.append([submitted, any(right), len(right), *(getattr(total, axis) for axis in AXES)])
    return np.asarray(rows, np.float64).reshape(len(config.seeds), config.problems, len(COLUMNS))


def thinker_of(config: Config, seed: int, number: int) -> ListThinker:
    made = bench_of(config)
    return list_thinker(made.task, made.prompts[number], number, seed, config.temperature)


def outcomes_of(
    config: Config, model: ModelName, tests: TestsName, method: MethodName, cells: list[tuple[int, int]]
) -> list[JobOutcome]:
    """Searches of (seed, problem) in lockstep; an error of one is raised."""
    judge = bench_of(config).judge
    verifier = judge.visible
    if tests == "noisy":
        verifier = NoisyTests(judge.visible, judge.solved, config.false_positive, config.false_negative)

    def start(cell: tuple[int, int], _: object) -> Algorithm:
        return search(config, method, thinker_of(config, *cell))

    budget = Budget(requests=config.requests)
    jobs = [Job(f"{cell}", functools.partial(start, cell), budget) for cell in cells]
    return without_errors(run_lockstep(jobs, samplers(model), {"tests": verifier}))
