"""Best-of-N: independent answers, of which the one with the highest visible reward is given."""

from __future__ import annotations

import math

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.scaling.records import SOLVED, ScalingResult, SearchVisit, Solution, VisibleProblem, best_of, draw


def best_of_n(problem: VisibleProblem, num_samples: int, *, stop: bool = True) -> Algorithm:
    """Draws answers one by one; the baseline of every search.

    Args:
      problem: which.
      num_samples: N, most draws.
      stop: whether the first whole reward ends it, as it ends every other search; else all N are drawn at once.

    Returns:
      A `ScalingResult`.

    Raises:
      UserError: if `num_samples` is below 1.
    """
    if num_samples < 1:
        raise UserError(f"num_samples must be at least 1, got {num_samples}")
    solutions: list[Solution] = []
    size = 1 if stop else num_samples
    try:
        while len(solutions) < num_samples and not (stop and solutions and solutions[-1].reward >= SOLVED):
            solutions += yield from draw(problem, (), 0, len(solutions), size)
    except BudgetExhaustedError:
        pass
    visits = (SearchVisit((), tuple(solutions), math.nan, accepted=True),) if solutions else ()
    return ScalingResult(best_of(solutions), visits)
