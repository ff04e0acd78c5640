"""One task of DDRL's experiment from data to tables: sets are made, students play, and the report is written."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.distill.scorer import Scores
from jaxrl_suite.experiments.ddrl import expert, extras, figures
from jaxrl_suite.experiments.ddrl import scores as scoring
from jaxrl_suite.experiments.ddrl import sets as making
from jaxrl_suite.experiments.ddrl.config import Config
from jaxrl_suite.experiments.ddrl.sets import PairSet
from jaxrl_suite.experiments.ddrl.tasks import DDRLTask, make_task
from jaxrl_suite.rl.datasets.episodes import episodes


class TaskReport(NamedTuple):
    """The results of a task that verdicts read."""

    task: DDRLTask
    sets: list[PairSet]
    scores: dict[Any, Scores]  # by (label, size, recipe)

    def points(self, label: str, size: int, recipe: str, arena: int = 0) -> np.ndarray:
        """Normalised scores float64[S, R]."""
        return self.task.score(self.scores[label, size, recipe].returns[arena])

    def cloned(self, label: str, arena: int = 0) -> np.ndarray:
        """As `points`, of a set of everything or of the best episodes."""
        (size,) = (found.size for found in self.sets if found.label == label)
        return self.points(label, size, "clone", arena)


def run_environment(config: Config, run: Run, environment: str) -> list[TaskReport]:
    """A report for each level of an environment's data."""
    if not environment.startswith("mujoco/"):
        return [run_task(config, run, make_task(config, environment))]
    trained = expert.train_expert(config, run, environment)
    return [run_task(config, run, make_task(config, environment, level, trained)) for level in config.mujoco.datasets]


def run_task(config: Config, run: Run, task: DDRLTask) -> TaskReport:
    distilled = [making.distil(config, run, task, method, size) for size in task.sizes for method in config.methods]
    more = config.extras
    if more.generations:
        distilled.append(extras.polish(run, task, distilled[0], config.seeds, more.generations))
    chosen = [pair_set for size in task.sizes for pair_set in making.chosen_sets(task, size, config.seeds)]
    cloned = making.cloned_sets(task)
    sets = [*distilled, *chosen, *cloned]
    scorer = scoring.scorer_of(config, run, task)
    report = TaskReport(task, sets, scoring.score_sets(run, task, scorer, sets))
    making.save_sets(run, task, distilled, config.seeds)
    write_sets(config, run, report)
    write_cloned(run, report, extras.anchor_rows(run, task, scorer, more.offline_updates), config.evaluation.students)
    figures.draw_sets(run, task, sets)
    figures.draw_losses(run, task, distilled, config.distillation.chunk)
    write_sweep(config, run, report)
    if more.curve_steps:
        curves = scoring.steps_to_score(run, task, scorer, distilled[0], cloned[0], more.curve_steps)
        write_steps(run, task, curves, more.curve_steps)
    if more.across:
        rows = scoring.across(run, task, scorer, distilled[0])
        caption = f"{task.name}: other students on the {distilled[0].size} pairs that were distilled with one of them."
        run.table(f"{task.slug}_students", rows, caption=caption)
    if task.name == "pendulum":
        write_cause(config, run, report)
        if more.across:
            write_draws(config, run, extras.draws(config, run, task.name))
    scoring.say_speed(run, task, scorer)
    for pair_set in distilled:
        what = f"outer steps of {pair_set.label}, {pair_set.size} pairs, {len(config.seeds)} seeds side by side"
        run.throughput(f"{what}, {task.name}", pair_set.steps, pair_set.seconds)
    return report


def interval(scores: np.ndarray) -> stats.Interval:
    """Interquartile mean of float64[S, R], students by seeds; students are resampled within each seed."""
    return stats.bootstrap_interval(scores)


def difference(a: np.ndarray, b: np.ndarray) -> stats.Interval:
    """Interquartile mean of a - b, student by student: both started alike and played the same episodes."""
    a, b = np.broadcast_arrays(a, b)
    return stats.paired_bootstrap(a, b, stats.iqm)


