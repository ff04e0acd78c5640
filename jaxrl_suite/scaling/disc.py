"""DISC, dynamic decomposition: how much of the best answer to hold fixed, and draw on from there, is found by drawing.

From a prefix of the answer answers are drawn until their rewards add up to `sigma`. z = (max - mean) / standard
deviation says how likely another draw is to do better: the lower, the likelier, if rewards are a location-scale family.
The first share `alpha` of the best answer's rest is a candidate prefix. If draws from it have a lower z, it becomes the
prefix (advance); else the step is shortened to `alpha` of itself (contract).

What the paper leaves open, and what is done here, is a field of `DiscConfig` each.

Reference: Light et al., "DISC: Dynamic decomposition improves LLM inference scaling", arXiv 2502.16706, algorithm 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Generator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError, Ledger
from jaxrl_suite.scaling.draws import check_block, draw_until
from jaxrl_suite.scaling.records import SOLVED, ScalingResult, SearchVisit, Solution, VisibleProblem, best_of

Acceptance = Literal["Z", "negZ", "Q", "negQ", "R"]
TOLERANCE = 1e-9  # rewards are shares: sums and z that differ by less are equal


@dataclasses.dataclass(frozen=True)
class DiscConfig:
    """The constants of DISC.

    Args:
      num_samples: N, most draws in all.
      alpha: share of the rest that the first candidate step takes, above 0 and below 1; 0.15 as published.
      sigma: sum of rewards at which draws from a prefix end, above 0; 1 as published.
      acceptance: rule of advance: Z a lower z, negZ a higher one, Q a lower mean reward, negQ a higher one, R a coin.
      draws_per_prefix: most draws from one prefix, 0 for no limit but N; with rewards of 0 the sum is never reached.
      min_step: what is accepted whatever the rule says: "step", a step of one token, which cannot be shortened; "rest",
        nothing but the last token of the answer (as published), so that a refused token is drawn after again.
      count_base: whether draws from the first prefix count (the published algorithm leaves them out of N).
      carry_best: whether the answer that a candidate prefix was cut from enters its statistics: it is a draw from there
        too, and the best reward can then never fall.
      static_step: tokens of every step, 0 for the dynamic ones; then every step is accepted. This is the decomposition
        by token (1) or by line that the paper compares with.
      restart: whether to begin again at the prompt when the prefix has reached the end; else the search ends there.
      seed: of the coin of rule R.
      block: draws that are asked for together, see `scaling.draws`; the outcome is that of one by one.

    Raises:
      UserError: if a value is out of range.
    """

    num_samples: int = 100
    alpha: float = 0.15
    sigma: float = 1.0
    acceptance: Acceptance = "Z"
    draws_per_prefix: int = 0
    min_step: Literal["rest", "step"] = "step"
    count_base: bool = True
    carry_best: bool = True
    static_step: int = 0
    restart: bool = True
    seed: int = 0
    block: int = 1

    def __post_init__(self):
        if self.num_samples < 1 or self.block < 1 or self.draws_per_prefix < 0 or self.static_step < 0:
            raise UserError(
                "num_samples and block must be at least 1, draws_per_prefix and static_step at least 0, got "
                f"{self.num_samples}, {self.block}, {self.draws_per_prefix}, {self.static_step}"
            )
        if not 0 < self.alpha < 1 or not 0 < self.sigma < math.inf:
            raise UserError(f"alpha must lie between 0 and 1 and sigma be above 0, got {self.alpha}, {self.sigma}")
        if self.acceptance not in ("Z", "negZ", "Q", "negQ", "R"):
            raise UserError(f"acceptance must be Z, negZ, Q, negQ or R, got {self.acceptance!r}")
        if self.min_step not in ("rest", "step"):
            raise UserError(f"min_step must be rest or step, got {self.min_step!r}")


class Draws(NamedTuple):
    """Draws from one prefix and their statistics."""

    prefix: tuple[int, ...]
    solutions: tuple[Solution, ...]  # new ones, in the order of the draws
    best: Solution  # a carried one included
    mean: float
    z: float  # inf where all rewards are equal


def priority(rewards: Sequence[float]) -> tuple[float, float]:
    """Mean and z = (max - mean) / standard deviation of the population; z is inf where all rewards are equal."""
    values = np.asarray(rewards, np.float64)
    mean, deviation = float(values.mean()), float(values.std())
    return mean, math.inf if deviation <= TOLERANCE else (float(values.max()) - mean) / deviation


def accepts(rule: Acceptance, candidate: Draws, base: Draws, coin: np.random.Generator) -> bool:
    """Accepts `candidate` as the new prefix, or not; equal statistics are never accepted."""
    if rule == "R":
        return bool(coin.random() < 0.5)
    if rule in ("Z", "negZ"):
        lower, higher = _below(candidate.z, base.z), _below(base.z, candidate.z)
    else:
        lower, higher = _below(candidate.mean, base.mean), _below(base.mean, candidate.mean)
    return lower if rule in ("Z", "Q") else higher


def disc(problem: VisibleProblem, config: DiscConfig = DiscConfig(), ledger: Ledger | None = None) -> Algorithm:
    """Greedy DISC: an advance is final.

    Args:
      problem: which.
      config: its constants.
      ledger: of the job, for blocks above 1.

    Returns:
      A `ScalingResult`; the priority of a visit is its z. A visit that the budget cut short is among them.
    """
    search = PrefixSearch(problem, config, ledger)
    with contextlib.suppress(BudgetExhaustedError):
        yield from _greedy(search)
    return search.result()


def _greedy(search: PrefixSearch) -> Generator[Any, Any, None]:
    while not search.is_over:
        base: Draws | None = yield from search.begin()
        while base is not None:
            base = yield from search.expand(base, base.best)
        if not search.config.restart:
            return


class PrefixSearch:
    """A search over prefixes and what it has seen, which greedy DISC, beam and tree have in common.

    A prefix is numbered when it is first drawn from.

    Args:
      problem: which.
      config: its constants.
      ledger: of the job, for blocks above 1.

    Raises:
      UserError: if blocks are asked for without a ledger.
    """

    def __init__(self, problem: VisibleProblem, config: DiscConfig, ledger: Ledger | None):
        check_block(config.block, ledger)
        self.problem, self.config, self.ledger = problem, config, ledger
        self.visits: list[SearchVisit] = []
        self.count = self.nodes = 0
        self.is_solved = False
        self.coin = np.random.default_rng((config.seed, problem.seed, problem.number))

    @property
    def is_over(self) -> bool:
        return self.is_solved or self.count >= self.config.num_samples

    def result(self) -> ScalingResult:
        solutions = [solution for visit in self.visits for solution in visit.solutions]
        return ScalingResult(best_of(solutions), tuple(self.visits))

    def begin(self) -> Generator[Any, Any, Draws]:
        """Draws from the prompt."""
        base = yield from self._draws((), None)
        if not self.config.count_base and not self.visits[1:]:
            self.count = 0
        return base

    def expand(self, base: Draws, own: Solution) -> Generator[Any, Any, Draws | None]:
        """Holds a first part of `own` fixed after the prefix of `base`, which is shortened until it is accepted.

        Returns:
          The draws from the longer prefix; None at the end of the answer, where nothing is left to draw, or of the
          search.
        """
        config, alpha = self.config, self.config.alpha
        rest = len(own.tokens) - len(base.prefix)
        while not self.is_over:
            step = config.static_step or max(1, math.ceil(alpha * rest - TOLERANCE))
            if step >= rest:
                return None
            prefix = own.tokens[: len(base.prefix) + step]
            candidate = yield from self._draws(prefix, own if config.carry_best else None)
            always = config.static_step > 0 or (step == 1 and config.min_step == "step")
            if always or accepts(config.acceptance, candidate, base, self.coin):
                self.visits[-1] = self.visits[-1]._replace(accepted=True)
                return candidate
            alpha *= config.alpha
        return None

    def _draws(self, prefix: tuple[int, ...], carried: Solution | None) -> Generator[Any, Any, Draws]:
        """Draws until the rewards add up to sigma, a whole reward ends the search, or a limit is met."""
        config, node, solutions, total = self.config, self.nodes, [], 0.0
        self.nodes += 1
        self.visits.append(SearchVisit(prefix, (), math.nan, accepted=not prefix))

        def take(solution: Solution) -> bool:
            nonlocal total
            solutions.append(solution)
            total += solution.reward
            self.count += 1
            self.is_solved = solution.reward >= SOLVED
            return total < config.sigma - TOLERANCE and not self.is_over

        most = min(config.draws_per_prefix or math.inf, config.num_samples - self.count)
        try:
            yield from draw_until(
                self.problem, prefix, node, take, most, block=config.block, ledger=self.ledger
            )  # fmt: skip
        finally:
            self.visits[-1] = self.visits[-1]._replace(solutions=tuple(solutions))
        everything = [*solutions, *([carried] if carried is not None else [])]
        mean, z = priority([solution.reward for solution in everything])
        self.visits[-1] = self.visits[-1]._replace(priority=z)
        best = best_of(everything)
        assert best is not None
        return Draws(prefix, tuple(solutions), best, mean, z)


def _below(a: float, b: float) -> bool:
    return a < b if math.inf in (a, b) else a < b - TOLERANCE
