"""Your own problems, solved by a model and a search: best answers, traces and a ledger, resumable at any moment.

    jaxrl-suite solve --task problems.jsonl --method sfs --base-url http://127.0.0.1:8080/v1 --model NAME
    jaxrl-suite solve --task problems.jsonl --method majority --weights smollm2

A problem is a line such as {"prompt": "...", "entry": "add", "tests": ["assert add(1, 2) == 3"]} or {"prompt": "What is
6 times 7?", "answer": "42"}; hidden_tests and answer decide at the end and reach no search. Where a program has no
tests the model writes some first. Every draw is on disk as soon as it is paid for: --resume pays for nothing twice.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.core.run import Run
from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.solve import methods
from jaxrl_suite.experiments.solve.config import PRESETS, VOTES, Config
from jaxrl_suite.experiments.solve.grading import TestJudge, judge
from jaxrl_suite.experiments.solve.humaneval import NAME, humaneval
from jaxrl_suite.experiments.solve.problems import HiddenTask, VisibleTask, read_problems
from jaxrl_suite.llm.jobs import Job, JobOutcome
from jaxrl_suite.llm.ledger import Budget, Ledger
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.run_sampler import as_user_error, check_server, open_sampler
from jaxrl_suite.sandbox import Sandbox

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "check", "main"]

SYSTEM = ""  # it serves users' own problems
CLAIMS = ()
DRAWS = "solve"  # name of the file of draws


def check(config: Config) -> None:
    """Refuses what cannot be run, before a folder exists and before anything is paid."""
    if not config.task:
        raise UserError('solve needs --task FILE: JSON lines such as {"prompt": "What is 6 times 7?", "answer": "42"}')
    if not (config.base_url or config.weights or config.recording):
        raise UserError("solve needs a model: give --base-url of a server, --weights of one here, or --recording")
    if config.task != NAME and not Path(config.task).is_file():
        raise UserError(f"no file {config.task}: give --task FILE, JSON lines with a prompt each")
    tasks = [visible for visible, _ in _problems(config)]
    methods.check_method(config, tasks)
    if config.weights:
        from jaxrl_suite.llm.transformer.weights import find

        find(config.weights)
    if config.method not in VOTES:
        Sandbox(workers=1).close()
    check_server(config)


def _problems(config: Config) -> list[tuple[VisibleTask, HiddenTask]]:
    if config.task != NAME:
        return read_problems(config.task, config.limit)
    return humaneval(config.limit)


def main(config: Config, run: Run) -> None:
    problems = _problems(config)
    tasks = [visible for visible, _ in problems]
    bound = methods.estimate(config, tasks)
    run.say(
        f"{len(tasks)} problems by {config.method}: at most {bound.requests:,} requests, about "
        f"{bound.prompt_tokens:,} tokens of prompts and at most {bound.output_tokens:,} of answers"
    )
    with contextlib.ExitStack() as stack:
        sampler = stack.enter_context(_sampler(config, run))
        if config.method == "disc":
            from jaxrl_suite.llm.protocol import require

            require(sampler, "DISC", "prefix")
        sandbox = None
        if config.method not in VOTES or any(hidden.tests for _, hidden in problems):
            sandbox = stack.enter_context(Sandbox())
        outcomes, written = _solve(config, run, tasks, sampler, sandbox)
        rows = _grade(config, problems, outcomes, sandbox)
    _write(run, tasks, written, outcomes, rows)


def _solve(
    config: Config, run: Run, tasks: list[VisibleTask], sampler: Any, sandbox: Sandbox | None
) -> tuple[list[JobOutcome], list[JobOutcome]]:
    """Outcomes of the searches, and of the writing of tests before them."""
    judges: dict[str, Any] = {}
    written: list[JobOutcome] = []
    if sandbox is not None and config.method not in VOTES:
        tests = TestJudge(sandbox, tasks)
        judges = {"tests": tests.feedback, "reward": tests.rewards}
        bare = [number for number, task in enumerate(tasks) if not task.tests]
        jobs = [
            Job(
                f"tests of {tasks[n].id}",
                lambda _, n=n: methods.thinker(config, tasks[n], n, config.seeds[0]).tests(config.written_tests),
                _budget(config),
            )
            for n in bare
        ]
        written = _checked(run_lockstep(jobs, sampler))
        tests.written = {n: outcome.value or () for n, outcome in zip(bare, written, strict=True)}
    done = [0]

    def count(outcome: JobOutcome) -> None:
        done[0] += 1
        run.say(f"{done[0]} of {len(jobs)} searches")

    jobs = [
        Job(f"{seed} {task.id}", functools.partial(methods.search, config, task, number, seed), _budget(config))
        for seed in config.seeds
        for number, task in enumerate(tasks)
    ]
    return _checked(run_lockstep(jobs, sampler, judges, on_done=count)), written


def _grade(
    config: Config, problems: list[tuple[VisibleTask, HiddenTask]], outcomes: list[JobOutcome], sandbox: Sandbox | None
) -> list[dict[str, Any]]:
    rows = []
    searched = [(seed, problem) for seed in config.seeds for problem in problems]
    for (seed, (visible, hidden)), outcome in zip(searched, outcomes, strict=True):
        nothing = methods.Found("", None, [])
        result = nothing if outcome.error is not None else methods.found(config, visible, outcome.value)
        right = judge(sandbox, visible, hidden, result.text)
        total = outcome.ledger.total
        rows.append(
            {
                "id": visible.id,
                "seed": seed,
                "answer": result.text,
                "visible_score": result.score,
                "right": right,
                "answers": len(result.trace),
                "requests": total.requests,
                "total_tokens": total.total_tokens,
                "error": "" if outcome.error is None else str(outcome.error),
                "trace": result.trace,
            }
        )
    return rows


def _write(
    run: Run,
    tasks: list[VisibleTask],
    written: list[JobOutcome],
    outcomes: list[JobOutcome],
    rows: list[dict[str, Any]],
) -> None:
    traces = [{"id": row["id"], "seed": row["seed"], **node} for row in rows for node in row.pop("trace")]
    for name, lines in (("answers", rows), ("traces", traces)):
        write_atomic(run.folder / f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    failed = [row for row in rows if row["error"]]
    known = [row["right"] for row in rows if row["right"] is not None]
    visible = [row["visible_score"] for row in rows if row["visible_score"] is not None]
    said = f"{len(rows)} searches"
    if visible:
        said += f"; {np.mean([score >= 1 for score in visible]):.0%} pass all visible tests"
    if known:
        said += f"; {np.mean(known):.0%} of {len(known)} are right by what was hidden"
    if failed:
        said += f"; {len(failed)} could not be searched, the first for this: {failed[0]['error']}"
    run.text(f"{said}. Whole answers are in answers.jsonl, all that was written in traces.jsonl.")
    caption = (
        "Of each problem the answer that is submitted; `right` by hidden tests or the answer, where there are any."
    )
    run.table("answers", [row | {"answer": _clip(row["answer"])} for row in rows], caption=caption)
    shown = [row | {"text": _clip(row["text"])} for row in traces[:200]]
    columns = ("id", "seed", "node", "parent", "direction", "score", "value", "text")
    run.table("trace", shown, columns, caption="Solutions in the order in which they were written; the first 200.")
    if written:
        tests = [
            {"id": outcome.name.removeprefix("tests of "), "test": test}
            for outcome in written
            for test in outcome.value or ()
        ]
        caption = "Tests that the model wrote; whether they are true was not checked."
        run.table("written_tests", tests, ("id", "test"), caption=caption)
    ledger = Ledger()
    for outcome in [*written, *outcomes]:
        for role, usage in outcome.ledger.by_role.items():
            ledger.charge(usage, role)
    table = [{name: value for name, value in row.items() if name != "seconds"} for row in ledger.rows()]
    run.table("ledger", table, caption="What was paid, by role, of this run and what it continued.")


@contextlib.contextmanager
def _sampler(config: Config, run: Run) -> Iterator[Any]:
    if not config.weights:
        with open_sampler(config, run, DRAWS) as sampler:
            yield sampler
        return
    from jaxrl_suite.llm.recorder import Recorder
    from jaxrl_suite.llm.recording import Recording
    from jaxrl_suite.llm.run_sampler import draws_path
    from jaxrl_suite.llm.transformer import weights
    from jaxrl_suite.llm.transformer.sampler import SamplerConfig, TransformerSampler

    model = weights.load(config.weights)
    if model.tokenizer is None:
        raise UserError(f"{config.weights} has no tokenizer beside it, and problems are text: give a model with one")
    options = SamplerConfig(max_rows=32)
    local = TransformerSampler(
        f"{model.name}-0", model.config, model.params, tokenizer=model.tokenizer, options=options
    )
    with Recording(draws_path(config, run, DRAWS)) as draws:
        yield Recorder(local, draws)


def _budget(config: Config) -> Budget:
    return Budget(total_tokens=config.budget_tokens) if config.budget_tokens else Budget()


def _checked(outcomes: list[JobOutcome]) -> list[JobOutcome]:
    """The outcomes; a problem that a model refuses, or that is too long for it, is one failed search among others."""
    for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, UserError):
            raise as_user_error(outcome.error)
    if outcomes and all(outcome.error is not None for outcome in outcomes):
        raise as_user_error(outcomes[0].error)  # pyright: ignore[reportArgumentType]
    return outcomes


def _clip(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."