def write_sets(config: Config, run: Run, report: TaskReport) -> None:
    """A table and a figure for each size."""
    task = report.task
    for size in task.sizes:
        rows, dots = [], {}
        for pair_set in (pair_set for pair_set in report.sets if pair_set.kind != "cloned" and pair_set.size == size):
            for arena, where in enumerate(task.arenas):
                row: dict[str, Any] = {"pairs": pair_set.label}
                row |= {"levels": where} if where else {}
                for name in task.recipes:
                    got = report.points(pair_set.label, size, name, arena)
                    cell = interval(got)
                    row |= {name: tenths(cell.estimate), f"{name} low": tenths(cell.low)}
                    row |= {f"{name} high": tenths(cell.high), f"{name} worst": tenths(got.mean(axis=0).min())}
                    if name == next(iter(task.recipes)):
                        dots[f"{pair_set.label}{f', {where}' if where else ''}"] = tuple(cell)
                if not where or arena == 0:
                    losses = [report.scores[pair_set.label, size, name].losses.mean() for name in task.recipes]
                    row |= {"held-out loss": round(float(np.mean(losses)), 4)}
                rows.append(row)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        rows = [{name: row.get(name) for name in columns} for row in rows]
        seeds, how = len(config.seeds), config.evaluation
        run.table(
            f"{task.slug}_{size}",
            rows,
            caption=(
                f"{task.name}, {size} pairs: {scale(task)}. {_trained(task)} Interquartile mean over "
                f"{how.students} students x {seeds} sets, the same {how.episodes} episodes for all, with 95 % "
                "bootstrap intervals over students; worst: the mean of the worst of the sets. The held-out loss "
                "compares the students' answers with the teacher's, on episodes that nothing was made from."
                + _drawn(task)
            ),
        )
        first = next(iter(task.recipes))
        figure = plot.dots(dots, xlabel=f"{unit(task)}, {first} students", title=f"{size} pairs on {task.name}")
        run.figure(f"{task.slug}_{size}", figure, f"{how.students} students x {seeds} sets; 95 % intervals.")


def write_cloned(run: Run, report: TaskReport, anchors: list[dict[str, Any]], students: int) -> None:
    """Cloning of everything and of the best episodes; and offline reinforcement learning, where it was run."""
    task, rows = report.task, []
    for pair_set in report.sets:
        if pair_set.kind == "cloned":
            row: dict[str, Any] = {"trained on": pair_set.label, "pairs": pair_set.size}
            for arena, where in enumerate(task.arenas):
                cell = interval(report.cloned(pair_set.label, arena))
                row |= {where or "score": tenths(cell.estimate)}
                row |= {f"{where} low".strip(): tenths(cell.low), f"{where} high".strip(): tenths(cell.high)}
            losses = report.scores[pair_set.label, pair_set.size, "clone"].losses
            row["held-out loss"] = round(float(losses.mean()), 4)
            rows.append(row)
    rows += [{name: row.get(name) for name in rows[0]} for row in anchors]
    recipe = task.clone
    run.table(
        f"{task.slug}_cloning",
        rows,
        caption=(
            f"{task.name}: {scale(task)}. Behaviour cloning by {recipe.steps:,} steps of Adam on batches of "
            f"{recipe.batch}, {students} students; percentile cloning keeps the best episodes. 95 % bootstrap "
            f"intervals over students: the data are one draw.{_drawn(task)}"
        ),
    )


def write_sweep(config: Config, run: Run, report: TaskReport) -> None:
    """Scores by size, where there are several."""
    task, first = report.task, next(iter(report.task.recipes))
    if len(task.sizes) < 2:
        return
    everywhere = [
        label
        for label in dict.fromkeys(found.label for found in report.sets if found.kind != "cloned")
        if all((label, size, first) in report.scores for size in task.sizes)
    ]
    first_shown = [everywhere[0], making.RANDOM, making.RELABELLED, "k-means", "stepwise dual ranking"]
    everywhere.sort(key=lambda label: first_shown.index(label) if label in first_shown else len(first_shown))
    series: dict[str, Any] = {}
    for label in everywhere[: len(plot.PALETTE)]:
        cells = [interval(report.points(label, size, first)) for size in task.sizes]
        series[label.removeprefix("distilled, ")] = (task.sizes, *np.array(cells).T)
    whole = float(interval(report.cloned(making.EVERYTHING)).estimate)
    figure = plot.lines(
        series, xlabel="pairs", ylabel=f"score, {first} students", title=f"Size of the set, {task.name}", log_x=True,
        references={"BC on everything": whole},
    )  # fmt: skip
    run.figure(
        f"{task.slug}_sizes",
        figure,
        f"{config.evaluation.students} students x {len(config.seeds)} sets; 95 % intervals.",
    )


def write_steps(run: Run, task: DDRLTask, curves: dict[str, np.ndarray], steps: tuple[int, ...]) -> None:
    cells = {label: np.array([interval(found) for found in curve]) for label, curve in curves.items()}
    series: dict[str, Any] = {label: (steps, *found.T) for label, found in cells.items()}
    figure = plot.lines(
        series, xlabel="steps of the student's optimiser", ylabel="score", title=f"Steps to score, {task.name}",
        log_x=True,
    )  # fmt: skip
    recipe = next(iter(task.recipes))
    caption = f"Distilled pairs by {recipe.removesuffix('100')} on the whole set, all pairs by Adam on batches."
    run.figure(f"{task.slug}_steps", figure, caption)


# Measured once, apart from any run: share of episodes that are kept, episodes of a draw, and of each draw
# the points of a clone by return and by return for its start.
_MEASURED = (
    (0.1, 64, (97, 7, 48, 101, -1, 42), (102, 100, 98, 90, 77, 101)),
    (0.05, 256, (7, 2, 19, 39), (100, 90, 101, 100)),
)


