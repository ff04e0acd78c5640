"""Data values: what the numbers say, as tables, figures and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jaxrl_suite import datavalue as dv
from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.datavalue import curvature
from jaxrl_suite.experiments.data_values.orders import (
    BUDGETED,
    COMMON,
    DETECTORS,
    ERRORS,
    EXACT,
    MIXED,
    SHARES,
    draw_split,
)
from jaxrl_suite.tabular.classifiers import KernelRidgeClassifier

if TYPE_CHECKING:
    from jaxrl_suite.experiments.data_values.config import Config

SURELY = 5  # seeds that a verdict needs


def interval(scores: np.ndarray) -> stats.Interval:
    """Of a mean over seeds, from float[tables, seeds] or float[seeds]."""
    return stats.mean_or_value(np.asarray(scores).reshape(-1, np.shape(scores)[-1]).mean(axis=0))


def enough(config: Config) -> bool:
    return len(config.seeds) >= SURELY


def judge(config: Config, lead: stats.Interval) -> Literal["held", "partly", "not held", "not comparable"]:
    """Of a claim that something is positive: partly where its interval has 0 in it."""
    if not enough(config):
        return "not comparable"
    return "held" if lead.low > 0 else "not held" if lead.high < 0 else "partly"


def write_exact(config: Config, run: Run, areas: np.ndarray) -> None:
    """areas: float[tables, seeds, methods, 2]."""
    rows, dots = [], {}
    gaps = 100 * (1 - areas / areas[:, :, :1])  # % below the dynamic program
    for m, name in enumerate(EXACT):
        row: dict[str, Any] = {"order": name}
        for t, table in enumerate(config.datasets):
            row |= {f"{table} valid": areas[t, :, m, 0].mean(), f"{table} test": areas[t, :, m, 1].mean()}
        cell = interval(gaps[:, :, m, 0])
        rows.append(row | {"gap %": cell.estimate, "low": cell.low, "high": cell.high})
        if m:
            dots[name] = tuple(cell)
    what = f"{config.exact_points} points, {config.exact_model.replace('_', ' ')}, {len(config.seeds)} seeds"
    run.table("exact", rows, caption=f"Area under the selection curve, from all subsets: {what}.")
    figure = plot.dots(dots, xlabel="% below the exact optimum", title=f"Orders of {config.exact_points} points")
    run.figure(
        "exact", figure, f"Mean over {len(config.datasets)} tables, 95 % over seeds; {what}, on validation rows."
    )
    best = gaps[:, :, [EXACT.index(name) for name in COMMON[:-1]], 0].mean(axis=1).argmin(axis=1)
    common = np.stack([gaps[t, :, EXACT.index(COMMON[b]), 0] for t, b in enumerate(best)])  # [tables, seeds]
    overall, by_table = interval(common), common.mean(axis=1)
    greedy = interval(gaps[:, :, EXACT.index("greedy"), 0])
    overlap = by_table.max() >= 8.39 and by_table.min() <= 23.76
    run.result(
        "values-1", overall.estimate, low=overall.low, high=overall.high, unit="% below the exact optimum",
        verdict=(
            "not comparable" if not enough(config)
            else "not held" if overall.low <= 0
            else "held" if overlap else "partly"
        ),
        scale=f"{what}, {len(config.datasets)} tables",
        note=(
            f"Best common value on each table: {by_table.min():.1f} to {by_table.max():.1f} %. Greedy selection by the "
            f"true utility, which the paper leaves out, is {greedy.estimate:.1f} % below. Partly means that a gap is "
            "certain and smaller than the published range."
        ),
    )  # fmt: skip
    run.text(
        f"With every subset fitted, the best of the common values stays {overall.estimate:.1f} % ({overall.low:.1f} to "
        f"{overall.high:.1f}) below the exact optimum; looking one step ahead at the true utility stays "
        f"{greedy.estimate:.1f} % below."
    )


def write_redundancy(config: Config, run: Run, areas: np.ndarray) -> None:
    """areas: float[shares, seeds, methods]."""
    series = {
        name: (SHARES, *np.array([interval(areas[s, :, m]) for s in range(len(SHARES))]).T)
        for m, name in enumerate(MIXED)
    }
    figure = plot.lines(
        series, xlabel="redundancy p (1: the points of a class are one)", ylabel="area under the test curve",
        title=f"Redundancy, 3 classes of {config.per_class}",
    )  # fmt: skip
    run.figure("redundancy", figure, "Orders from all subsets. Bands: 95 % over seeds.")
    rows = [
        {"order": name, "share": share, "area": cell.estimate, "low": cell.low, "high": cell.high}
        for m, name in enumerate(MIXED)
        for share, cell in ((s, interval(areas[i, :, m])) for i, s in enumerate(SHARES))
    ]
    run.table("redundancy", rows, caption="Area under the test curve as training points become alike.")
    fall = interval(areas[0, :, MIXED.index("Shapley")] - areas[-1, :, MIXED.index("Shapley")])
    best = interval(areas[0, :, 0] - areas[-1, :, 0])
    first, last = (float(areas[i, :, MIXED.index("Shapley")].mean()) for i in (0, -1))
    run.result(
        "values-3", fall.estimate, low=fall.low, high=fall.high, unit="area lost by Shapley's order",
        verdict=judge(config, fall),
        scale=f"3 x {config.per_class} points, {len(config.seeds)} seeds, all subsets",
        note=(
            f"{first:.3f} to {last:.3f}; the exact order loses {best.estimate:.3f}. At 1 all points of a class are "
            "one: equal values then take class after class."
        ),
    )  # fmt: skip


def write_budget(config: Config, run: Run, areas: np.ndarray) -> None:
    """areas: float[tables, seeds, methods, 2]."""
    rows, dots = [], {}
    for m, name in enumerate(BUDGETED):
        cell = interval(areas[:, :, m, 0])
        by_table = {table: float(areas[t, :, m, 0].mean()) for t, table in enumerate(config.datasets)}
        drop = float(areas[:, :, m, 1].mean())
        rows.append(
            {"order": name, "mean": cell.estimate, "low": cell.low, "high": cell.high, **by_table, "drop": drop}
        )
        dots[name] = tuple(cell)
    caption = (
        f"Mean test accuracy while points are added, best first; {config.budget} fits of logistic regression. "
        "Drop: weighted accuracy drop when they are removed in the same order."
    )
    run.table("budget", rows, caption=caption)
    figure = plot.dots(dots, xlabel="mean test accuracy as points are added", title=f"Orders from {config.budget} fits")
    run.figure("budget", figure, f"Mean over {len(config.datasets)} tables, 95 % over {len(config.seeds)} seeds.")
    rivals = ("Shapley", "Beta(16,1)", "Banzhaf", "AME", "Data-OOB", "leave one out")
    means = areas[..., 0].mean(axis=(0, 1))
    rival = max(rivals, key=lambda name: means[BUDGETED.index(name)])
    lead = interval(areas[:, :, 0, 0] - areas[:, :, BUDGETED.index(rival), 0])
    soft = interval(areas[:, :, 1, 0] - areas[:, :, 0, 0])
    run.result(
        "values-2", lead.estimate, low=lead.low, high=lead.high, unit=f"mean accuracy ahead of {rival}",
        verdict=judge(config, lead),
        scale=f"{config.train} points, {config.budget} fits, {len(config.datasets)} tables, {len(config.seeds)} seeds",
        note=(
            f"{rival} is the best of the paper's baselines here. The soft surrogate with restarts gains "
            f"{soft.estimate:+.3f} ({soft.low:+.3f} to {soft.high:+.3f}) over the published one."
        ),
    )  # fmt: skip


def write_errors(config: Config, run: Run, errors: np.ndarray) -> None:
    """errors: float[tables, seeds, surrogates]."""
    rows, dots = [], {}
    for m, name in enumerate(ERRORS):
        cell = interval(errors[:, :, m])
        by_table = {table: float(errors[t, :, m].mean()) for t, table in enumerate(config.datasets)}
        rows.append({"surrogate": name, "mse": cell.estimate, "low": cell.low, "high": cell.high, **by_table})
        dots[name] = tuple(cell)
    run.table("errors", rows, caption=f"Squared error of surrogates on unseen subsets, fitted to {config.budget}.")
    figure = plot.dots(dots, xlabel="mean squared error of the utility", title="Surrogates", log_x=True)
    caption = (
        "All surrogates know the same subsets and have an intercept or learn their level. The published table asks "
        "its network through linear coefficients and weighs Shapley's fit with another kernel."
    )
    run.figure("errors", figure, caption)
    mean = errors.mean(axis=(0, 1))
    others = [i for i, name in enumerate(ERRORS) if not name.startswith("coverage")]
    rival = min(others, key=lambda i: mean[i])
    lead = interval(errors[:, :, rival] - errors[:, :, 0])
    published = interval(errors[:, :, 0])
    run.result(
        "values-4", published.estimate, low=published.low, high=published.high, unit="mean squared error",
        verdict=judge(config, lead),
        scale=(
            f"{2 * config.train} points, {config.budget} subsets, {len(config.datasets)} tables, "
            f"{len(config.seeds)} seeds"
        ),
        note=(
            f"The best surrogate that knows no similarities, {ERRORS[rival]}, has {mean[rival]:.4f}; coverage with an "
            f"affine link {mean[1]:.4f}, soft {mean[2]:.4f}."
        ),
    )  # fmt: skip


def write_noise(config: Config, run: Run, aucs: np.ndarray) -> None:
    """aucs: float[tables, seeds, methods]."""
    rows, dots = [], {}
    for m, name in enumerate(DETECTORS):
        cell = interval(aucs[:, :, m])
        by_table = {table: float(aucs[t, :, m].mean()) for t, table in enumerate(config.datasets)}
        rows.append({"values": name, "auc": cell.estimate, "low": cell.low, "high": cell.high, **by_table})
        dots[name] = tuple(cell)
    run.table("noise", rows, caption=f"Finding {config.noise:.0%} wrong labels by low values, {config.budget} fits.")
    figure = plot.dots(
        dots, xlabel="chance that a wrong label has the lower value", title="Wrong labels", references={"chance": 0.5}
    )
    run.figure("noise", figure, f"Mean over {len(config.datasets)} tables, 95 % over {len(config.seeds)} seeds.")


def write_bound(config: Config, run: Run) -> None:
    """The (1 - c)^2 bound on random coverage games, where it is a theorem, at every size."""
    rng = np.random.default_rng(0)
    members = (np.arange(256)[:, None] >> np.arange(8) & 1) == 1
    slack, factors = [], []
    for _ in range(config.games):
        edges = rng.uniform(size=(8, 12)) < rng.uniform(0.0, 0.3)
        edges[np.arange(8), rng.integers(0, 12, 8)] = True
        table = (members.astype(int) @ edges.astype(int) > 0) @ rng.uniform(0.2, 1.0, 12)
        table += members @ rng.uniform(0.0, rng.choice([0.0, 2.0, 10.0]), 8)  # what only one point covers
        orders = [dv.rank_order(values) for values in (dv.shapley(table), dv.banzhaf(table))]
        factors.append((1 - curvature.curvature(table)) ** 2)
        slack.append([dv.bound_slack(table, order).min() for order in orders])
    worst = float(np.min(slack))
    split = draw_split(config, config.datasets[0], config.seeds[0], min(config.exact_points, 12))
    real = curvature.report(
        dv.utility_table(dv.model_utility(split, KernelRidgeClassifier()), min(config.exact_points, 12))
    )
    run.result(
        "values-5", worst, unit="smallest slack",
        verdict="held" if worst > -1e-9 else "not held",
        scale=f"{config.games} coverage games of 8 points, Shapley and Banzhaf, every size",
        note=(
            f"(1 - c)^2 is above .01 in {np.mean(np.array(factors) > 0.01):.0%} of the games, at most "
            f"{max(factors):.2f}. "
            f"Accuracy is no such utility: on {config.datasets[0]} adding a point lowers it in "
            f"{real.decreasing:.0%} of cases, and {real.supermodular:.0%} of pairs of points help each "
            "other; the theorem says nothing there."
        ),
    )  # fmt: skip
