"""Searches over strategies side by side: all advance in lockstep, a run is told of every round, and sees the tree.

What a search does depends on its setup, the journal and the recording alone, so a run that continues goes through the
rounds that are done once more, without a judgement or a request, and then goes on. In the picture of a strategy tree
each strategy is a dot at its generation; children fan out beside their parent, so that lines do not cross. Attempts
that were dropped are small crosses at their parent's children. The rows are as many as the tree has leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxrl_suite.core import plot
from jaxrl_suite.core.run import Run
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve import evolve
from jaxrl_suite.evolve.attempts import SearchSetup
from jaxrl_suite.evolve.methods import Search
from jaxrl_suite.evolve.proposer import Asking
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.evolve.tree import Ranking, StrategyTree
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.lockstep import Verifier, run_lockstep
from jaxrl_suite.llm.protocol import Usage
from jaxrl_suite.llm.run_sampler import as_user_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Planned(NamedTuple):
    """One search to come.

    Args:
      name: tells it apart, also in the journal.
      labels: for `metrics.jsonl`.
      setup: its method, its proposer and its judge.
      origin: the strategy that it starts from.
    """

    name: str
    labels: Mapping[str, Any]
    setup: SearchSetup
    origin: Strategy


def search_rounds(
    run: Run, planned: Sequence[Planned], samplers: Any, judges: Mapping[str, Verifier], title: str, name: str
) -> tuple[list[Search], dict[str, Usage]]:
    """All rounds of all searches, which have equally many.

    Args:
      run: gets a line of metrics for each search and round.
      planned: J searches.
      samplers: see `run_lockstep`.
      judges: see `services`.
      title: for the progress bar.
      name: of the loop.

    Returns:
      The J searches, and what they asked for by role.

    Raises:
      UserError: if the language model does not answer; with the remedy.
    """
    usage: dict[str, Usage] = {}
    searches: list[Search] = []

    def advance() -> None:
        nonlocal searches
        if searches:
            steps = [partial(_improve, plan.setup, search) for plan, search in zip(planned, searches, strict=True)]
        else:
            steps = [partial(_start, plan.setup, plan.origin) for plan in planned]
        jobs = [Job(plan.name, step) for plan, step in zip(planned, steps, strict=True)]
        outcomes = run_lockstep(jobs, samplers, judges)
        for outcome in outcomes:
            if outcome.error is not None:
                raise as_user_error(outcome.error)
            for role, used in outcome.ledger.by_role.items():
                usage[role] = usage.get(role, Usage()) + used
        searches = [outcome.value for outcome in outcomes]

    loop = run.chunks(1 + planned[0].setup.config.rounds, np.int32(0), f"{title}: rounds of search", name=name)
    for _ in range(loop.step):
        advance()
    for _ in loop:
        advance()
        for plan, search in zip(planned, searches, strict=True):
            at = search.curve[-1]
            run.log(**plan.labels, best=at.best, value=at.value, **at.cost._asdict())
        loop.carry = np.int32(1)
    return searches, usage


def _start(setup: SearchSetup, origin: Strategy, ledger: Ledger) -> Asking[Search]:
    return (yield from evolve.start(setup, ledger, [origin]))


def _improve(setup: SearchSetup, search: Search, ledger: Ledger) -> Asking[Search]:
    return (yield from evolve.improve(setup, search, ledger))


_LABELLED = 60  # a tree with more strategies has numbers only on the way to the best


def tree_figure(
    tree: StrategyTree, *, ranking: Ranking = "fitted", title: str = "", unit: str = "mean reward"
) -> Figure:
    """A picture of a tree.

    Args:
      tree: with at least one strategy that was played.
      ranking: what strength is: `fitted` ratings or the `mean` of all games.
      title: what is seen, in a few words.
      unit: of strength, for the scale.

    Raises:
      UserError: if nothing was played.
    """
    ranked = tree.ranked(ranking)
    if not ranked:
        raise UserError("no strategy was played: judge the tree before it is drawn")
    from matplotlib.ticker import MaxNLocator

    spots, crosses = layout(tree)
    values, best = tree.values(ranking), tree.lineage(ranked[0])
    played, parents = sorted(tree.judged), {strategy.parent for strategy in tree} | set(_attempts(tree))
    rows = 1 + max(y for _, y in [*spots, *crosses])
    figure, axes = plot.new_figure(width=7.2, height=max(2.2, min(1.3 + 0.17 * rows, 9.0)))
    scale = plot.value_scale(values[played].min(), values[played].max(), "strength")
    colours = scale.to_rgba(values)
    for strategy in tree:
        if strategy.parent is not None:
            marked = strategy.id in best
            axes.plot(
                *plot.bend(spots[strategy.parent], spots[strategy.id]), zorder=2 if marked else 1,
                color=plot.INK if marked else plot.MUTED, linewidth=2.0 if marked else 0.7,
                alpha=1.0 if marked else 0.7,
            )  # fmt: skip
    for attempt, spot in zip(_attempts(tree), crosses, strict=True):
        axes.plot(*plot.bend(spots[attempt], spot), color=plot.MUTED, linewidth=0.6, alpha=0.45, zorder=1)
        axes.plot(*spot, "x", color=plot.MUTED, markersize=3.5, markeredgewidth=0.9, zorder=3)
    size = 7.5 if len(tree) <= _LABELLED else 4.5
    for strategy in tree:
        marked = strategy.id in best
        face = tuple(colours[strategy.id]) if strategy.id in tree.judged else "none"
        axes.plot(
            *spots[strategy.id], "o", color=face, markersize=size + (2 if marked else 0), zorder=4,
            markeredgecolor=plot.INK if marked else plot.MUTED, markeredgewidth=1.6 if marked else 0.5,
        )  # fmt: skip
        if marked or len(tree) <= _LABELLED:
            above = strategy.id in parents  # right of a leaf, where nothing follows
            axes.annotate(
                str(strategy.id), spots[strategy.id], (0, 6) if above else (6, 0), textcoords="offset points",
                ha="center" if above else "left", va="bottom" if above else "center", fontsize=7,
                color=plot.INK if marked else plot.MUTED, zorder=5,
            )  # fmt: skip
    last = max(x for x, _ in [*spots, *crosses])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.set(xlabel="generation", xlim=(-0.3 - 0.01 * last, last + 0.3 + 0.01 * last), ylim=(rows - 0.4, -0.9))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_title(title or f"{len(tree)} strategies, {len(tree.dropped)} attempts dropped, best: {ranked[0]}")
    bar = figure.colorbar(scale, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label(f"strength, {unit}")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def layout(tree: StrategyTree) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Places (generation, row) of the strategies, by id, and of the dropped attempts that have a parent, in order.

    Every leaf has a row of its own; a parent stands in the middle of its children's rows.
    """
    size, attempts = len(tree), _attempts(tree)
    children: list[list[int]] = [[] for _ in range(size + len(attempts))]
    for number, parent in enumerate(attempts, size):
        children[parent].append(number)
    for strategy in tree:
        if strategy.parent is not None:
            children[strategy.parent].append(strategy.id)
    spots = plot.tree_layout(children, [strategy.id for strategy in tree if strategy.parent is None])
    return spots[:size], spots[size:]


def _attempts(tree: StrategyTree) -> list[int]:
    """The parents of the dropped attempts that have one."""
    return [attempt.parent for attempt in tree.dropped if attempt.parent is not None]
