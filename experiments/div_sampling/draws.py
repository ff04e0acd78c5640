"""Draws of `div_sampling`: perturbations of a countdown prompt, searches with them, and failure rates of prompts."""

from __future__ import annotations

import functools

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.div_sampling.config import Config, MethodName, ModelName
from jaxrl_suite.llm.jobs import Algorithm, Job, JobOutcome
from jaxrl_suite.llm.lockstep import run_lockstep, without_errors
from jaxrl_suite.llm.protocol import Request
from jaxrl_suite.llm.task_models.prefixes import NOISE, Prefixes
from jaxrl_suite.llm.task_models.shipped import TaskModel, load_task_model
from jaxrl_suite.scaling.diverse.perturbations import (
    Combined,
    FromPool,
    IdeaInjection,
    Perturbation,
    Rewritten,
    Unchanged,
)
from jaxrl_suite.scaling.diverse.search import diverse_best_of_n
from jaxrl_suite.scaling.metrics import AXES
from jaxrl_suite.scaling.records import GradedAnswer
from jaxrl_suite.scaling.token_problems import TokenProblems

COLUMNS = ("solved", *AXES, "after")  # `after`: answers up to the right one
OTHER: dict[ModelName, ModelName] = {"countdown-early": "countdown-late", "countdown-late": "countdown-early"}
MEASURED: tuple[MethodName, ...] = ("style", "noise", "order")  # methods whose prompts are few, or cheap to draw


@functools.cache
def models(name: ModelName) -> tuple[TaskModel, TaskModel]:
    """The solver, and the other model, which is the thinker of `idea_dual`."""
    return load_task_model(name), load_task_model(OTHER[name])


def perturbation(method: MethodName, prefixes: Prefixes) -> Perturbation:
    """One method: what it does to a prompt of countdown."""
    styles = FromPool(tuple((prefixes.first + i,) for i in range(len(prefixes.styles))))
    order = Rewritten(permute_numbers)
    if method == "plain":
        return Unchanged()
    if method == "style":
        return styles
    if method == "order":
        return order
    if method == "style_order":
        return Combined((order, styles))
    if method == "noise":
        return noise(prefixes, 2)
    thinker = "other" if method == "idea_dual" else "main"
    return IdeaInjection((thinker,), prefixes.hint, (prefixes.mark,))


def noise(prefixes: Prefixes, amount: int) -> Perturbation:
    """`amount` tokens that say nothing in front, the same pool for every problem."""
    if amount == 0:
        return Unchanged()
    rng = np.random.default_rng(amount)
    rows = prefixes.noise + rng.integers(NOISE, size=(64, amount))
    return FromPool(tuple(dict.fromkeys(tuple(row) for row in rows.tolist())))


def permute_numbers(prompt: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """A countdown prompt with its numbers in another order; target and `?` stay where they are."""
    numbers, end = list(prompt[:-2]), prompt[-2:]
    return (*(numbers[i] for i in rng.permutation(len(numbers)).tolist()), *end)


def problems_of(model: TaskModel, count: int, *, tuning: bool = False) -> TokenProblems:
    """Held-out problems; those for tuning are others."""
    return TokenProblems(model.family.task, model.family.held_out(count, stream=1 if tuning else 0))


def search(
    name: ModelName,
    how: Perturbation,
    problems: TokenProblems,
    seeds: tuple[int, ...],
    samples: int,
    temperature: float,
) -> np.ndarray:
    """float64[seeds, problems, COLUMNS]: of each search, whether it found a right answer, what was spent until it did
    or ended, and after how many answers."""
    cells = [(seed, number) for seed in seeds for number in range(len(problems))]

    def start(cell: tuple[int, int], _: object) -> Algorithm:
        return diverse_best_of_n(problems.problem(cell[1], temperature, cell[0]), how, samples)

    jobs = [Job(f"{cell}", functools.partial(start, cell)) for cell in cells]
    rows = []
    for outcome in _run(jobs, name, problems):
        total, after = outcome.ledger.total, outcome.value.solved_after
        spent = [getattr(total, axis) for axis in AXES]
        rows.append([after is not None, *spent, np.inf if after is None else after])
    return np.asarray(rows, np.float64).reshape(len(seeds), len(problems), len(COLUMNS))


def failure_rates(
    config: Config, name: ModelName, how: Perturbation, problems: TokenProblems, temperature: float
) -> np.ndarray:
    """int64[problems, prompts]: right answers among `config.draws` of each of a few perturbed prompts of a problem."""
    model, _ = models(name)
    requests = []
    for number in range(len(problems)):
        problem = problems.problem(number, temperature, seed=2**31)  # of no search
        for place in range(config.prompts):
            asking = how(problem, place)
            try:
                next(asking)
                raise UserError("failure rates are measured of prompts that no model is asked for")
            except StopIteration as done:
                prompt = done.value
            path = (2**31, number, place)
            requests.append(Request(prompt, config.draws, problem.decoding, path))
    answers = [
        GradedAnswer(request.path[1], tuple(completion.tokens.tolist()))
        for request, reply in zip(requests, model.sampler().sample(requests), strict=True)
        for completion in reply.completions
        if completion.tokens is not None
    ]
    return problems.solved(answers).reshape(len(problems), config.prompts, config.draws).sum(axis=2)


def answers_of(
    name: ModelName, how: Perturbation, problems: TokenProblems, samples: int, temperature: float
) -> list[list[tuple[int, ...]]]:
    """All answers of each problem, right or wrong, for measures of diversity."""
    jobs = [
        Job(f"{number}", lambda _, number=number: diverse_best_of_n(
            problems.problem(number, temperature), how, samples, stop=False
        ))
        for number in range(len(problems))
    ]  # fmt: skip
    return [[solution.tokens for solution in outcome.value.solutions] for outcome in _run(jobs, name, problems)]


def _run(jobs: list[Job], name: ModelName, problems: TokenProblems) -> list[JobOutcome]:
    model, other = models(name)
    return without_errors(
        run_lockstep(jobs, {"main": model.sampler(), "other": other.sampler()}, {"reward": problems.rewards})
    )
