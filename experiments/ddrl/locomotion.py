"""DDRL's table of MuJoCo's walkers, beside the published scores of Av-PBC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.ddrl.report import TaskReport, interval
from jaxrl_suite.experiments.ddrl.sets import EVERYTHING, LABELS, RANDOM
from jaxrl_suite.experiments.ddrl.verdicts import main_set

# Av-PBC with 256 pairs on D4RL (Lei, Zhang and Tao, NeurIPS 2024, table 1): medium-replay, medium, medium-expert.
_AV_PBC = {"halfcheetah": (35.9, 36.9, 22.0), "hopper": (40.9, 32.5, 38.7), "walker2d": (55.0, 39.5, 42.1)}
_D4RL_LEVELS = ("medium-replay", "medium", "medium-expert")


def write_locomotion(run: Run, reports: list[TaskReport], methods: Sequence[str]) -> None:
    """One row a data set of MuJoCo's walkers, and their mean."""
    rows: list[dict[str, Any]] = []
    for report in reports:
        robot, _, level = report.task.name.removeprefix("mujoco/").partition(", ")
        if robot not in (*_AV_PBC, "ant") or not report.task.name.startswith("mujoco/"):
            continue
        _, size, recipe = main_set(methods, report)
        row: dict[str, Any] = {"data": f"{robot}, {level}", "pairs": size}
        for label in (*(LABELS[method] for method in methods), RANDOM):
            row[label] = round(interval(report.points(label, size, recipe)).estimate, 1)
        row[EVERYTHING] = round(interval(report.cloned(EVERYTHING)).estimate, 1)
        known = level in _D4RL_LEVELS and robot in _AV_PBC
        row["published Av-PBC"] = _AV_PBC[robot][_D4RL_LEVELS.index(level)] if known else None
        rows.append(row)
    if not rows:
        return
    mean: dict[str, Any] = {"data": "mean", "pairs": None}
    for name in list(rows[0])[2:]:
        found = [row[name] for row in rows if row[name] is not None]
        mean[name] = round(float(np.mean(found)), 1) if found else None
    run.table(
        "locomotion", [*rows, mean],
        caption=(
            "Normalised scores by data set. The published column is of D4RL's data and MuJoCo's own physics with 256 "
            "pairs: another scale, whose means cover its nine sets."
        ),
    )  # fmt: skip
