"""SFS: what the searches say, as tables, figures and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.sfs.config import MethodName
from jaxrl_suite.experiments.sfs.searches import outcomes_of
from jaxrl_suite.experiments.sfs.shares import (
    ABLATIONS,
    LABELS,
    Found,
    column,
    gain_columns,
    solution_budget,
    solved_within,
    token_budget,
)
from jaxrl_suite.scaling.metrics import AXES, paired_gain, success_by_budget

if TYPE_CHECKING:
    from jaxrl_suite.experiments.sfs.config import Config
    from jaxrl_suite.scaling.forest import ForestResult

FIGURE: tuple[MethodName, ...] = ("best_of_n", "sfs", "no_scattering", "line", "rex", "islands", "irri", "tree")


def write_success(config: Config, run: Run, found: Found) -> None:
    rows = []
    for (model, tests, method), values in found.items():
        solved, tokens = column(values, "solved"), token_budget(config, found, model, tests)
        share = stats.mean_or_value(solved.mean(axis=1))
        row = {"model": model, "tests": tests, "method": LABELS[method], "solved": share.estimate}
        row |= {"low": share.low, "high": share.high, "written": float(column(values, "covered").mean())}
        plain = found.get((model, tests, "best_of_n"))
        within = solved_within(values, "total_tokens", tokens)
        requests = None if plain is None else paired_gain(solved, column(plain, "solved"))
        by_tokens = None if plain is None else paired_gain(within, solved_within(plain, "total_tokens", tokens))
        row |= gain_columns(requests, "gain at equal requests")
        row |= {"solved at equal tokens": float(within.mean())} | gain_columns(by_tokens, "gain at equal tokens")
        row |= {"solutions": float(column(values, "solutions").mean())}
        row |= {axis.replace("_", " "): float(column(values, axis).mean()) for axis in AXES}
        rows.append(row | {"searches": solved.size})
    caption = (
        f"Share of searches whose submission is right, on inputs that no search sees, within {config.requests} "
        "requests of any kind; its interval is Student's, over problems. Written: a right program was among "
        "those written, submitted or not. Gains are over best of N, empty without it, and paired; their intervals are "
        f"over {config.problems} problems, {len(config.seeds)} seeds each. Equal tokens: as many total tokens as "
        "every unfinished search had. Costs are means over all searches, solved or not."
    )
    run.table("success", rows, caption=caption)
    run.text(
        "Programs and edits are written by a small transformer. It has no words: a direction is a token (an operation "
        "to use, leave one out, reorder), by the model's own distribution after it has seen a program and the examples "
        "that it gets right. Scattering takes the likeliest directions that were not tried there, its absence draws "
        "independently; scouting is a table of log-odds that moves "
        f"with the change of score. Oracle tests are {config.visible} inputs, of which the prompt shows 4; noisy ones "
        f"pass a wrong program with {config.false_positive:g} and fail a right one with {config.false_negative:g}. A "
        "request for directions is a request, and one output token."
    )


def write_parts(config: Config, run: Run, found: Found) -> None:
    """The parts of SFS, each at equal requests and at equal solutions: where it gains, and what directions cost."""
    rows = []
    for model in config.models:
        cells: dict[MethodName, np.ndarray] = {
            m: found[model, "oracle", m] for m in config.methods if (model, "oracle", m) in found
        }
        if not {"sfs", "best_of_n"} <= set(cells):
            continue
        solutions = solution_budget(config, list(cells.values()))
        gaps: dict[MethodName, stats.Interval] = {}
        for method, values in cells.items():
            if method == "sfs":
                continue
            gaps[method] = paired_gain(column(cells["sfs"], "solved"), column(values, "solved"))
            even = [solved_within(x, "solutions", solutions) for x in (cells["sfs"], values)]
            paid = column(values, "requests").sum() / column(values, "solutions").sum()
            row = {"model": model, "SFS less": LABELS[method]} | gaps[method].columns("at equal requests")
            row |= {"solutions": solutions} | paired_gain(*even).columns("at equal solutions")
            rows.append(row | {"requests a solution": paid})
        parts: list[MethodName] = [m for m in ABLATIONS if m in gaps]
        worst = min(parts, key=lambda m: gaps[m].estimate, default=None)
        won, paid = gaps["best_of_n"], column(cells["sfs"], "requests").sum() / column(cells["sfs"], "solutions").sum()
        verdict = "above" if won.low > 0 else "below" if won.high < 0 else "not told apart from"
        text = (
            f"{model.capitalize()} model, true tests, {config.requests} requests: SFS "
            f"{column(cells['sfs'], 'solved').mean():.1%}, best of N "
            f"{column(cells['best_of_n'], 'solved').mean():.1%}. "
            f"SFS is {verdict} best of N, {won.estimate:+.3f} ({won.low:+.3f} to {won.high:+.3f}); it pays {paid:.2f} "
            "requests a solution, best of N one."
        )
        if worst is not None:
            text += (
                f" The part that brings it least is {worst.removeprefix('no_')}: {gaps[worst].estimate:+.3f} "
                f"({gaps[worst].low:+.3f} to {gaps[worst].high:+.3f})."
            )
        run.text(text)
    caption = (
        "SFS less each other method, true tests, paired; at equal requests, and at as many solutions as every "
        "unfinished search wrote, where directions cost nothing."
    )
    if rows:
        run.table("parts", rows, caption=caption)


def write_curves(config: Config, run: Run, found: Found) -> None:
    rows = []
    for model in config.models:
        for tests in config.tests:
            for axis in AXES:
                cells: dict[MethodName, np.ndarray] = {m: found[model, tests, m] for m in config.methods}
                most = max(column(values, axis).max() for values in cells.values())
                budgets = np.unique(np.geomspace(max(1, most / 100), most, 24).astype(np.int64))
                series = {}
                for method, values in cells.items():
                    costs = np.where(column(values, "solved") > 0, column(values, axis), np.inf).reshape(-1)
                    shares = success_by_budget(costs.tolist(), budgets).mean(axis=0).tolist()
                    if method in FIGURE:
                        series[LABELS[method]] = (budgets, shares)
                    rows += [
                        {
                            "model": model,
                            "tests": tests,
                            "axis": axis.replace("_", " "),
                            "method": LABELS[method],
                            "budget": int(budget),
                            "solved": share,
                        }
                        for budget, share in zip(budgets, shares, strict=True)
                    ]
                if axis in ("requests", "total_tokens") and tests == "oracle" and series:
                    name = axis.replace("_", " ")
                    figure = plot.lines(
                        series, xlabel=name, ylabel="share solved", title=f"{model} model, true tests", log_x=True,
                        markers=False,
                    )  # fmt: skip
                    run.figure(
                        f"success_{model}_{axis}", figure, f"Searches that had ended with a right program, by {name}."
                    )
    run.table("success_by_budget", rows, caption="Share solved by what was spent, on four axes.")


def write_one_search(config: Config, run: Run, found: Found) -> None:
    """One search of SFS as a tree: the one that solved its problem with most solutions."""
    model, tests = config.models[0], config.tests[0]
    values = found.get((model, tests, "sfs"))
    if values is None:
        return
    size = np.where(column(values, "solved") > 0, column(values, "solutions"), -1.0)
    number, place = (int(i) for i in np.unravel_index(int(np.argmax(size)), size.shape))
    result: ForestResult = outcomes_of(config, model, tests, "sfs", [(config.seeds[place], number)])[0].value
    way = () if result.submitted is None else result.way(result.submitted)
    rows = []
    for node, depth in in_order(result):
        one = result.nodes[node]
        rows.append(
            {
                "tree": "".join(("│ " * depth, "● " if node in way else "○ ", one.text or "(nothing)")),
                "direction": one.direction or "first solution",
                "born": node + 1,
                "score": one.score,
                "value": one.value,
                "visits": one.visits,
                "on the way": node in way,
            }
        )
    caption = (
        f"One search of SFS, {model} model, {tests} tests, problem {number}: every program with the direction in which "
        "its parent was edited, its score, the value that the search has for it after backing up, and its visits. ● is "
        "the way to what was submitted."
    )
    run.table("one_search", rows, caption=caption)


def in_order(result: ForestResult) -> list[tuple[int, int]]:
    """(node, depth) of all nodes, children right below their parent."""
    rows: list[tuple[int, int]] = []

    def visit(node: int, depth: int) -> None:
        rows.append((node, depth))
        for child in result.nodes:
            if child.parent == node:
                visit(child.id, depth + 1)

    for node in result.nodes:
        if node.parent is None:
            visit(node.id, 0)
    return rows
