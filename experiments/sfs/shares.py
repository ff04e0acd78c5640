"""SFS: shares of searches that solved their problem, at equal requests, tokens and solutions, and their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxrl_suite.core import stats
from jaxrl_suite.experiments.sfs.config import MethodName, ModelName, TestsName
from jaxrl_suite.experiments.sfs.searches import COLUMNS

if TYPE_CHECKING:
    from jaxrl_suite.experiments.sfs.config import Config

Cell = tuple[ModelName, TestsName, MethodName]
Found = dict[Cell, np.ndarray]  # float64[seeds, problems, COLUMNS]
LABELS: dict[MethodName, str] = {
    "best_of_n": "best of N",
    "sfs": "SFS",
    "no_scattering": "SFS, no scattering",
    "no_foresting": "SFS, no foresting",
    "no_scouting": "SFS, no scouting",
    "tree": "plain tree",
    "line": "line",
    "rex": "REx",
    "islands": "islands",
    "irri": "IRRI",
}
ABLATIONS: tuple[MethodName, ...] = ("no_scouting", "no_foresting", "no_scattering")


def column(values: np.ndarray, name: str) -> np.ndarray:
    """One column, float64[problems, seeds]."""
    return values[..., COLUMNS.index(name)].T


def gain_columns(difference: stats.Interval | None, name: str) -> dict[str, float | None]:
    """As three columns of a table, empty where there was nothing to compare with."""
    columns = stats.Interval(0.0, 0.0, 0.0).columns(name) if difference is None else difference.columns(name)
    return {column: None if difference is None else value for column, value in columns.items()}


def token_budget(config: Config, found: Found, model: ModelName, tests: TestsName) -> float:
    """The greatest number of total tokens that every search had, whether or not it used them up.

    Requests end a search. One that had not ended by itself spent at least this much, so that at this budget methods can
    be compared by tokens without running them again.
    """
    spent = [np.inf]
    for method in config.methods:
        values = found[model, tests, method]
        cut = column(values, "requests") >= config.requests
        spent += column(values, "total_tokens")[cut].tolist()
    return min(spent)


def solved_within(values: np.ndarray, axis: str, budget: float) -> np.ndarray:
    """float64[problems, seeds], 1 where a search had ended with a right submission by a budget."""
    return column(values, "solved") * (column(values, axis) <= budget)


def solution_budget(config: Config, cells: list[np.ndarray]) -> int:
    """The greatest number of solutions that every search wrote which its requests ended."""
    cut = [column(x, "solutions")[column(x, "requests") >= config.requests] for x in cells]
    spent = np.concatenate(cut)
    return int(spent.min()) if spent.size else int(max(column(x, "solutions").max() for x in cells))
