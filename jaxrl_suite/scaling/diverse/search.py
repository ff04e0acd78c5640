"""Diverse best-of-N: every answer is drawn from a prompt of its own.

Reference: Wang et al., "On the effect of sampling diversity in scaling LLM inference", arXiv 2502.11027, algorithm 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Generator
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm, together
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.scaling.diverse.perturbations import Perturbation
from jaxrl_suite.scaling.records import SOLVED, ScalingResult, SearchVisit, Solution, VisibleProblem, best_of, draw


def diverse_best_of_n(
    problem: VisibleProblem, perturbation: Perturbation, num_samples: int, *, stop: bool = True
) -> Algorithm:
    """Draws each of N answers from a prompt of its own. Draw k shares its random numbers with draw k of `best_of_n`.

    Args:
      problem: which.
      perturbation: makes the prompts; what it asks of a thinker is paid as well.
      num_samples: N, most draws.
      stop: whether the first whole reward ends it; else all N are drawn side by side.

    Returns:
      A `ScalingResult`.

    Raises:
      UserError: if `num_samples` is below 1.
    """
    if num_samples < 1:
        raise UserError(f"num_samples must be at least 1, got {num_samples}")
    solutions: list[Solution] = []

    def one(number: int) -> Generator[Any, Any, list[Solution]]:
        try:
            prompt = yield from perturbation(problem, number)
            return (yield from draw(dataclasses.replace(problem, prompt=prompt), (), 0, number))
        except BudgetExhaustedError:
            return []

    if stop:
        with contextlib.suppress(BudgetExhaustedError):
            for number in range(num_samples):
                solutions += yield from one(number)
                if len(solutions) <= number or solutions[-1].reward >= SOLVED:
                    break
    else:
        for found in (yield from together([one(number) for number in range(num_samples)])):
            solutions += found
    visits = (SearchVisit((), tuple(solutions), math.nan, accepted=True),) if solutions else ()
    return ScalingResult(best_of(solutions), visits)
