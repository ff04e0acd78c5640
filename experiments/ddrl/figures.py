"""Pictures of DDRL's experiment: what a distilled set looks like, and why the best returns teach so little.

Shapes: `R` distillation seeds, `N` pairs, `E` episodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl_suite.core import plot
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.ddrl.sets import RANDOM, SHARES, PairSet
from jaxrl_suite.experiments.ddrl.tasks import DDRLTask
from jaxrl_suite.rl.datasets.episodes import episode_returns, episodes
from jaxrl_suite.rl.datasets.percentile import episode_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLASSES = ("up", "right", "down", "left")
NEAR = 0.5  # rad from upright, where there is nothing to swing up
_GAP = 1  # squares between two images of a picture


def draw_sets(run: Run, task: DDRLTask, sets: list[PairSet]) -> None:
    """The smallest distilled set of the first seed beside random pairs, as phases or images."""
    ours = next(found for found in sets if found.kind == "distilled")
    control = next((found for found in sets if found.label == RANDOM and found.size == ours.size), None)
    if task.name == "pendulum":
        draw_phases(run, task, ours, control)
    elif task.discrete and control is not None:
        draw_images(run, task, ours, control)


def draw_phases(run: Run, task: DDRLTask, ours: PairSet, control: PairSet | None) -> None:
    """Angle against speed, the colour is the torque; and the expert's own policy."""
    with plot.style():
        figure, panels = plot.new_panels(3, 10.0, 3.5)
        angles, speeds = np.linspace(-np.pi, np.pi, 121), np.linspace(-8, 8, 81)
        grid = np.stack(np.meshgrid(angles, speeds), axis=-1).reshape(-1, 2)
        seen = np.stack([np.cos(grid[:, 0]), np.sin(grid[:, 0]), grid[:, 1]], axis=1).astype(np.float32)
        torque = np.asarray(task.teacher(seen)).reshape(81, 121)
        image: Any = panels[2].imshow(
            torque, cmap="coolwarm", vmin=-1, vmax=1, origin="lower", aspect="auto", extent=(-np.pi, np.pi, -8, 8)
        )
        shown = [(panels[0], ours, f"{ours.size} distilled pairs"), (panels[1], control, f"{ours.size} random pairs")]
        for axes, found, title in shown:
            if found is not None:
                _phases(axes, task, found)
            axes.set_title(title)
        panels[2].set_title("the expert")
        for place, axes in enumerate(panels):
            axes.grid(visible=False)
            axes.set(xlim=(-np.pi, np.pi), ylim=(-8.4, 8.4), xlabel="angle from upright, rad")
            axes.set_xticks([-np.pi, 0, np.pi], ["-π", "0", "π"])
            if place == 0:
                axes.set_ylabel("speed, rad/s")
        bar = figure.colorbar(image, ax=panels, label="torque / greatest torque", aspect=28, pad=0.01)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    run.figure(
        f"{task.slug}_set", figure,
        "The set of the first seed. Distilled observations need not lie on the circle of angles: the size of a dot is "
        "the length of its (cosine, sine), 1 for a real state, and one with a thick rim has a speed beyond the axis.",
    )  # fmt: skip


def _phases(axes: Axes, task: DDRLTask, pair_set: PairSet) -> None:
    raw = np.asarray(pair_set.pairs.observations[0]) * task.scaling.std + task.scaling.mean
    torque = np.asarray(pair_set.pairs.targets[0])[:, 0]
    angle, speed = np.arctan2(raw[:, 1], raw[:, 0]), raw[:, 2]
    size = 46 * np.clip(np.hypot(raw[:, 0], raw[:, 1]), 0.25, 3)
    edge = np.where(np.abs(speed) > 8, 1.6, 0.5).tolist()
    axes.scatter(
        angle, np.clip(speed, -8, 8), c=torque, s=size, cmap="coolwarm", vmin=-1, vmax=1, edgecolors=plot.MUTED,
        linewidths=edge, zorder=3,
    )  # fmt: skip


def draw_images(run: Run, task: DDRLTask, ours: PairSet, control: PairSet) -> None:
    """One row an action, as the sets began; walls are grey, the agent blue, the goal orange."""
    count = ours.pairs.targets.shape[-1]
    with plot.style():
        figure, panels = plot.new_panels(2, 10.4, 2.4)
        for axes, found, title in ((panels[0], ours, "distilled"), (panels[1], control, "random")):
            images = np.asarray(found.pairs.observations[0]) * task.scaling.std + task.scaling.mean
            axes.imshow(mosaic(colours(images), count), interpolation="nearest")
            axes.set_title(f"{found.size} {title} images")
            height = images.shape[1] + _GAP
            axes.set_yticks([height * (row + 0.5) - 1 for row in range(count)], _CLASSES[:count])
            axes.set_xticks([])
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set_visible(False)
    run.figure(
        f"{task.slug}_set", figure,
        "Sets of the first seed. Walls grey, agent blue, goal orange; the distilled images started as random ones of "
        "the action that names their row, and their labels are soft.",
    )  # fmt: skip


