"""The config of `sfs` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError

ModelName = Literal["early", "late"]
TestsName = Literal["oracle", "noisy"]
MethodName = Literal[
    "best_of_n", "sfs", "no_scattering", "no_foresting", "no_scouting", "tree", "line", "rex", "islands", "irri"
]
METHODS: tuple[MethodName, ...] = (
    "best_of_n", "sfs", "no_scattering", "no_foresting", "no_scouting", "tree", "line", "rex", "islands", "irri",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of the draws
    problems: int = 24  # list functions, the same for every seed and method
    shortest: int = 2  # operations of their programs, at least
    longest: int = 3  # and at most
    visible: int = 10  # inputs of the tests that a search sees, the 4 examples of its prompt among them; 18 decide
    models: tuple[ModelName, ...] = ("early", "late")
    tests: tuple[TestsName, ...] = ("oracle", "noisy")
    methods: tuple[MethodName, ...] = METHODS
    requests: int = 24  # that a search may make, those for directions counted
    first: int = 5  # first solutions of a forest
    ideas: int = 4  # directions that one request asks for
    temperature: float = 1.0  # of programs, for every method
    false_positive: float = 0.357  # of noisy tests, as published for six self-written ones
    false_negative: float = 0.333
    graphs: int = 300  # searches on BasinGraph, for each row of its table

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            problems=(1, 10**6),
            shortest=(1, 3),
            longest=(1, 3),
            visible=(4, 18),
            requests=(2, 10**6),
            first=(1, 10**6),
            ideas=(1, 100),
            temperature=(0.0, 100.0),
            false_positive=(0.0, 1.0),
            false_negative=(0.0, 1.0),
            graphs=(2, 10**6),
        )
        check_distinct(self, "seeds", "models", "tests", "methods")
        if self.shortest > self.longest:
            raise UserError(f"shortest must be at most longest, got {self.shortest} and {self.longest}")


PRESETS = {
    "quick": Config(),
    "full": Config(problems=200, requests=40, graphs=2000),
    "accel": Config(problems=1000, requests=80, graphs=2000),
}
