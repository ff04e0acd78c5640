"""Draws from a prefix until there are enough, one by one or in blocks, with the same outcome.

Whether another answer is wanted is known only when the last one has been graded. A block draws ahead of that: as a draw
depends on its number alone, the answers up to the one that ends the draws are those of one by one. The others are paid
for, but not counted: `Ledger.set_aside` moves them to the column of speculative tokens, so that a search takes the same
way under the same budget whatever its blocks.

A model or a verifier that fails is another matter: a failure on any draw of a block is raised, and ends the search,
also where the draw was not needed, so that one by one the search might have gone on and solved its problem.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.ledger import BudgetExhaustedError, Ledger
from jaxrl_suite.llm.protocol import Completion, Request, Usage
from jaxrl_suite.llm.questions import Sample, Verify
from jaxrl_suite.scaling.records import GradedAnswer, Solution, VisibleProblem
from jaxrl_suite.scaling.units import Units, continued, units_of

DrawnAnswer = tuple[Completion, Usage]


def check_block(block: int, ledger: Ledger | None) -> None:
    """Checks that a block can be drawn.

    Raises:
      UserError: if it is below 1, or there is no ledger that could set draws aside.
    """
    if block < 1:
        raise UserError(f"block must be at least 1, got {block}")
    if block > 1 and ledger is None:
        raise UserError(f"blocks of {block} draws need the job's ledger, which sets aside what is not used: give it")


def draw_until(
    problem: VisibleProblem,
    prefix: Units,
    node: int,
    take: Callable[[Solution], bool],
    most: float,
    *,
    block: int = 1,
    ledger: Ledger | None = None,
) -> Generator[Any, Any, None]:
    """Draws answers that begin with `prefix`, from the first of its stream on, and has them graded.

    Args:
      problem: which.
      prefix: the part of the answer that is held fixed.
      node: names the random stream of the prefix.
      take: is given each answer in its order; returns whether another one is wanted.
      most: draws.
      block: draws that are asked for together.
      ledger: of the job; needed for blocks above 1.

    Raises:
      BudgetExhaustedError: if nothing may be drawn, or graded, any more.
      SamplerFailedError: if the model fails on a draw of the block, needed or not.
      UserError: if the block cannot be.
    """
    check_block(block, ledger)
    decoding = dataclasses.replace(problem.decoding, max_tokens=problem.decoding.max_tokens - len(prefix))
    path, prompt = (problem.seed, problem.number, node), continued(problem.prompt, prefix)
    count, wanted = 0, True
    while wanted and count < most:
        size = int(min(block, most - count))
        replies = yield tuple(Sample(Request(prompt, 1, decoding, path, first_draw=count + i)) for i in range(size))
        drawn: list[DrawnAnswer] = [(c, reply.usage) for reply in replies for c in reply.completions]
        answers = [prefix + units_of(completion, problem.prompt) for completion, _ in drawn]
        items = tuple(GradedAnswer(problem.number, answer) for answer in answers)
        try:
            verdicts = yield Verify(problem.verifier, items)
        except BudgetExhaustedError:
            _set_aside(ledger, drawn[1:], 0)  # one by one, the first would have been drawn in vain
            raise
        used = 0
        for answer, reward in zip(answers, verdicts.values, strict=False):
            used += 1
            wanted = take(Solution(answer, float(reward)))
            if not wanted:
                break
        count += used
        in_vain = wanted and used < len(drawn)  # drawn, and the budget of the verifier ended
        _set_aside(ledger, drawn[used + in_vain :], len(verdicts.values) - used)
        if in_vain:
            raise BudgetExhaustedError(verdicts.error)


def _set_aside(ledger: Ledger | None, drawn: list[DrawnAnswer], calls: int) -> None:
    """Notes draws that were not needed, and the verifier calls on them."""
    if drawn and ledger is not None:
        ledger.set_aside(sum((usage for _, usage in drawn), Usage(verifier_calls=calls)))
