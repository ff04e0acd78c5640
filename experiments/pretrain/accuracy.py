"""Accuracy of a small model on problems that it has not seen: greedy, and of independent samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxrl_suite.experiments.pretrain.config import Config
from jaxrl_suite.llm.protocol import Request
from jaxrl_suite.llm.task_models.shipped import TaskModel
from jaxrl_suite.scaling.metrics import pass_at_k
from jaxrl_suite.scaling.records import GradedAnswer
from jaxrl_suite.scaling.token_problems import TokenProblems

KS = (1, 10)


class Accuracy(NamedTuple):
    """Accuracy of a model on M problems."""

    greedy: float  # share solved at temperature 0
    pass_at: dict[int, float]  # mean over problems, by k
    transcripts: list[dict[str, str]]  # a few greedy answers


def measure(config: Config, model: TaskModel) -> Accuracy:
    problems = TokenProblems(model.family.task, model.family.held_out(config.problems))
    sampler = model.sampler()

    def answers(temperature: float, count: int) -> list[GradedAnswer]:
        decoding = problems.decoding(temperature)
        requests = [Request(prompt, count, decoding, (number,)) for number, prompt in enumerate(problems.prompts)]
        return [
            GradedAnswer(number, tuple(completion.tokens.tolist()))
            for number, reply in enumerate(sampler.sample(requests))
            for completion in reply.completions
            if completion.tokens is not None
        ]

    greedy = answers(0.0, 1)
    solved = problems.solved(greedy)
    drawn = problems.solved(answers(config.temperature, config.samples)).reshape(len(problems), config.samples)
    counts = np.full(len(problems), config.samples)
    at = {k: float(pass_at_k(counts, drawn.sum(axis=1), k).mean()) for k in KS}
    picked = [*np.flatnonzero(solved)[:2].tolist(), *np.flatnonzero(~solved)[:2].tolist()]
    task = model.family.task
    rows = [
        {
            "model": model.name,
            "problem": task.render(problems.prompts[number]),
            "answer": task.render(greedy[number].tokens),
            "verdict": "right" if solved[number] else "wrong",
        }
        for number in picked
    ]
    return Accuracy(float(solved.mean()), at, rows)
