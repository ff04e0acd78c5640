"""The config of `data_values` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges

DatasetName = Literal["2dplanes", "breast_cancer", "digits", "fried", "wine"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each draws its own splits
    datasets: tuple[DatasetName, ...] = ("breast_cancer", "digits", "wine", "2dplanes", "fried")
    exact_points: int = 12  # with all subsets fitted
    exact_model: Literal["kernel_ridge", "logistic"] = "kernel_ridge"
    per_class: int = 4  # points of each of three classes, in the redundancy experiment
    train: int = 50  # points valued from a budget
    valid: int = 50
    test: int = 200
    budget: int = 500  # fits
    noise: float = 0.2  # share of wrong labels to be found
    games: int = 300  # coverage games for the bound

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            exact_points=(4, 20),
            per_class=(2, 6),
            train=(12, 1000),
            valid=(10, 5000),
            test=(10, 5000),
            budget=(32, 10**6),
            noise=(0.02, 0.5),
            games=(1, 10**5),
        )
        check_distinct(self, "seeds", "datasets")


PRESETS = {
    "quick": Config(),
    "full": Config(
        seeds=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), exact_points=16, per_class=5, train=100, valid=100, test=500, budget=1000
    ),
    "accel": Config(
        seeds=tuple(range(20)), exact_points=20, exact_model="logistic", per_class=6, train=200, valid=500, test=1000,
        budget=5000, games=3000,
    ),
}  # fmt: skip
RENAMED: dict[str, str] = {"tables": "datasets"}  # old option: new option
