"""Sampling diversity: what the draws say, as tables, figures and verdicts."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.div_sampling.config import MethodName, ModelName
from jaxrl_suite.experiments.div_sampling.draws import COLUMNS, MEASURED
from jaxrl_suite.scaling.diverse import measures
from jaxrl_suite.scaling.diverse.prompt_mixture import beta_any_right
from jaxrl_suite.scaling.metrics import AXES, paired_gain, pass_at_k, success_by_budget

if TYPE_CHECKING:
    from jaxrl_suite.experiments.div_sampling.config import Config

Found = dict[str, np.ndarray]
DIVERSITY_PROBLEMS = 20
MEASURES = {
    "different answers": measures.distinct_share,
    "entropy": measures.entropy,
    "edit distance": functools.partial(measures.mean_pairwise, distance=measures.edit_distance),
    "Jaccard distance": functools.partial(measures.mean_pairwise, distance=measures.jaccard_distance),
    "block distance": functools.partial(measures.mean_pairwise, distance=measures.block_distance),
}
LABELS: dict[MethodName, str] = {
    "plain": "one prompt",
    "style": "styles",
    "noise": "noise",
    "order": "other orders",
    "idea": "ideas, own",
    "idea_dual": "ideas, other model's",
    "style_order": "styles and orders",
}


def column(rows: np.ndarray, name: str) -> np.ndarray:
    """One column of searches, by problem: float64[problems, seeds]."""
    return rows[..., COLUMNS.index(name)].T


def _solved_by(searches: np.ndarray, tokens: float) -> np.ndarray:
    """float64[problems, seeds]: solved with at most so many tokens in all."""
    return column(searches, "solved") * (column(searches, "total_tokens") <= tokens)


def write_success(config: Config, run: Run, name: ModelName, found: Found) -> None:
    plain = column(found["searches"][config.methods.index("plain")], "solved")
    rows, curves = [], []
    everything = found["searches"][config.methods.index("plain")]
    tokens = float(column(everything, "total_tokens").max())  # of a search that used all its answers
    plain_by_tokens = _solved_by(everything, tokens)
    for at, method in enumerate(config.methods):
        searches = found["searches"][at]
        solved = column(searches, "solved")
        row = {
            "method": LABELS[method],
            "temperature": config.temperatures[int(found["tuned"][at].argmax())],
            f"solved by {config.samples}": float(solved.mean()),
        }
        gain = paired_gain(solved, plain) if method != "plain" else stats.Interval(0.0, 0.0, 0.0)
        row |= gain.columns("gain over one prompt")
        by_tokens = _solved_by(searches, tokens)
        row[f"solved by {tokens:.0f} tokens"] = float(by_tokens.mean())
        gain = paired_gain(by_tokens, plain_by_tokens) if method != "plain" else stats.Interval(0.0, 0.0, 0.0)
        row |= gain.columns("gain at equal tokens")
        row |= {axis.replace("_", " "): float(column(searches, axis).mean()) for axis in AXES}
        rows.append(row)
        curves += _curves(config, method, searches)
    caption = (
        f"{name}: share of {config.problems} held-out problems solved by at most {config.samples} answers, "
        f"{len(config.seeds)} seeds. Each method has the temperature that was best for it on {config.tuning} other "
        "problems; gains are paired by problem, 95 %. Costs are means over all searches until solved or ended; tokens "
        "of thinkers are among them."
    )
    run.table(f"success_{name}", rows, caption=caption)
    run.table(f"success_by_budget_{name}", curves, caption=f"{name}: share solved by what was spent, on four axes.")
    series: dict[str, tuple] = {}
    for axis in ("samples", "total tokens"):
        series = {
            LABELS[method]: tuple(
                np.array(
                    [(r["budget"], r["solved"]) for r in curves if (r["axis"], r["method"]) == (axis, LABELS[method])]
                ).T
            )
            for method in config.methods
        }
        figure = plot.lines(series, xlabel=axis, ylabel="share solved", title=name, markers=False)
        run.figure(f"success_{axis.split()[0]}_{name}", figure, f"Problems solved by a budget of {axis}.")


def _curves(config: Config, method: MethodName, searches: np.ndarray) -> list[dict]:
    rows = []
    for axis in AXES:
        spent, solved = column(searches, axis).reshape(-1), column(searches, "solved").reshape(-1)
        most = config.samples if axis == "samples" else float(spent.max())
        budgets = np.unique(np.linspace(max(1, most / 20), most, 20).astype(np.int64))
        shares = success_by_budget(np.where(solved > 0, spent, np.inf).tolist(), budgets).mean(axis=0)
        rows += [
            {"method": LABELS[method], "axis": axis.replace("_", " "), "budget": int(b), "solved": float(s)}
            for b, s in zip(budgets, shares, strict=True)
        ]
    return rows


def write_predictions(config: Config, run: Run, name: ModelName, found: Found) -> None:
    """Gains of diversity that measured failure rates predict, beside fresh draws at the same temperature."""
    K, N = config.samples, config.draws
    measured: list[MethodName] = ["plain", *(method for method in MEASURED if method in config.methods)]
    rows = []
    original = found["right"][0].sum(axis=1) / (config.prompts * N)  # success rate of the original prompt, by problem
    for at, method in enumerate(measured):
        right = found["right"][at]  # problems, prompts
        rates = right / N
        pooled = pass_at_k(np.full(len(right), right.shape[1] * N), right.sum(axis=1), K)
        if method != "plain":
            pooled = any_of_different(rates, K)
        one = pass_at_k(np.full(right.size, N), right.reshape(-1), K).reshape(right.shape).mean(axis=1)
        place = config.methods.index(method)
        realised = column(found["searches"][place], "solved").mean(axis=1)
        gap = realised - pooled
        error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
        rows.append(
            {
                "prompts": LABELS[method],
                "success rate": float(rates.mean()),
                "spread of rates": float(rates.std(axis=1).mean()),
                "worse than the original": float(np.mean(rates.mean(axis=1) < original)),
                "one prompt for all, predicted": float(one.mean()),
                "a prompt each, predicted": float(pooled.mean()),
                "a prompt each, seen": float(realised.mean()),
                "difference / its error": float(gap.mean() / error) if error > 0 else None,
            }
        )
    caption = (
        f"{name}, each method at its own temperature: success rates of {config.prompts} prompts a problem, {N} answers "
        f"each. Predicted: at least one of {K} right, unbiased; for a prompt each over all sets of {K} different ones "
        "of these prompts. Seen: the searches above, with random numbers of their own; the difference is divided by "
        "the standard error of its mean over problems. Worse than the original: share of problems where the mean "
        "perturbed prompt is, and diversity must lose. The spread has the noise of a rate in it."
    )
    run.table(f"predictions_{name}", rows, caption=caption)


def any_of_different(rates: np.ndarray, count: int) -> np.ndarray:
    """Estimate float64[problems] that one answer from each of `count` prompts is right in at least one case.

    Args:
      rates: float64[problems, prompts], success rates of prompts that were drawn independently.
      count: at most the number of prompts. The mean over all sets of so many different prompts is unbiased for
        1 - (E f)^count, f the failure rate: their answers are independent.
    """
    symmetric = np.zeros((len(rates), count + 1))  # elementary symmetric polynomials of the failure rates
    symmetric[:, 0] = 1
    for failure in (1 - rates).T:
        symmetric[:, 1:] += failure[:, None] * symmetric[:, :-1].copy()
    return 1 - symmetric[:, count] / math.comb(rates.shape[1], count)


def write_noise(config: Config, run: Run, name: ModelName, found: Found) -> None:
    rows, points = [], []
    base = column(found["noise"][0], "solved")
    for at, amount in enumerate(config.noise):
        solved = column(found["noise"][at], "solved")
        first = (column(found["noise"][at], "after") == 1).astype(np.float64)
        interval = stats.mean_interval(solved.mean(axis=1))
        gain = paired_gain(solved, base) if at else stats.Interval(0.0, 0.0, 0.0)
        rows.append(
            {
                "tokens of noise": amount,
                "solved by 1": float(first.mean()),
                f"solved by {config.samples}": interval.estimate,
            }
            | gain.columns(f"gain over {config.noise[0]}")
        )
        points.append((amount, interval.estimate, interval.low, interval.high))
    run.table(f"noise_{name}", rows, caption=f"{name}: tokens of noise in front; up to 2 were met in training.")
    figure = plot.lines(
        {f"solved by {config.samples}": tuple(np.array(points).T)},
        xlabel="tokens of noise",
        ylabel="share solved",
        title=name,
    )
    run.figure(
        f"noise_{name}", figure, "Perturbations from none to more than the model has ever seen; 95 % over problems."
    )


def write_diversity(config: Config, run: Run, name: ModelName, found: Found) -> None:
    rows = [
        {"method": LABELS[method]} | dict(zip(MEASURES, found["diversity"][at].mean(axis=0).tolist(), strict=True))
        for at, method in enumerate(config.methods)
    ]
    caption = (
        f"{name}: how much {config.samples} answers to a problem differ, at the temperature of one prompt; entropy of "
        "whole answers in nats, distances are means over pairs, 0 to 1."
    )
    run.table(f"diversity_{name}", rows, caption=caption)


def write_claims(config: Config, run: Run, found: dict[ModelName, Found]) -> None:
    name = config.models[0]
    plain = column(found[name]["searches"][config.methods.index("plain")], "solved")
    gains: dict[MethodName, stats.Interval] = {
        method: paired_gain(column(found[name]["searches"][at], "solved"), plain)
        for at, method in enumerate(config.methods)
        if method != "plain"
    }
    text = "; ".join(
        f"{LABELS[method]} {gain.estimate:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})" for method, gain in gains.items()
    )
    scale = f"{name}, {config.problems} problems, {len(config.seeds)} seeds, {config.samples} answers each"
    note = f"Countdown by a small model, at temperatures tuned for each method; gains over one prompt: {text}."
    for claim in ("div-1", "div-2", "div-3"):
        run.result(claim, "no large model was run", verdict="not comparable", scale=scale, note=note)
    closed = {diverse: beta_any_right(8, 2, 10, diverse=diverse) for diverse in (False, True)}
    run.result(
        "div-4",
        f"1 - E f^10 = {closed[False]:.3f}, 1 - (E f)^10 = {closed[True]:.3f} for f of Beta(8, 2)",
        verdict="held",
        scale="closed form; enumeration for votes",
        note=(
            "By Jensen's inequality, for any K and any prompts, against one perturbed prompt used K times. Against the "
            "original prompt it can lose, and under a majority vote its sign depends on N: see the exact tables."
        ),
    )
    curve = found[name]["noise"]
    solved = [column(rows, "solved") for rows in curve]
    best = int(np.argmax([rows.mean() for rows in solved]))
    inside = 0 < best < len(solved) - 1
    ends = [paired_gain(solved[best], solved[end]) for end in (0, len(solved) - 1)]
    enough = len(config.seeds) >= 5 and config.problems >= 100
    held = "held" if inside and all(gain.low > 0 for gain in ends) else "not held"
    run.result(
        "div-5",
        f"best with {config.noise[best]} of {', '.join(map(str, config.noise))} tokens of noise",
        verdict=held if enough else "not comparable",
        scale=scale,
        note="; ".join(
            f"over {amount}: {gain.estimate:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            for amount, gain in zip((config.noise[0], config.noise[-1]), ends, strict=True)
        ),
    )
