"""UCT over steps of an answer: lines, tokens, or any number of tokens at once.

Each expansion goes down from the prompt to a prefix, draws one whole answer from there, and has it graded. Its next
step makes a child of that prefix, or is counted at the child that has the same step; the reward is counted all the way
up. So every request is one graded answer, as in best-of-N, and the first draws are the same.

A prefix is drawn from until it has had `branching * visits ** growth` draws, or while none of its children can be drawn
from; then the search goes down to one of them. With growth 0 the branching is fixed, above it widens as a prefix is
visited more often (progressive widening), without which a search is lost where none of the first draws went right.

Reference: Couetoux et al., "Continuous upper confidence trees", 2011, for the widening.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Generator, Sequence
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.protocol import Completion, Request
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
from jaxrl_suite.scaling.trees.policy import PrefixNode, TreePolicy, backup, select
from jaxrl_suite.scaling.units import check_tokens, continued, units_of


@dataclasses.dataclass(frozen=True)
class UctConfig:
    """The constants of UCT over steps.

    Args:
      num_samples: N, most draws.
      step: tokens of a step, at least 1; 1 is a tree over tokens.
      delimiter: token that ends a step, beside the answer's end; then `step` is not used. A line's end gives lines.
      branching: draws from a prefix before its children are chosen among, at least 1.
      growth: power of the visits that widens it, 0 to 1; 0 is a fixed branching.
      policy: selection and backup. The prior of puct is the step's probability under the model, 1 where it is unknown.

    Raises:
      UserError: if a value is out of range.
    """

    num_samples: int = 100
    step: int = 8
    delimiter: int | None = None
    branching: int = 2
    growth: float = 0.5
    policy: TreePolicy = TreePolicy()  # noqa: RUF009 (it is frozen)

    def __post_init__(self):
        if self.num_samples < 1 or self.step < 1 or self.branching < 1:
            raise UserError(
                "num_samples, step and branching must be at least 1, "
                f"got {self.num_samples}, {self.step}, {self.branching}"
            )
        if not 0 <= self.growth <= 1:
            raise UserError(f"growth must lie between 0 and 1, got {self.growth}")


def step_length(rest: Sequence[int], step: int, delimiter: int | None) -> int:
    """Tokens of the first step of `rest`: up to the delimiter, or `step` of them; all where there are no more."""
    if delimiter is None:
        return min(step, len(rest))
    return next((i for i, token in enumerate(rest, 1) if token == delimiter), len(rest))


class _StepNode(PrefixNode):
    """A prefix, its draws and its children by their steps."""

    __slots__ = ("by_step", "draws", "number")

    def __init__(self, prefix: tuple[int, ...], parent: PrefixNode | None, prior: float = 1.0):
        super().__init__(prefix, parent, prior)
        self.by_step: dict[tuple[int, ...], _StepNode] = {}
        self.draws, self.number = 0, -1


def uct(problem: VisibleProblem, config: UctConfig = UctConfig()) -> Algorithm:
    """UCT over steps of the answer; ends with the first whole reward.

    Args:
      problem: which.
      config: its constants.

    Returns:
      A `ScalingResult`, a visit for each draw; the priority of a visit is the score by which its prefix was chosen.

    Raises:
      UserError: if the prompt is no token ids.
    """
    check_tokens(problem.prompt, "UCT")
    visits: list[SearchVisit] = []
    with contextlib.suppress(BudgetExhaustedError):
        yield from _grow(problem, config, visits)
    return ScalingResult(best_of([visit.solutions[0] for visit in visits]), tuple(visits))


def _grow(problem: VisibleProblem, config: UctConfig, visits: list[SearchVisit]) -> Generator[Any, Any, None]:
    root = _StepNode((), None)
    numbers, decodings = 0, {0: problem.decoding}
    while len(visits) < config.num_samples:
        node, score = _descend(root, config)
        if node.number < 0:
            node.number, numbers = numbers, numbers + 1
        held = len(node.prefix)
        decoding = decodings.get(held)
        if decoding is None:
            limit = problem.decoding.max_tokens - held
            decoding = decodings[held] = dataclasses.replace(problem.decoding, max_tokens=limit)
        path = (problem.seed, problem.number, node.number)
        reply = yield Sample(Request(continued(problem.prompt, node.prefix), 1, decoding, path, first_draw=node.draws))
        completion: Completion = reply.completions[0]
        rest = list(units_of(completion, problem.prompt))
        answer = node.prefix + tuple(rest)
        verdicts = yield Verify(problem.verifier, (GradedAnswer(problem.number, answer),))
        reward = float(verdicts.values[0])
        visits.append(SearchVisit(node.prefix, (Solution(answer, reward),), score, accepted=True))
        node.draws += 1
        if reward >= SOLVED:
            return
        backup(_child(node, rest, completion, problem, config), reward)


def _descend(root: _StepNode, config: UctConfig) -> tuple[_StepNode, float]:
    """The prefix to draw from, and the score by which it was chosen; nan for the prompt."""
    node, score = root, math.nan
    branching, growth, policy = config.branching, config.growth, config.policy
    while node.children and node.draws >= (branching * node.visits**growth if growth else branching):
        node, score = select(node, policy)
    return node, score


def _child(
    node: _StepNode, rest: list[int], completion: Completion, problem: VisibleProblem, config: UctConfig
) -> _StepNode:
    """The child that an answer passes through, made if it is new; the node itself where the step ends the answer."""
    size = step_length(rest, config.step, config.delimiter)
    if size >= len(rest) or len(node.prefix) + size >= problem.decoding.max_tokens:
        return node
    step = tuple(rest[:size])
    child = node.by_step.get(step)
    if child is None:
        prior = 1.0
        if config.policy.rule == "puct" and completion.logprobs is not None:
            prior = max(math.exp(float(completion.logprobs[:size].sum())), 1e-12)
        child = node.by_step[step] = _StepNode(node.prefix + step, node, prior)
    return child
