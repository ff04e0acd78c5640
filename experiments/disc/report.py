"""DISC: what the searches say, as tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core import plot, stats, tree_plot
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.disc.config import ChainName, MethodName
from jaxrl_suite.experiments.disc.searches import CHAINS, COLUMNS, DESCRIPTIONS, LABELS, LARGE_BEAM, first_search
from jaxrl_suite.scaling import ScalingResult
from jaxrl_suite.scaling.metrics import AXES, success_by_budget
from jaxrl_suite.scaling.pivot_chain import EOS, FILLER, RIGHT, WRONG
from jaxrl_suite.scaling.traces import trace_dots, trace_rows, trace_tree
from jaxrl_suite.scaling.trap_chain import TRAP, WAY

if TYPE_CHECKING:
    from jaxrl_suite.experiments.disc.config import Config

Found = dict[tuple[ChainName, MethodName], np.ndarray]  # float64[seeds, problems, COLUMNS]
TEXT = {FILLER: ".", RIGHT: "+", WRONG: "x", EOS: "$", TRAP: "T", WAY: "W"}
GAIN = tuple(stats.Interval(0.0, 0.0, 0.0).columns("gain over best of N"))
SHOWN: tuple[MethodName, ...] = ("Z", "disc_tree", "uct")  # methods whose first search is shown as a tree


def column(values: np.ndarray, name: str) -> np.ndarray:
    """One column of all searches, float64[searches]."""
    return values[..., COLUMNS.index(name)].reshape(-1)


def write_success(config: Config, run: Run, found: Found) -> None:
    rows = []
    for (chain, method), values in found.items():
        solved = column(values, "solved")
        share = stats.wilson(int(solved.sum()), solved.size)
        row = {"chain": chain, "method": LABELS[method], "solved": share.estimate, "low": share.low, "high": share.high}
        row["exact"] = CHAINS[chain].best_of_n(config.samples) if method == "best_of_n" else None
        row |= dict.fromkeys(GAIN)
        if method == "best_of_n":
            row |= dict.fromkeys(GAIN, 0.0)
        elif (chain, "best_of_n") in found and solved.size > 1:
            gain = stats.paired_bootstrap(solved, column(found[chain, "best_of_n"], "solved"))
            row |= dict(zip(GAIN, gain, strict=True))
        row |= {axis.replace("_", " "): float(column(values, axis).mean()) for axis in AXES}
        rows.append(row | {"searches": solved.size})
    caption = (
        f"Share of searches that solve their chain with at most {config.samples} samples, all draws counted; beams "
        "draw steps, as many as so many answers have. "
        "Gains are paired: both methods have the same draws from the prompt; they are empty without best of N. "
        "Costs are means over all searches, solved or not. The exact share is the closed form."
    )
    run.table("success", rows, caption=caption)
    if ("run", "Z") in found and ("run", "best_of_n") in found:
        z, plain = found["run", "Z"], found["run", "best_of_n"]
        tokens = column(z, "output_tokens").mean() / column(plain, "output_tokens").mean()
        run.text(
            f"Where an early error caps the reward, DISC-Z solves {column(z, 'solved').mean():.0%} of the chains, best "
            f"of {config.samples} {column(plain, 'solved').mean():.0%} (exactly "
            f"{CHAINS['run'].best_of_n(config.samples):.1%}), with {tokens:.2f} times its tokens."
        )
    run.text(
        "A chain has 40 tokens, of which the pivots decide. "
        + "; ".join(f"{chain}: {DESCRIPTIONS[chain]}" for chain in config.chains)
        + ". With an all-or-nothing reward every rule of DISC is best-of-N, sample by sample: a graded reward is what "
        "it lives on. What the paper leaves open is set so: draws from the prompt count; a step of one token is always "
        "accepted; the answer that a prefix was cut from counts among its draws; equal statistics are refused; at the "
        "end of an answer the search begins again; standard deviations are those of the population; no cap on draws "
        "from one prefix but the budget. DISC with a beam keeps the 3 best answers of a generation, DISC with a tree "
        "chooses by UCT with the maximum and c = 0.3, UCT by steps by the mean and c = 1, after 2 sqrt(n) draws of n "
        "visits. "
        "Beam search keeps 4 prefixes of 4 steps each, DVTS 1 in each of 4 subtrees, where all answers together have "
        f"{LARGE_BEAM} steps or more, and 2 of 2, 1 in each of 2, below; their process reward is the reward of the "
        "unfinished answer."
    )


def write_curves(config: Config, run: Run, found: Found) -> None:
    rows = []
    for chain in config.chains:
        for axis in AXES:
            most = max(column(found[chain, method], axis).max() for method in config.methods)
            budgets = np.unique(np.geomspace(max(1, most / 100), most, 24).astype(np.int64))
            series = {}
            for method in config.methods:
                values = found[chain, method]
                costs = np.where(column(values, "solved") > 0, column(values, axis), np.inf)
                shares = success_by_budget(costs.tolist(), budgets).mean(axis=0).tolist()
                series[LABELS[method]] = (budgets, shares)
                rows += [
                    {
                        "chain": chain,
                        "axis": axis.replace("_", " "),
                        "method": LABELS[method],
                        "budget": int(b),
                        "solved": s,
                    }
                    for b, s in zip(budgets, shares, strict=True)
                ]
            if axis == "output_tokens":
                figure = plot.lines(
                    series, xlabel="output tokens", ylabel="share solved", title=f"{chain}: {DESCRIPTIONS[chain]}",
                    log_x=True, markers=False,
                )  # fmt: skip
                run.figure(f"success_{chain}", figure, f"Searches that had solved their chain by a budget; {chain}.")
    run.table("success_by_budget", rows, caption="Share solved by what was spent, on four axes.")


def write_one_search(config: Config, run: Run) -> None:
    """The first search of a method on the first chain, prefix by prefix, and its tree."""
    chain = config.chains[0]
    for method in SHOWN:
        if method in config.methods:
            name = "one_search" if method == "Z" else f"one_search_{method}"
            signs = "+ a right pivot, x a wrong one, $ the end"
            show_search(run, name, f"{LABELS[method]} on {chain}", signs, first_search(config, chain, method), _text)


def show_search(
    run: Run, name: str, title: str, signs: str, result: ScalingResult, text_of: Callable[[Sequence[int]], str]
) -> None:
    """A table and a figure of one search: text, reward and priority of every node, and the way to the best answer."""
    nodes = trace_tree(result)
    caption = (
        f"One search of {title}: {signs}. A node is a prefix that was drawn from; its priority is what the search "
        "chose by, z or the score of UCT."
    )
    run.table(name, trace_rows(nodes, text_of), caption=caption)
    figure = tree_plot.draw_tree(
        trace_dots(nodes), title=f"{title}: {len(result.solutions)} answers", unit="best reward from there",
        xlabel="steps held fixed",
    )  # fmt: skip
    caption = f"The tree of that search, numbers as in table {name}; the way to its best answer is dark."
    run.figure(name, figure, caption)


def _text(tokens: Sequence[int]) -> str:
    return "".join(TEXT[token] for token in tokens)
