"""Searches of `disc` with small models that learned a task, beside the exact solver's ceiling.

Methods share the model, its temperature and their draws from the prompt. A step is a line of countdown, or the values
of two assignments of a chain; the process reward of beams is the visible reward of the unfinished answer.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.tasks.countdown import solutions
from jaxrl_suite.experiments.disc.config import Config, MethodName, ModelName
from jaxrl_suite.experiments.disc.report import show_search
from jaxrl_suite.experiments.disc.searches import COLUMNS, LABELS, LARGE_BEAM, search
from jaxrl_suite.llm.jobs import Algorithm, Job, JobOutcome
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.lockstep import run_lockstep, without_errors
from jaxrl_suite.llm.task_models.shipped import TaskModel, load_task_model
from jaxrl_suite.scaling.forest import SfsConfig, sfs
from jaxrl_suite.scaling.forest.prefix_thinker import line_feedback, prefix_thinker
from jaxrl_suite.scaling.metrics import AXES, paired_gain, success_by_budget
from jaxrl_suite.scaling.records import ScalingResult
from jaxrl_suite.scaling.token_problems import TokenProblems

STEP = {"countdown": 4, "modchain": 6}  # tokens of a step
BUDGETS = ("total_tokens", "requests", "output_tokens")
LearnedFound = dict[tuple[ModelName, MethodName], np.ndarray]  # float64[seeds, problems, COLUMNS]


def run_learned(config: Config, run: Run) -> LearnedFound:
    """float64[seeds, problems, COLUMNS] of each model and method."""
    cells: list[tuple[ModelName, MethodName]] = [
        (model, method) for model in config.models for method in config.learned_methods
    ]
    carry = np.zeros((len(cells), len(config.seeds), config.task_problems, len(COLUMNS)))
    loop = run.chunks(len(cells), carry, "learned tasks", name="learned")
    for cell in loop:
        model, method = cells[cell]
        loop.carry[cell] = _searches(config, model, method)
        run.log(model=model, method=method, solved=float(loop.carry[cell][..., 0].mean()))
    run.throughput("output tokens", float(loop.carry[..., COLUMNS.index("output_tokens")].sum()), loop.seconds)
    return dict(zip(cells, loop.carry, strict=True))


@functools.cache
def _model(name: ModelName) -> TaskModel:
    return load_task_model(name)


@functools.cache
def _held_out(name: ModelName, count: int) -> TokenProblems:
    family = _model(name).family
    return TokenProblems(family.task, family.held_out(count))


def _problems(config: Config, name: ModelName) -> TokenProblems:
    return _held_out(name, config.task_problems)


def _searches(config: Config, name: ModelName, method: MethodName) -> np.ndarray:
    """All searches of a method, in one lockstep."""
    rows = []
    for outcome in _outcomes(config, name, method, config.seeds, config.task_problems):
        result, total = outcome.value, outcome.ledger.total
        highest = max((node.score for node in result.nodes), default=0.0) if method == "sfs" else _highest(result)
        rows.append([result.solved_after is not None, *(getattr(total, axis) for axis in AXES), highest])
    return np.asarray(rows, np.float64).reshape(len(config.seeds), config.task_problems, len(COLUMNS))


def _highest(result: ScalingResult) -> float:
    return 0.0 if result.best is None else result.best.reward


def _outcomes(
    config: Config, name: ModelName, method: MethodName, seeds: Sequence[int], count: int
) -> list[JobOutcome]:
    """Searches of each seed on the first `count` problems; an error of one is raised."""
    model = _model(name)
    problems = _problems(config, name)
    how = dataclasses.replace(config, samples=config.task_samples, line=STEP[model.family.name])
    cells = [(seed, number) for seed in seeds for number in range(count)]

    def start(cell: tuple[int, int], ledger: Ledger) -> Algorithm:
        if method == "sfs":
            thinker = prefix_thinker(model.family, problems, cell[1], cell[0], config.temperature)
            return sfs(thinker, SfsConfig(how.samples, seeds=max(1, how.samples // 2)))
        return search(how, method, problems.problem(cell[1], config.temperature, cell[0]), ledger)

    jobs = [Job(f"{cell}", functools.partial(start, cell)) for cell in cells]
    lines = functools.partial(line_feedback, problems)
    judges = {"reward": problems.rewards, "process": problems.rewards, "tests": lines}
    return without_errors(run_lockstep(jobs, model.sampler(), judges))


@functools.cache
def ceiling(config: Config, name: ModelName) -> float:
    """Share of the problems that the exact solver solves."""
    model = _model(name)
    problems = _problems(config, name).problems
    if model.family.name != "countdown":
        return 1.0  # a chain has its values
    numbers, targets, steps = jax.device_get((problems.numbers, problems.target, problems.steps))
    found = [
        next(solutions(row[: size + 1].tolist(), int(target)), None) is not None
        for row, target, size in zip(numbers, targets, steps, strict=True)
    ]
    return float(np.mean(found))


def _column(values: np.ndarray, name: str) -> np.ndarray:
    """One column, float64[problems, seeds]."""
    return values[..., COLUMNS.index(name)].T


def _by_budget(values: np.ndarray, axis: str, budget: float) -> np.ndarray:
    """float64[problems, seeds]: solved with at most so much."""
    return _column(values, "solved") * (_column(values, axis) <= budget)


def write_learned(config: Config, run: Run, found: LearnedFound) -> None:
    """The table of all methods, and success by total tokens and by requests."""
    rows = []
    for (name, method), values in found.items():
        plain = found[name, "best_of_n"]
        solved = _column(values, "solved")
        share = stats.mean_interval(solved.mean(axis=1))
        row = {"model": name, "method": LABELS[method], "solved": share.estimate, "low": share.low, "high": share.high}
        row |= paired_gain(solved, _column(plain, "solved")).columns("gain over best of N")
        for axis in BUDGETS:
            most = float(_column(plain, axis).mean())  # of best of N
            ours, theirs = (_by_budget(v, axis, most) for v in (values, plain))
            words = axis.replace("_", " ")
            row |= {f"by {words} of best of N": float(ours.mean())} | paired_gain(ours, theirs).columns(
                f"gain by {words}"
            )
        row |= {axis.replace("_", " "): float(_column(values, axis).mean()) for axis in AXES}
        rows.append(row | {"ceiling": ceiling(config, name), "searches": solved.size})
    caption = (
        f"Small models, {config.task_problems} held-out problems x {len(config.seeds)} seeds, temperature "
        f"{config.temperature:g}, at most {config.task_samples} answers (beams: as many steps as they have; 2 prefixes "
        f"of 2 steps each below {LARGE_BEAM}). The interval of what is solved is Student's, over problems. Gains are "
        "paired, and problems are resampled. The middle columns count what is "
        "solved with at most as much as best of N used on average. The ceiling is the exact solver's share."
    )
    run.table("learned", rows, caption=caption)
    _show_one(config, run)
    for name in config.models:
        for axis in BUDGETS:
            series = {}
            most = max(_column(found[name, method], axis).max() for method in config.learned_methods)
            budgets = np.unique(np.geomspace(max(1, most / 100), most, 24).astype(np.int64))
            for method in config.learned_methods:
                values = found[name, method]
                costs = np.where(_column(values, "solved") > 0, _column(values, axis), np.inf).reshape(-1)
                shares = success_by_budget(costs.tolist(), budgets).mean(axis=0).tolist()
                series[LABELS[method]] = (budgets, shares)
            words = axis.replace("_", " ")
            figure = plot.lines(
                series, xlabel=words, ylabel="share solved", title=f"{name}: success by {words}", log_x=True,
                markers=False,
            )  # fmt: skip
            caption = f"Searches of {name} that had succeeded by a budget of {words}."
            run.figure(f"learned_{name}_{axis}", figure, caption)


def _show_one(config: Config, run: Run) -> None:
    """The first search of DISC-Z with the first model, or of best-of-N where that is not run."""
    name, methods = config.models[0], config.learned_methods
    method = "Z" if "Z" in methods else "best_of_n"
    model = _model(name)
    result = _outcomes(config, name, method, config.seeds[:1], 1)[0].value
    prompt = model.family.task.render(_problems(config, name).prompts[0])
    show_search(
        run, "one_learned_search", f"{LABELS[method]}, {name}", f"the problem is {prompt}", result,
        model.family.task.render,
    )  # fmt: skip
