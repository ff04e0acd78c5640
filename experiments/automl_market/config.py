"""The config of `automl_market` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges

Size = Literal["5x5x1", "10x10x1", "20x20x1", "6x4x9", "10x8x16"]
DatasetName = Literal["breast_cancer", "digits", "fried", "wine"]
SHOWN = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)  # rounds at which learning is recorded


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result. A size of instance is types x metrics x sets; one set has every metric."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each draws its own valuations, lakes and buyers
    sizes: tuple[Size, ...] = ("5x5x1", "6x4x9", "10x8x16")
    program_nodes: int = 1  # of branch and bound, for the integer program of an instance
    types: int = 20  # of the in-sample instance, as many metrics
    samples: tuple[int, ...] = (2, 8, 32)  # sets that prices are fitted to before they meet all others
    perturbation_restarts: int = 10  # of the price search: rounds that redraw prices and ascend again
    batches: tuple[int, ...] = (10, 100)  # buyers per round
    rounds: int = 1000
    datasets: tuple[DatasetName, ...] = ("breast_cancer", "wine")
    noise: int = 16  # distracting tables of noise in a lake
    shuffled: int = 8  # distracting tables under wrong keys
    periods: int = 32  # trainings of a search
    trajectories: int = 16  # searches that a menu is made from
    discovery_periods: int = 12  # trainings of each of them

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            program_nodes=(1, 10**9),
            types=(2, 100),
            samples=(1, 255),
            perturbation_restarts=(0, 1000),
            batches=(1, 10**5),
            rounds=(1, 10**5),
            noise=(0, 1000),
            shuffled=(0, 1000),
            periods=(4, 10**4),
            trajectories=(2, 10**4),
            discovery_periods=(2, 10**3),
        )
        check_distinct(self, "seeds", "sizes", "samples", "batches", "datasets")


FULL = Config(
    seeds=tuple(range(10)),
    sizes=("5x5x1", "10x10x1", "20x20x1", "6x4x9", "10x8x16"),
    program_nodes=200,
    samples=(2, 4, 8, 16, 32, 64),
    perturbation_restarts=20,
    rounds=10_000,
    datasets=("breast_cancer", "digits", "fried", "wine"),
    periods=80,
    trajectories=64,
    discovery_periods=15,
)
PRESETS = {
    "quick": Config(),
    "full": FULL,
    "accel": dataclasses.replace(
        FULL, seeds=tuple(range(20)), program_nodes=50, noise=64, shuffled=16, periods=160, trajectories=256
    ),
}
RENAMED: dict[str, str] = {  # old option: new option
    "kicks": "perturbation_restarts",
    "program_seconds": "program_nodes",
    "tables": "datasets",
}
