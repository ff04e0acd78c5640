"""DISC with beam search and with tree search: several prefixes stay open, where greedy DISC commits to one.

A node is an answer and the prefix that it was drawn from. Its expansion is greedy DISC's step: a first part of that
very answer's rest (not of the best one's) is held fixed, and shortened until the draws from there are accepted. The
children are those draws, and the answer itself as one of them if `carry_best` says that it counts there.

    beam    keeps the best `width` children of a generation
    tree    goes down from the prompt by UCT, expands the leaf, and counts what was drawn on the way up (MCTS)

An answer at whose end nothing is left to draw is a closed leaf. When all are closed the search begins again at the
prompt, or ends, as greedy DISC does. The acceptance rules and all other constants are those of `DiscConfig`.

The paper describes the two in words; what it leaves open is a field of `DiscBeamConfig` and `DiscTreeConfig` each.

Reference: Light et al., "DISC: Dynamic decomposition improves LLM inference scaling", arXiv 2502.16706, algorithm 3.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator
from typing import Any, Literal, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import BudgetExhaustedError, Ledger
from jaxrl_suite.scaling.disc import DiscConfig, Draws, PrefixSearch
from jaxrl_suite.scaling.records import Solution, VisibleProblem
from jaxrl_suite.scaling.trees.policy import PrefixNode, TreePolicy, backup, close, select


@dataclasses.dataclass(frozen=True)
class DiscBeamConfig:
    """The constants of DISC with beam search.

    Args:
      disc: of its steps.
      width: answers that are kept of a generation, at least 1.
      rank: which are kept: those of the highest `reward`, or of the lowest `z` of the draws that they are among and
        then of the highest reward. The earliest of equal ones.

    Raises:
      UserError: if a value is out of range.
    """

    disc: DiscConfig = DiscConfig()  # noqa: RUF009 (it is frozen)
    width: int = 3
    rank: Literal["reward", "z"] = "reward"

    def __post_init__(self):
        if self.width < 1:
            raise UserError(f"width must be at least 1, got {self.width}")
        if self.rank not in ("reward", "z"):
            raise UserError(f"rank must be reward or z, got {self.rank!r}")


@dataclasses.dataclass(frozen=True)
class DiscTreeConfig:
    """The constants of DISC with tree search.

    Args:
      disc: of its steps.
      policy: selection and backup; the priors of puct are equal.
    """

    disc: DiscConfig = DiscConfig()  # noqa: RUF009 (it is frozen)
    policy: TreePolicy = TreePolicy()  # noqa: RUF009 (it is frozen)


class OpenAnswer(NamedTuple):
    """An answer, and the draws from a prefix that it is among."""

    draws: Draws
    own: Solution


def disc_beam(
    problem: VisibleProblem, config: DiscBeamConfig = DiscBeamConfig(), ledger: Ledger | None = None
) -> Algorithm:
    """DISC with beam search.

    Args:
      problem: which.
      config: its constants.
      ledger: of the job, for blocks above 1.

    Returns:
      A `ScalingResult`, as `disc` gives.
    """
    search = PrefixSearch(problem, config.disc, ledger)
    with contextlib.suppress(BudgetExhaustedError):
        yield from _run_beam(search, config)
    return search.result()


def disc_tree(
    problem: VisibleProblem, config: DiscTreeConfig = DiscTreeConfig(), ledger: Ledger | None = None
) -> Algorithm:
    """DISC with tree search (MCTS).

    Args:
      problem: which.
      config: its constants.
      ledger: of the job, for blocks above 1.

    Returns:
      A `ScalingResult`, as `disc` gives.
    """
    search = PrefixSearch(problem, config.disc, ledger)
    with contextlib.suppress(BudgetExhaustedError):
        yield from _run_tree(search, config)
    return search.result()


def _children(draws: Draws, carried: Solution | None) -> list[OpenAnswer]:
    """The answers that begin with the prefix of `draws`, the carried one last."""
    return [OpenAnswer(draws, own) for own in (*draws.solutions, *([] if carried is None else [carried]))]


def _run_beam(search: PrefixSearch, config: DiscBeamConfig) -> Generator[Any, Any, None]:
    def best(answers: list[OpenAnswer]) -> list[OpenAnswer]:
        z = (lambda answer: answer.draws.z) if config.rank == "z" else (lambda _: 0.0)
        return sorted(answers, key=lambda answer: (z(answer), -answer.own.reward))[: config.width]

    while not search.is_over:
        frontier = best(_children((yield from search.begin()), None))
        while frontier and not search.is_over:
            children: list[OpenAnswer] = []
            for answer in frontier:
                draws = yield from search.expand(*answer)
                if draws is not None:
                    children += _children(draws, answer.own if config.disc.carry_best else None)
            frontier = best(children)
        if not config.disc.restart:
            return


def _run_tree(search: PrefixSearch, config: DiscTreeConfig) -> Generator[Any, Any, None]:
    while not search.is_over:
        root = PrefixNode((), None)
        base = yield from search.begin()
        for answer in _children(base, None):
            backup(PrefixNode((), root, content=answer), answer.own.reward)
        while root.children and not search.is_over:
            leaf = root
            while leaf.children:
                leaf, _ = select(leaf, config.policy)
            draws = yield from search.expand(*leaf.content)
            if draws is None:
                close(leaf)
                continue
            for answer in _children(draws, None):
                backup(PrefixNode(draws.prefix, leaf, content=answer), answer.own.reward)
            if config.disc.carry_best:  # it was counted where it was drawn
                carried = PrefixNode(draws.prefix, leaf, content=OpenAnswer(draws, leaf.content.own))
                carried.visits, carried.total, carried.highest = 1, leaf.content.own.reward, leaf.content.own.reward
        if not config.disc.restart:
            return
