"""Language models: what the trained ones solve, as tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.llm.transformer.config import LMConfig

if TYPE_CHECKING:
    from jaxrl_suite.experiments.lm.chains import SampledChains
    from jaxrl_suite.experiments.lm.config import Config

TARGET_STEPS = 4  # the length that the curves and the first sentence speak of


def share(solved: np.ndarray) -> stats.Interval:
    """Share of solved problems bool[seeds, problems], with the wider of two intervals: over seeds and over problems."""
    counted = stats.wilson(int(solved.sum()), solved.size)
    over_seeds = stats.mean_or_value(solved.mean(axis=1))
    wide = over_seeds if over_seeds.high - over_seeds.low > counted.high - counted.low else counted
    rate = counted.estimate
    return stats.Interval(rate, min(rate, max(0.0, wide.low)), max(rate, min(1.0, wide.high)))


def write_accuracy(config: Config, run: Run, shape: LMConfig, samples: list[SampledChains], seconds: float) -> None:
    solved = np.stack([one.solved for one in samples])  # seeds, temperatures, lengths, problems
    leading = np.stack([one.leading for one in samples])
    lengths = np.arange(1, config.sampled_steps + 1)
    rows, series = [], {}
    for place, temperature in enumerate(config.temperatures):
        cells = [share(solved[:, place, length - 1]) for length in lengths]
        series[f"temperature {temperature:g}"] = (lengths, *np.array(cells).T)
        for length, cell in zip(lengths.tolist(), cells, strict=True):
            steps = leading[:, place, length - 1]
            rows.append(
                {
                    "temperature": temperature,
                    "steps": length,
                    "trained_on": length <= config.max_steps,
                    "solved": cell.estimate,
                    "low": cell.low,
                    "high": cell.high,
                    "leading_steps": float(steps.mean() / length),
                    "problems": steps.size,
                }
            )
    figure = plot.lines(
        series,
        xlabel="steps of the chain",
        ylabel="share of chains solved",
        title=f"Modular chains, {shape.num_params:,} parameters",
    )
    caption = (
        f"Trained on chains of up to {config.max_steps} steps; longer ones were never seen. Bands: 95 % intervals, the "
        "wider of those over seeds and over problems."
    )
    run.figure("accuracy", figure, caption)
    run.table("accuracy", rows, caption="leading_steps: share of a chain that is right before its first error.")
    wanted = min(TARGET_STEPS, config.sampled_steps)
    row = next(row for row in rows if row["steps"] == wanted)
    took = f" ({seconds * config.train_steps / config.chunk:.0f} seconds a model, on this machine)" if seconds else ""
    run.text(
        f"After {config.train_steps} training steps{took} a model of {shape.num_params:,} parameters solves "
        f"{row['solved']:.1%} of {wanted}-step chains ({row['low']:.1%} to {row['high']:.1%}) at temperature "
        f"{row['temperature']:g}; constants are 0 to {config.largest}, values 0 to 22, {len(config.seeds)} seeds."
    )


def write_training(config: Config, run: Run, curves: np.ndarray) -> None:
    """The loss and the share of exact answers, from curves [seeds, chunks, 1 + lengths]."""
    steps = config.chunk * np.arange(1, curves.shape[1] + 1)
    exact_lengths = sorted({min(2, config.max_steps), min(TARGET_STEPS, config.max_steps), config.max_steps})
    series = {
        f"{length} step{'s' if length > 1 else ''}": (
            steps, curves[:, :, length].mean(0), curves[:, :, length].min(0), curves[:, :, length].max(0),
        )
        for length in exact_lengths
    }  # fmt: skip
    figure = plot.lines(
        series,
        xlabel="training steps",
        ylabel="share of exact answers",
        title="Held-out chains",
        references={"95 %": 0.95},
    )
    caption = (
        "Mean over seeds; bands from the worst seed to the best. Temperature 0. Chains of 1 to 3 steps are so few that "
        "training meets all or many of them."
    )
    run.figure("training", figure, caption)
    loss = curves[:, :, 0]
    figure = plot.lines(
        {"loss": (steps, loss.mean(0), loss.min(0), loss.max(0))},
        xlabel="training steps",
        ylabel="loss, nats a token of the answer",
        title="Training loss",
    )
    run.figure("loss", figure, "Mean over the steps since the last point, and over seeds; bands from least to most.")
    rows = [
        {"step": int(step), "seed": seed, "loss": float(line[0])}
        | {f"exact_{length}": float(line[length]) for length in range(1, config.max_steps + 1)}
        for seed, curve in zip(config.seeds, curves, strict=True)
        for step, line in zip(steps, curve, strict=True)
    ]
    run.table("training", rows, caption="exact_N: share of held-out N-step chains whose greedy answer is exact.")


def write_transcripts(config: Config, run: Run, sampled: SampledChains) -> None:
    """Three answers at the highest temperature: a solved one, the longest solved one, and the first that is wrong."""
    hot = int(np.argmax(config.temperatures))
    solved, leading, answers = sampled.solved[hot], sampled.leading[hot], sampled.answers[hot]
    right, wrong = np.argwhere(solved).tolist(), np.argwhere(~solved).tolist()
    wanted = min(TARGET_STEPS, config.sampled_steps) - 1
    picked = [
        *[place for place in right if place[0] == wanted][:1],
        *right[-1:],
        *wrong[:1],
        *right,
        *wrong,
    ]
    rows = []
    for length, problem in dict.fromkeys(map(tuple, picked)):
        good = bool(solved[length, problem])
        rows.append(
            {
                "problem": sampled.prompts[length * config.problems + problem],
                "model": answers[length, problem],
                "verdict": "right"
                if good
                else f"wrong: {leading[length, problem]} of {length + 1} leading steps right",
            }
        )
    caption = f"Temperature {config.temperatures[hot]:g}; of each step but the first the product and the value, mod 23."
    run.table("transcripts", rows[:3], caption=caption)
