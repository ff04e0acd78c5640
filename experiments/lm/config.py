"""The config of `lm` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError

Size = Literal["0.1M", "0.35M", "0.8M", "1.1M"]
CONTEXT = 128  # tokens; a chain of 10 steps and its answer have 78


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # a model each
    size: Size = "0.1M"  # parameters
    max_steps: int = 6  # longest chain that is trained on; all lengths up to it are equally likely
    sampled_steps: int = 8  # longest chain that is sampled
    largest: int = 9  # greatest constant in a chain, up to 22
    train_steps: int = 1000
    batch: int = 128  # chains per training step
    learning_rate: float = 6e-3
    easy: float = 0.5  # share of easy steps at first; it falls to 0 over the first half of training
    chunk: int = 50  # training steps between two measurements
    temperatures: tuple[float, ...] = (0.0, 0.7, 1.0)
    problems: int = 128  # sampled for each seed, length and temperature
    weights: str = ""  # show this model instead: smollm2, a .gguf file, a folder of safetensors

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            max_steps=(1, 10),
            sampled_steps=(1, 10),
            largest=(1, 22),
            train_steps=(2, 10**8),
            batch=(1, 10**6),
            learning_rate=(1e-9, 10.0),
            easy=(0.0, 1.0),
            chunk=(1, self.train_steps),
            temperatures=(0.0, 100.0),
            problems=(1, 10**6),
        )
        check_distinct(self, "seeds", "temperatures")
        if self.train_steps % self.chunk:
            raise UserError(f"chunk must divide the {self.train_steps} training steps, got {self.chunk}")


PRESETS = {
    "quick": Config(),
    "full": Config(largest=22, max_steps=8, sampled_steps=10, train_steps=6000, batch=256, chunk=250, problems=512),
    "accel": Config(
        size="1.1M", largest=22, max_steps=10, sampled_steps=10, train_steps=10_000, batch=2048, learning_rate=2e-3,
        chunk=500, problems=2048,
    ),
}  # fmt: skip
