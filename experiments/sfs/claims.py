"""SFS: verdicts on the published claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core import stats
from jaxrl_suite.core.claims import Verdict
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.sfs.config import MethodName
from jaxrl_suite.experiments.sfs.shares import ABLATIONS, LABELS, Found, column, solved_within
from jaxrl_suite.scaling.metrics import paired_gain

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
        gaps: dict[MethodName, stats.Interval] = {m: paired_gain(ours, within[m]) for m in rivals}
        verdict = _verdict(list(gaps.values()))
        whole = all(reaches(cells[m], config, budget) for m in ("sfs", *rivals))
        run.result(
            claim,
            f"SFS {100 * ours.mean():.1f}; " + "; ".join(f"{LABELS[m]} {100 * within[m].mean():.1f}" for m in rivals),
            verdict=verdict if enough and whole else "not comparable",
            scale=scale,
            unit="%",
            note=f"{model} model, true tests, other problems than published; solved within {budget} solutions, "
            "requests for directions not counted. SFS less " + _list(gaps),
        )
    if set(ABLATIONS) <= set(cells):
        parts: dict[MethodName, stats.Interval] = {
            m: paired_gain(column(sfs, "solved"), column(cells[m], "solved")) for m in ABLATIONS
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
        ratio, paid = (cost_ratio(column(sfs, axis), column(plain, axis), both) for axis in ("solutions", "requests"))
        verdict = halved(ratio) if ratio.low < ratio.high else "not comparable"
        run.result(
            "sfs-6",
            ratio.estimate,
            low=ratio.low,
            high=ratio.high,
            verdict=verdict if enough else "not comparable",
            scale=scale,
            note=f"Solutions until the first right one, SFS over best of N, over the {int(both.sum())} searches that "
            f"both solve, a selection, {model} model, true tests; in requests the ratio is {paid.estimate:.2f} "
            f"({paid.low:.2f} to {paid.high:.2f}). 95 % intervals, problems resampled. Held: all of the interval is at "
            "most .6; partly: all of it is below 1; not held: all of it is above .6; an interval from below .6 to "
            "above 1 says nothing.",
        )


def first_solutions(values: np.ndarray, budget: int) -> np.ndarray:
    """float64[problems, seeds], 1 where a search had ended with a right program within so many solutions."""
    return solved_within(values, "solutions", budget)


def reaches(values: np.ndarray, config: Config, budget: int) -> bool:
    """True if every search that did not end by itself wrote so many solutions."""
    cut = column(values, "requests") >= config.requests
    return bool((column(values, "solutions")[cut] >= budget).all())


def cost_ratio(ours: np.ndarray, plain: np.ndarray, both: np.ndarray) -> stats.Interval:
    """Total cost over total cost of the searches that both solved, its interval over problems.

    Args:
      ours: float64[problems, seeds], cost of each search.
      plain: as `ours`, of what it is compared with.
      both: bool[problems, seeds], the searches that count; one at least.

    Returns:
      The ratio. With one problem its interval is the ratio itself.
    """
    kept = both.any(axis=1)
    above, below = (np.where(both, cost, 0.0).sum(axis=1)[kept] for cost in (ours, plain))

    def ratio(problems: np.ndarray) -> np.ndarray:  # numbers of problems, float64[M, R, 1]: both sides resampled alike
        rows = problems[..., 0].astype(np.int64)
        return above[rows].sum(axis=1) / below[rows].sum(axis=1)

    if len(above) < 2:
        return stats.Interval(*[float(above[0] / below[0])] * 3)
    return stats.bootstrap_interval(np.arange(len(above)), ratio)


def halved(ratio: stats.Interval) -> Verdict:
    """The verdict on "about half" that the interval of a ratio allows."""
    if ratio.high <= 0.6:
        return "held"
    if ratio.high < 1:
        return "partly"
    return "not held" if ratio.low > 0.6 else "not comparable"


def _verdict(gaps: list[stats.Interval]) -> Verdict:
    if all(gap.low > 0 for gap in gaps):
        return "held"
    return "not held" if any(gap.high < 0 for gap in gaps) else "partly"


def _list(gaps: dict[MethodName, stats.Interval]) -> str:
    parts = [f"{LABELS[m]} {gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})" for m, gap in gaps.items()]
    return "; ".join(parts) + ". Paired 95 % intervals over problems."
