"""The config of `div_sampling` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError

ModelName = Literal["countdown-early", "countdown-late"]
MethodName = Literal["plain", "style", "noise", "order", "idea", "idea_dual", "style_order"]
ALL: tuple[MethodName, ...] = ("plain", "style", "noise", "order", "idea", "idea_dual", "style_order")


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of the draws; methods share their random numbers
    models: tuple[ModelName, ...] = ("countdown-early",)
    methods: tuple[MethodName, ...] = ALL
    problems: int = 40  # held out; each is searched once a seed
    samples: int = 10  # K, answers to a problem
    temperatures: tuple[float, ...] = (0.4, 0.7, 1.0)  # that each method is tuned over, on other problems
    tuning: int = 40  # those other problems
    prompts: int = 10  # perturbed prompts of a problem whose failure rates are measured
    draws: int = 20  # from each of them
    noise: tuple[int, ...] = (0, 1, 2, 4, 8)  # tokens of noise, for the curve over their number

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            problems=(2, 10**6),
            samples=(2, 10**4),
            temperatures=(0.01, 100.0),
            tuning=(1, 10**6),
            prompts=(2, 10**4),
            draws=(1, 10**4),
            noise=(0, 8),
        )
        check_distinct(self, "seeds", "models", "methods", "temperatures", "noise")
        if min(self.draws, self.prompts) < self.samples:
            raise UserError(
                f"draws and prompts must be at least the {self.samples} samples, got {self.draws} and {self.prompts}"
            )
        if "plain" not in self.methods:
            raise UserError("methods must have plain, which the others are compared with")


PRESETS = {
    "quick": Config(),
    "full": Config(
        models=("countdown-early", "countdown-late"), problems=200, temperatures=(0.4, 0.6, 0.8, 1.0, 1.2), tuning=200,
        prompts=12, draws=40,
    ),
    "accel": Config(
        models=("countdown-early", "countdown-late"), problems=1000, temperatures=(0.4, 0.6, 0.8, 1.0, 1.2, 1.4),
        tuning=500, prompts=24, draws=100,
    ),
}  # fmt: skip
