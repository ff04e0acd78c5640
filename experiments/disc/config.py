"""The config of `disc` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError

ChainName = Literal["run", "fraction", "tests", "easy", "binary", "trap"]
MethodName = Literal[
    "best_of_n", "Z", "Z_sigma2", "Q", "negQ", "R", "negZ", "line", "disc_beam", "disc_tree", "uct", "beam", "dvts",
    "sfs",
]  # fmt: skip
ModelName = Literal["countdown-early", "countdown-late", "modchain-early", "modchain-late"]
TREES: tuple[MethodName, ...] = ("disc_beam", "disc_tree", "uct", "beam", "dvts")
ALL_CHAINS: tuple[ChainName, ...] = ("run", "tests", "fraction", "easy", "binary", "trap")


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of the draws; methods share those from the prompt
    problems: int = 20  # searches for each seed, chain and method
    chains: tuple[ChainName, ...] = ("run", "tests", "fraction", "easy")
    methods: tuple[MethodName, ...] = ("best_of_n", "Z", "Z_sigma2", "Q", "negQ", "R", "negZ", "line")
    samples: int = 100  # most draws of a search, those from the prompt counted
    alpha: float = 0.15  # share of the rest that a first step takes
    line: int = 8  # tokens of a step of the static decomposition, of UCT and of beam search
    block: int = 1  # draws of DISC and best-of-N that are asked for together; changes no result
    models: tuple[ModelName, ...] = ("countdown-early",)  # small models of a task; none leaves that part out
    learned_methods: tuple[MethodName, ...] = ("best_of_n", "Z", "line", "uct", "beam", "sfs")  # what is run with them
    task_problems: int = 50  # held-out problems of a task, each searched once a seed
    task_samples: int = 10  # most answers of such a search
    temperature: float = 0.7  # of those models

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            problems=(1, 10**6),
            samples=(2, 10**6),
            alpha=(0.001, 0.999),
            line=(1, 40),
            block=(1, 10**3),
            task_problems=(2, 10**6),
            task_samples=(2, 10**6),
            temperature=(0.01, 100.0),
        )
        check_distinct(self, "seeds", "chains", "methods", "learned_methods", *(["models"] if self.models else []))
        if "sfs" in self.methods or ("sfs" in self.learned_methods and any("modchain" in m for m in self.models)):
            raise UserError("sfs thinks in styles, which models of countdown know alone: leave it out with others")
        if self.models and "best_of_n" not in self.learned_methods:
            raise UserError("learned_methods must have best_of_n, which the others are compared with")


_QUICK = Config()
_LARGE = Config(
    problems=100, chains=ALL_CHAINS, methods=(*_QUICK.methods, *TREES), models=("countdown-early", "countdown-late"),
    learned_methods=(*_QUICK.learned_methods, "negQ", "disc_beam", "disc_tree", "dvts"), task_problems=200,
    task_samples=20,
)  # fmt: skip
PRESETS = {
    "quick": _QUICK,
    "full": _LARGE,
    "accel": dataclasses.replace(_LARGE, problems=400, task_problems=1000),
}
