"""Best-of-N: independent answers, of which the one with the highest visible reward is given."""

from __future__ import annotations

import contextlib
import math

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError, Ledger
from jaxrl_suite.scaling.draws import check_block, draw_until
from jaxrl_suite.scaling.records import SOLVED, ScalingResult, SearchVisit, Solution, VisibleProblem, best_of, draw


def best_of_n(
    problem: VisibleProblem, num_samples: int, *, stop: bool = True, block: int = 1, ledger: Ledger | None = None
) -> Algorithm:
    """Draws answers one by one; the baseline of every search.

    Args:
      problem: which.
      num_samples: N, most draws.
      stop: whether the first whole reward ends it, as it ends every other search; else all N are drawn at once.
      block: draws that are asked for together, see `scaling.draws`; the outcome is that of one by one.
      ledger: of the job, for blocks above 1.

    Returns:
      A `ScalingResult`.

    Raises:
      UserError: if `num_samples` is below 1, or the block cannot be.
    """
    if num_samples < 1:
        raise UserError(f"num_samples must be at least 1, got {num_samples}")
    check_block(block, ledger)
    solutions: list[Solution] = []

    def take(solution: Solution) -> bool:
        solutions.append(solution)
        return solution.reward < SOLVED

    with contextlib.suppress(BudgetExhaustedError):
        if stop:
            yield from draw_until(problem, (), 0, take, num_samples, block=block, ledger=ledger)
        while not stop and len(solutions) < num_samples:
            solutions += yield from draw(problem, (), 0, len(solutions), num_samples - len(solutions))
    visits = (SearchVisit((), tuple(solutions), math.nan, accepted=True),) if solutions else ()
    return ScalingResult(best_of(solutions), visits)
