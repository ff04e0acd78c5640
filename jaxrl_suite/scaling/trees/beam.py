"""Beam search by a process reward, a score of unfinished answers, and its form with independent subtrees (DVTS).

A round draws `branching` next steps of each prefix in the beam, has those that are unfinished scored by the process
reward, and keeps the best `width` of each subtree. An answer that has come to its end leaves the beam and is graded by
the visible reward. One subtree is beam search; many of width 1 are diverse verifier tree search, which cannot all end
in the same prefix. When no prefix is left the search begins again at the prompt, with draws of its own.

A step is a sample and a part of an answer: it costs its own tokens alone.

References: Snell et al., "Scaling LLM test-time compute optimally", arXiv 2408.03314, for beam search; Beeching et al.,
"Scaling test-time compute with open models", 2024, for DVTS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.protocol import Finish, Reply, Request
from jaxrl_suite.llm.questions import Sample, Verify
from jaxrl_suite.scaling.records import (
    SOLVED,
    GradedAnswer,
    ScalingResult,
    SearchVisit,
    Solution,
    VisibleProblem,
    best_of,
)
from jaxrl_suite.scaling.units import check_tokens, continued, units_of


@dataclasses.dataclass(frozen=True)
class BeamConfig:
    """The constants of beam search.

    Args:
      num_samples: most steps that are drawn in all, at least 1.
      width: prefixes that each subtree keeps, at least 1.
      branching: next steps that are drawn from a prefix, at least 1.
      subtrees: independent beams; many of width 1 are DVTS.
      step: tokens of a step, at least 1.
      delimiter: token that ends a step, beside the answer's end; then `step` is not used.
      process: verifier that scores a `GradedAnswer` which is not finished.
      distinct: whether equal steps from one prefix are one.

    Raises:
      UserError: if a value is out of range.
    """

    num_samples: int = 400
    width: int = 4
    branching: int = 4
    subtrees: int = 1
    step: int = 8
    delimiter: int | None = None
    process: str = "process"
    distinct: bool = True

    def __post_init__(self):
        values = (self.num_samples, self.width, self.branching, self.subtrees, self.step)
        if min(values) < 1:
            raise UserError(f"num_samples, width, branching, subtrees and step must be at least 1, got {values}")


class _Beam(NamedTuple):
    """A prefix in a beam."""

    subtree: int
    prefix: tuple[int, ...]
    score: float  # by the process reward; nan for the prompt


def beam_search(problem: VisibleProblem, config: BeamConfig = BeamConfig()) -> Algorithm:
    """Beam search by a process reward; ends with the first whole reward.

    Args:
      problem: which; its `verifier` grades whole answers.
      config: its constants.

    Returns:
      A `ScalingResult`, a visit for each prefix that steps were drawn from, with the answers that ended there; the
      priority is the prefix's score. `tokens_to_solve` counts the last steps of answers alone: take the ledger's.

    Raises:
      UserError: if the prompt is no token ids.
    """
    check_tokens(problem.prompt, "beam search")
    search = _BeamSearch(problem, config)
    with contextlib.suppress(BudgetExhaustedError):
        while not search.is_over:
            yield from search.run()
    return ScalingResult(best_of([s for visit in search.visits for s in visit.solutions]), tuple(search.visits))


class _BeamSearch:
    """A search and what it has seen; a prefix is numbered when steps are first drawn from it, the prompt is 0."""

    def __init__(self, problem: VisibleProblem, config: BeamConfig):
        self.problem, self.config = problem, config
        self.visits: list[SearchVisit] = []
        self.count = self.starts = 0
        self.numbers = itertools.count(1)
        self.is_solved = False

    @property
    def is_over(self) -> bool:
        return self.is_solved or self.count >= self.config.num_samples

    def run(self) -> Generator[Any, Any, None]:
        """Grows beams from the prompt until none is left."""
        config = self.config
        beams = [_Beam(subtree, (), math.nan) for subtree in range(config.subtrees)]
        while beams and not self.is_over:
            open_steps = yield from self._grow(beams)
            scores: Sequence[float] = ()
            if open_steps and not self.is_over:
                items = tuple(GradedAnswer(self.problem.number, step.prefix) for step in open_steps)
                scores = (yield Verify(config.process, items)).values
            ranked = [step._replace(score=float(score)) for step, score in zip(open_steps, scores, strict=False)]
            ranked.sort(key=lambda step: -step.score)  # stable: the earliest of equal ones
            beams = [
                step
                for subtree in range(config.subtrees)
                for step in [step for step in ranked if step.subtree == subtree][: config.width]
            ]

    def _grow(self, beams: Sequence[_Beam]) -> Generator[Any, Any, list[_Beam]]:
        """Draws the next steps of all beams, and grades answers that have come to their end; the others."""
        requests = []
        left = self.config.num_samples - self.count
        for beam in beams:
            size = self.config.branching * (1 if beam.prefix else self.config.width)  # as many as later rounds draw
            if left > 0:
                requests.append(self._request(beam, min(size, left)))
                left -= size
        replies: tuple[Reply, ...] = yield tuple(map(Sample, requests))
        answers: list[tuple[int, tuple[int, ...]]] = []  # of a visit
        open_steps: list[_Beam] = []
        for beam, reply in zip(beams, replies, strict=False):
            self.count += len(reply.completions)
            steps: list[tuple[tuple[int, ...], Finish]] = [
                (units_of(completion, self.problem.prompt), completion.finish) for completion in reply.completions
            ]
            if self.config.distinct:
                steps = list(dict.fromkeys(steps))
            self.visits.append(SearchVisit(beam.prefix, (), beam.score, accepted=True))
            for step, finish in steps:
                if self._is_end(beam.prefix, step, finish):
                    answers.append((len(self.visits) - 1, beam.prefix + step))
                else:
                    open_steps.append(_Beam(beam.subtree, beam.prefix + step, math.nan))
        if answers:
            items = tuple(GradedAnswer(self.problem.number, answer) for _, answer in answers)
            verdicts = yield Verify(self.problem.verifier, items)
            for (visit, answer), reward in zip(answers, verdicts.values, strict=False):
                solutions = (*self.visits[visit].solutions, Solution(answer, float(reward)))
                self.visits[visit] = self.visits[visit]._replace(solutions=solutions)
                self.is_solved = self.is_solved or reward >= SOLVED
        return open_steps

    def _request(self, beam: _Beam, size: int) -> Request:
        decoding, config = self.problem.decoding, self.config
        left = decoding.max_tokens - len(beam.prefix)
        if config.delimiter is None:
            decoding = dataclasses.replace(decoding, max_tokens=min(config.step, left))
        else:
            stops = (*decoding.stop_tokens, config.delimiter)
            decoding = dataclasses.replace(decoding, max_tokens=left, stop_tokens=stops)
        first, node = 0, 0
        if beam.prefix:
            node = next(self.numbers)
        else:
            first, self.starts = self.starts, self.starts + size
        path = (self.problem.seed, self.problem.number, node)
        return Request(continued(self.problem.prompt, beam.prefix), size, decoding, path, first_draw=first)

    def _is_end(self, prefix: tuple[int, ...], step: tuple[int, ...], finish: Finish) -> bool:
        if len(prefix) + len(step) >= self.problem.decoding.max_tokens:
            return True
        return finish != "length" and (self.config.delimiter is None or step[-1] != self.config.delimiter)