def write_cause(config: Config, run: Run, report: TaskReport) -> None:
    """Writes why percentile cloning may fail where starts differ in difficulty, and that it does not in every draw."""
    causes = figures.why_the_best_returns_teach_little(run, report.task)
    raw, fair = (interval(report.cloned(making.percentile_label(0.1, by))) for by in ("raw", "start_normalised"))
    numbers = {
        name.partition(", ")[2] if name.startswith("return, ") else name: value for name, value in causes.items()
    }
    run.text(
        f"The tenth of the episodes with the highest returns teaches a clone a normalised score of {raw.estimate:.0f} "
        f"({raw.low:.0f} to {raw.high:.0f}). A return mixes where an episode began (rank correlation "
        f"{_signed(numbers['distance of the start from upright'])} with the distance from upright) with how well it "
        f"was played ({_signed(numbers['share of random actions'])} with the share of random actions): "
        f"{causes['kept that began near upright']:.0f} of the {causes['kept']:.0f} episodes that are kept began within "
        f"{figures.NEAR:g} rad of upright, where there is nothing to swing up. Compared with episodes from similar "
        f"starts, the return follows the start by "
        f"{_signed(causes['return for its start, distance of the start from upright'])} and the play by "
        f"{_signed(causes['return for its start, share of random actions'])}; the best tenth by that measure teaches "
        f"{fair.estimate:.0f} points ({fair.low:.0f} to {fair.high:.0f}). Whether the best returns teach too little "
        "depends on which episodes were drawn: if enough of the few that are kept swing up, a clone learns it. "
        f"Measured apart from this run, {'; '.join(_said(*row) for row in _MEASURED)}. Less than 30 points, as was "
        "expected of every draw, is thus found in some only; this run's draw of "
        f"{len(episodes(report.task.data).starts)} episodes for training teaches {raw.estimate:.1f}."
        + (" The table of draws has this run's own." if config.extras.across else ""),
        "Why the best returns may teach little on the pendulum",
    )


def _signed(correlation: float) -> str:
    return f"{correlation:+.2f}" if np.isfinite(correlation) else "(not defined: all alike)"


def _said(share: float, episodes: int, raw: tuple[int, ...], fair: tuple[int, ...]) -> str:
    return (
        f"{len(raw)} draws of {episodes} episodes, of which the best {share:.0%} are kept, taught "
        f"{', '.join(map(str, raw))} points by return and {', '.join(map(str, fair))} by return for its start"
    )


def write_draws(config: Config, run: Run, scores: np.ndarray) -> None:
    """Percentile cloning of data that differ in their key alone."""
    rows = []
    for draw, (raw, fair) in enumerate(scores):
        row: dict[str, Any] = {"data seed": (config.data_seed + draw) % 2**32}
        for name, found in (("by return", raw), ("by return for its start", fair)):
            cell = interval(found)
            row |= {name: tenths(cell.estimate), f"{name} low": tenths(cell.low), f"{name} high": tenths(cell.high)}
        rows.append(row)
    below = int(sum(row["by return"] < 30 for row in rows))
    caption = (
        f"pendulum: clones of the best 10 % of the episodes in {len(rows)} draws of the data, which differ in their "
        f"key alone; normalised score, {config.evaluation.students} students, 95 % bootstrap intervals over them. By "
        f"return, {below} of {len(rows)} draws teach less than 30 points."
    )
    run.table("pendulum_draws", rows, caption=caption)


def write_glossary(run: Run, reports: list[TaskReport]) -> None:
    """Writes what the names of sets in tables and figures mean."""
    labels = dict.fromkeys(found.label for report in reports for found in report.sets if found.kind != "cloned")
    rows = [{"pairs": label, "what": making.ABOUT[label]} for label in labels]
    run.table("glossary", rows, caption="The sets of pairs; a teacher is the expert, asked what it would do.")


def _trained(task: DDRLTask) -> str:
    """The names of the students, in words."""
    sentences = [
        f"{name}: {one.steps:,} steps of {'Adam' if one.optimiser == 'adam' else one.optimiser.upper()} on "
        + (f"batches of {one.batch}" if one.batch else "the whole set")
        for name, one in task.recipes.items()
    ]
    return f"Students: {'; '.join(sentences)}."


def _drawn(task: DDRLTask) -> str:
    if not task.discrete:
        return ""
    return " Seen and unseen levels are other mazes, not equally hard: compare rows of the same levels."


def tenths(number: Any) -> float:
    return round(float(number), 1)


def scale(task: DDRLTask) -> str:
    low, high = task.reference
    if task.discrete:
        return f"normalised solve rate, 0 for random actions ({low:.3f} solved) and 100 for the expert"
    return f"normalised score, 0 for random actions (return {low:,.1f}) and 100 for the expert ({high:,.1f})"


def unit(task: DDRLTask) -> str:
    return "normalised solve rate" if task.discrete else "normalised score"
