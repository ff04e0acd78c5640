"""Votes: the answer that most samples agree on, all samples alike or weighted by their visible rewards.

A key function says what a sample answers; samples with one key agree, and one without (None) has no vote. Of equal
votes the answer that was given first wins: as samples are exchangeable, that is a fair draw among them.

Self-consistency that stops early asks after each sample how sure the lead is. With v votes for each answer

    beta        P(p > 1/2), p ~ Beta(v1 + 1, v2 + 1), of the two answers in the lead
    dirichlet   P(p1 is the largest), p ~ Dirichlet(v + 1), of all answers that were given

and it stops when that is at least the confidence. A lone answer is compared with one of no votes.

References: Wang et al., "Self-consistency improves chain of thought reasoning", arXiv 2203.11171; Aggarwal et al.,
"Let's sample step by step: adaptive-consistency", arXiv 2305.11860, for the early stop.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.protocol import Request
from jaxrl_suite.llm.questions import Sample
from jaxrl_suite.scaling.records import ScalingResult, SearchVisit, Solution, VisibleProblem, draw
from jaxrl_suite.scaling.units import units_of

AnswerKey = Callable[[Sequence[Any]], Hashable | None]  # the units of a whole answer to what it says
_POINTS, _TAIL = 128, 1e-15  # of the quadrature, and what it leaves out at either end


def majority_vote(problem: VisibleProblem, num_samples: int, answer_of: AnswerKey) -> Algorithm:
    """The vote of all samples alike, which needs no verifier.

    Args:
      problem: which.
      num_samples: N, drawn at once.
      answer_of: what a sample answers.

    Returns:
      A `ScalingResult` with `votes`. Its best is the first sample of the winner, of reward nan: it was not graded.

    Raises:
      UserError: if `num_samples` is below 1.
    """
    _check(num_samples)
    solutions: list[Solution] = []
    with contextlib.suppress(BudgetExhaustedError):
        yield from _ungraded(problem, solutions, num_samples)
    return _decide(solutions, answer_of, [1.0] * len(solutions))


def weighted_vote(problem: VisibleProblem, num_samples: int, answer_of: AnswerKey) -> Algorithm:
    """The vote in which a sample counts as much as its visible reward says; arguments as of `majority_vote`."""
    _check(num_samples)
    solutions: list[Solution] = []
    with contextlib.suppress(BudgetExhaustedError):
        while len(solutions) < num_samples:
            solutions += yield from draw(problem, (), 0, len(solutions), num_samples - len(solutions))
    return _decide(solutions, answer_of, [solution.reward for solution in solutions])


def self_consistency(
    problem: VisibleProblem,
    num_samples: int,
    answer_of: AnswerKey,
    *,
    confidence: float = 0.95,
    rule: Literal["beta", "dirichlet"] = "beta",
) -> Algorithm:
    """The vote of all samples alike, drawn one by one until the lead is sure.

    Args:
      problem: which.
      num_samples: N, most draws.
      answer_of: what a sample answers.
      confidence: the posterior probability at which it stops, from 1/2 to 1; 1 never stops early.
      rule: the posterior, see the module.

    Returns:
      A `ScalingResult`, as `majority_vote` gives.

    Raises:
      UserError: if a value is out of range.
    """
    _check(num_samples)
    if not 0.5 <= confidence <= 1 or rule not in ("beta", "dirichlet"):
        raise UserError(f"confidence must lie in [0.5, 1] and rule be beta or dirichlet, got {confidence}, {rule!r}")
    solutions: list[Solution] = []
    votes: dict[Hashable, float] = {}
    with contextlib.suppress(BudgetExhaustedError):
        while len(solutions) < num_samples:
            yield from _ungraded(problem, solutions, 1)
            key = answer_of(solutions[-1].tokens)
            if key is None:
                continue
            votes[key] = votes.get(key, 0.0) + 1
            counts = [round(count) for count in votes.values()]
            sure = beta_lead(counts) if rule == "beta" else dirichlet_lead(counts)
            if confidence < 1 and sure >= confidence:
                break
    return _decide(solutions, answer_of, [1.0] * len(solutions))


def beta_lead(votes: Sequence[int]) -> float:
    """P(p > 1/2) where p ~ Beta(v1 + 1, v2 + 1) for the two largest numbers of votes; a sum of binomials, exact."""
    first, second = sorted((*votes, 0, 0), reverse=True)[:2]
    trials = first + second + 1
    return sum(math.comb(trials, k) for k in range(first + 1)) / 2**trials


def dirichlet_lead(votes: Sequence[int]) -> float:
    """P(p1 is the largest) where p ~ Dirichlet(v + 1) for all answers, p1 of the most votes; by quadrature.

    A lone answer has a second one of no votes beside it. Shares are gamma variables over their sum, so
    that this is the chance that one gamma variable is the largest.
    """
    from scipy.special import gammainc, gammainccinv, gammaincinv, gammaln

    first, *others = sorted((*votes, 0, 0)[: max(2, len(votes))], reverse=True)
    shape = first + 1
    low, high = gammaincinv(shape, _TAIL), gammainccinv(shape, _TAIL)  # of the leader's variable
    nodes, weights = _quadrature()
    values = low + (high - low) * nodes
    density = np.exp(first * np.log(values) - values - gammaln(shape))
    below = np.prod([gammainc(count + 1, values) for count in others], axis=0)
    return float((high - low) * np.dot(weights, density * below))


@functools.cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
    return (nodes + 1) / 2, weights / 2


def _check(num_samples: int) -> None:
    if num_samples < 1:
        raise UserError(f"num_samples must be at least 1, got {num_samples}")


def _ungraded(problem: VisibleProblem, solutions: list[Solution], count: int) -> Algorithm:
    """Draws that are not graded, with the random stream of best-of-N."""
    path = (problem.seed, problem.number, 0)
    reply = yield Sample(Request(problem.prompt, count, problem.decoding, path, first_draw=len(solutions)))
    solutions += [Solution(units_of(completion, problem.prompt), math.nan) for completion in reply.completions]


def _decide(solutions: list[Solution], answer_of: AnswerKey, weights: Sequence[float]) -> ScalingResult:
    """The first sample of the answer with the most weight."""
    votes: dict[Hashable, float] = {}
    first: dict[Hashable, Solution] = {}
    for solution, weight in zip(solutions, weights, strict=True):
        key = answer_of(solution.tokens)
        if key is not None:
            votes[key] = votes.get(key, 0.0) + weight
            first.setdefault(key, solution)
    winner = _leader(votes)
    visits = (SearchVisit((), tuple(solutions), math.nan, accepted=True),) if solutions else ()
    best = next(iter(solutions), None) if winner is None else first[winner]
    return ScalingResult(best, visits, tuple(votes.items()))


def _leader(votes: Mapping[Hashable, float]) -> Hashable | None:
    """The answer of the most votes, the earliest of several; None if there are none."""
    return max(votes, key=lambda key: votes[key], default=None)