def colours(images: np.ndarray) -> np.ndarray:
    """float[N, H, W, 3] in 0 to 1, from channels of walls, agent and goal."""
    ink = np.array([[0.45, 0.48, 0.52], [0.16, 0.42, 0.85], [0.93, 0.49, 0.10]])
    shown = np.clip(images, 0, 1)
    background = np.ones((*shown.shape[:3], 3))
    for channel, colour in enumerate(ink):
        part = shown[..., channel : channel + 1]
        background = background * (1 - part) + colour * part
    return background


def mosaic(images: np.ndarray, rows: int) -> np.ndarray:
    """float[H', W', 4]: images [N, H, W, 3] row by row, transparent between them."""
    columns = -(-len(images) // rows)
    height, width = images.shape[1:3]
    canvas = np.zeros((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 4))
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        canvas[top : top + height, left : left + width] = np.concatenate([image, np.ones((height, width, 1))], -1)
    return canvas


def draw_losses(run: Run, task: DDRLTask, sets: list[PairSet], chunk: int) -> None:
    """Held-out loss of students on the moving average of the set, as distillation goes on."""
    series: dict[str, Any] = {}
    for pair_set in sets:
        other = task.discrete and pair_set.label.startswith("published")  # of another loss
        if pair_set.losses is not None and len(pair_set.losses) and not other and len(series) < len(plot.PALETTE):
            steps = chunk * np.arange(1, len(pair_set.losses) + 1)
            low, high = pair_set.losses.min(axis=1), pair_set.losses.max(axis=1)
            name = f"{pair_set.label.removeprefix('distilled, ')}, {pair_set.size}"
            series[name] = (steps, pair_set.losses.mean(axis=1), low, high)
    if series:
        ylabel = "cross-entropy" if task.discrete else "squared error"
        figure = plot.lines(
            series, xlabel="outer steps", ylabel=f"held-out {ylabel}", title=f"Distillation on {task.name}"
        )
        caption = "Students trained on the set so far, on episodes it was not made from. Bands: all seeds."
        run.figure(f"{task.slug}_distillation", figure, caption)


def why_the_best_returns_teach_little(run: Run, task: DDRLTask) -> dict[str, float]:
    """Return against start angle of a pendulum's episodes: the table and figure behind percentile cloning's failure.

    Returns:
      Rank correlations of the return, and of what it is after comparison with similar starts, with the distance of the
      start from upright and with the share of random actions; how many episodes the best tenth has, and how many
      of them began near upright.
    """
    from scipy import stats as scipy_stats

    bounds, returns = episodes(task.data), episode_returns(task.data)
    first = task.data.observations[bounds.starts]
    angle = np.arctan2(first[:, 1], first[:, 0])
    noise = np.asarray(task.data.extra["episodes/noise"])
    best_episodes = np.argsort(-returns, kind="stable")[: max(1, round(SHARES[0] * len(returns)))]
    fair = episode_scores(task.data, by="start_normalised")
    causes = {
        "return, distance of the start from upright": _rank_correlation(scipy_stats, returns, np.abs(angle)),
        "return, share of random actions": _rank_correlation(scipy_stats, returns, noise),
        "return for its start, distance of the start from upright": _rank_correlation(scipy_stats, fair, np.abs(angle)),
        "return for its start, share of random actions": _rank_correlation(scipy_stats, fair, noise),
        "kept": float(len(best_episodes)),
        "kept that began near upright": float(np.sum(np.abs(angle[best_episodes]) < NEAR)),
    }
    with plot.style():
        figure, axes = plot.new_figure(6.4, 3.2)
        axes.plot(angle, returns, "o", color=plot.PALETTE[7], markersize=5, alpha=0.8, label="episodes")
        axes.plot(
            angle[best_episodes],
            returns[best_episodes],
            "o",
            color=plot.PALETTE[1],
            markersize=6.5,
            label="the best 10 % by return",
        )
        axes.set(xlabel="start angle from upright, rad", ylabel="return")
        axes.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["-π", "-π/2", "0", "π/2", "π"])
        axes.set_title("Which episodes have the best returns", pad=22)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 0.99), ncols=2, borderpad=0, handletextpad=0.3)
    run.figure(
        f"{task.slug}_returns", figure,
        "A dot is an episode of the data. A high return may be a good start or good play.",
    )  # fmt: skip
    return causes


def _rank_correlation(scipy_stats: Any, a: np.ndarray, b: np.ndarray) -> float:
    return float(scipy_stats.spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else float("nan")
