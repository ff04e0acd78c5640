"""SFS: verdicts on the published claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core import stats
from jaxrl_suite.core.claims import Verdict
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.sfs.config import MethodName
from jaxrl_suite.experiments.sfs.shares import ABLATIONS, LABELS, Found, column, gain, solved_within

if TYPE_CHECKING:
    from jaxrl_suite.experiments.sfs.config import Config


def write_claims(config: Config, run: Run, found: Found) -> None:
    scale = f"list programs, {len(config.seeds)} seeds x {config.problems} problems, {config.requests} requests"
    enough = len(config.seeds) >= 5 and config.problems >= 100
    for claim in ("sfs-1", "sfs-2"):
        run.result(
            claim, "not measured", verdict="not comparable", scale=scale,
            note="It needs GPT-3.5 and HumanEval; on HumanEval+ there is nothing to compare offline.",
        )  # fmt: skip
    model = config.models[0]
    cells: dict[MethodName, np.ndarray] = {
        m: found[model, "oracle", m] for m in config.methods if (model, "oracle", m) in found
    }
    if not {"sfs", "best_of_n"} <= set(cells):
        return
    sfs, plain = cells["sfs"], cells["best_of_n"]
    named: tuple[MethodName, ...] = ("line", "tree", "best_of_n")
    rivals: list[MethodName] = [m for m in named if m in cells]
    for claim, budget in (("sfs-3", 10), ("sfs-4", 40)):
        ours = first_solutions(sfs, budget)
        within: dict[MethodName, np.ndarray] = {m: first_solutions(cells[m], budget) for m in rivals}
        gaps: dict[MethodName, stats.Interval] = {m: gain(ours, within[m]) for m in rivals}
        verdict = _verdict(list(gaps.values()))
        run.result(
            claim,
            f"SFS {100 * ours.mean():.1f}; " + "; ".join(f"{LABELS[m]} {100 * within[m].mean():.1f}" for m in rivals),
            verdict=verdict if enough and reaches(sfs, config, budget) else "not comparable",
            scale=scale,
            unit="%",
            note=f"{model} model, true tests, other problems than published; solved within {budget} solutions, "
            "requests for directions not counted. SFS less " + _list(gaps),
        )
    if set(ABLATIONS) <= set(cells):
        parts: dict[MethodName, stats.Interval] = {
            m: gain(column(sfs, "solved"), column(cells[m], "solved")) for m in ABLATIONS
        }
        run.result(
            "sfs-5",
            f"SFS {100 * column(sfs, 'solved').mean():.1f}; "
            + "; ".join(f"{LABELS[m]} {100 * column(cells[m], 'solved').mean():.1f}" for m in ABLATIONS),
            verdict=_verdict(list(parts.values())) if enough else "not comparable",
            scale=scale,
            unit="%",
            note=f"{model} model, true tests, equal requests. SFS less " + _list(parts),
        )
    both = (column(sfs, "solved") > 0) & (column(plain, "solved") > 0)
    if both.any():
        ratio = column(sfs, "solutions")[both].mean() / column(plain, "solutions")[both].mean()
        paid = column(sfs, "requests")[both].mean() / column(plain, "requests")[both].mean()
        verdict: Verdict = "held" if ratio <= 0.6 else "partly" if ratio < 1 else "not held"
        run.result(
            "sfs-6",
            float(ratio),
            verdict=verdict if enough else "not comparable",
            scale=scale,
            note=f"Solutions until the first right one, SFS over best of N, over the {int(both.sum())} searches that "
            f"both solve, {model} model, true tests; in requests the ratio is {paid:.2f}.",
        )


def first_solutions(values: np.ndarray, budget: int) -> np.ndarray:
    """float64[problems, seeds], 1 where a search had ended with a right program within so many solutions."""
    return solved_within(values, "solutions", budget)


def reaches(values: np.ndarray, config: Config, budget: int) -> bool:
    """True if every search that did not end by itself wrote so many solutions."""
    cut = column(values, "requests") >= config.requests
    return bool((column(values, "solutions")[cut] >= budget).all())


def _verdict(gaps: list[stats.Interval]) -> Verdict:
    if all(gap.low > 0 for gap in gaps):
        return "held"
    return "not held" if any(gap.high < 0 for gap in gaps) else "partly"


def _list(gaps: dict[MethodName, stats.Interval]) -> str:
    parts = [f"{LABELS[m]} {gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})" for m, gap in gaps.items()]
    return "; ".join(parts) + ". Paired 95 % intervals over problems."
