"""The config of `disc` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges

ChainName = Literal["run", "fraction", "tests", "easy", "binary", "trap"]
MethodName = Literal[
    "best_of_n", "Z", "Z_sigma2", "Q", "negQ", "R", "negZ", "line", "disc_beam", "disc_tree", "uct", "beam", "dvts"
]  # fmt: skip
RULES: tuple[MethodName, ...] = ("best_of_n", "Z", "Z_sigma2", "Q", "negQ", "R", "negZ", "line")
TREES: tuple[MethodName, ...] = ("disc_beam", "disc_tree", "uct", "beam", "dvts")
ALL_CHAINS: tuple[ChainName, ...] = ("run", "tests", "fraction", "easy", "binary", "trap")


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of the draws; methods share those from the prompt
    problems: int = 20  # searches for each seed, chain and method
    chains: tuple[ChainName, ...] = ("run", "tests", "fraction", "easy")
    methods: tuple[MethodName, ...] = RULES
    samples: int = 100  # most draws of a search, those from the prompt counted
    alpha: float = 0.15  # share of the rest that a first step takes
    line: int = 8  # tokens of a step of the static decomposition, of UCT and of beam search
    block: int = 1  # draws of DISC and best-of-N that are asked for together; changes no result

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            problems=(1, 10**6),
            samples=(2, 10**6),
            alpha=(0.001, 0.999),
            line=(1, 40),
            block=(1, 10**3),
        )
        check_distinct(self, "seeds", "chains", "methods")


PRESETS = {
    "quick": Config(),
    "full": Config(problems=100, chains=ALL_CHAINS, methods=(*RULES, *TREES)),
    "accel": Config(problems=400, chains=ALL_CHAINS, methods=(*RULES, *TREES)),
}
