"""The config of `pretrain` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer.train import TrainConfig

FamilyName = Literal["countdown", "list-edits", "listfun", "modchain", "rowrules"]
Stage = Literal["early", "late"]
Size = Literal["0.1M", "0.35M", "0.8M", "1.1M"]

STEPS: dict[tuple[FamilyName, Stage], int] = {  # of the models that come with the package
    ("countdown", "early"): 1000,
    ("countdown", "late"): 3200,
    ("list-edits", "early"): 600,
    ("list-edits", "late"): 2400,
    ("listfun", "early"): 800,
    ("listfun", "late"): 1800,
    ("modchain", "early"): 400,
    ("modchain", "late"): 600,
    ("rowrules", "early"): 800,
    ("rowrules", "late"): 1600,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    families: tuple[FamilyName, ...] = ("countdown",)
    stages: tuple[Stage, ...] = ("early",)
    steps: int = 0  # of every model; 0: as many as the model that comes with the package had
    seeds: tuple[int, ...] = (0,)  # a model each
    size: Size = "0.1M"  # parameters
    batch: int = 128
    learning_rate: float = 6e-3
    chunk: int = 100  # training steps between two measurements
    problems: int = 256  # held-out ones that accuracy is measured on
    samples: int = 20  # of each, for pass@k
    temperature: float = 0.7  # of those samples

    def __post_init__(self):
        check_ranges(
            self,
            steps=(0, 10**8),
            seeds=(0, 2**32 - 1),
            batch=(1, 10**6),
            learning_rate=(1e-9, 10.0),
            chunk=(1, 10**6),
            problems=(1, 10**6),
            samples=(10, 10**4),
            temperature=(0.0, 100.0),
        )
        check_distinct(self, "families", "stages", "seeds")
        for family in self.families:
            for stage in self.stages:
                if self.steps_of(family, stage) % self.chunk:
                    raise UserError(f"chunk must divide the {self.steps_of(family, stage)} steps, got {self.chunk}")

    def steps_of(self, family: FamilyName, stage: Stage) -> int:
        return self.steps or STEPS[family, stage]

    def training(self, family: FamilyName, stage: Stage) -> TrainConfig:
        steps = self.steps_of(family, stage)
        warmup = min(50, steps // 2)
        return TrainConfig(steps, self.batch, self.learning_rate, warmup=warmup, weight_decay=0.1)


ALL: tuple[FamilyName, ...] = ("countdown", "list-edits", "listfun", "modchain", "rowrules")

PRESETS = {
    "quick": Config(steps=300),
    "full": Config(families=ALL, stages=("early", "late")),
    "accel": Config(families=ALL, stages=("late",), steps=20_000, size="0.8M", batch=1024, learning_rate=2e-3),
}
