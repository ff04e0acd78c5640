"""The config of `solve` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from jaxrl_suite.core.config import check_choices, check_distinct, check_ranges
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.run_sampler import check_options

MethodName = Literal[
    "best_of_n", "sfs", "line", "tree", "rex", "islands", "irri", "verbalized", "div_role", "div_instruction",
    "div_nonsense", "div_pool", "div_idea", "div_rephrase", "disc", "majority", "self_consistency",
]  # fmt: skip
VOTES: tuple[MethodName, ...] = ("majority", "self_consistency")  # need no tests
SubjectName = Literal["code", "math", "reasoning"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    task: str = ""  # a JSON-lines file of problems, see `jaxrl-suite solve --help`; or humaneval
    method: MethodName = "best_of_n"
    samples: int = 10  # most answers to a problem
    temperature: float = 0.8
    max_tokens: int = 1024  # of an answer
    subject: SubjectName = "code"  # which pools of roles and instructions fit
    pool: str = ""  # a text file with a sentence a line, for div_pool
    written_tests: int = 6  # that the model writes for a problem without tests; they are paid for and shown
    budget_tokens: int = 0  # most tokens of one search, prompts included, and of writing tests; 0 for no limit
    limit: int = 0  # problems, the first ones of the file; 0 for all
    seeds: tuple[int, ...] = (0,)  # each problem is solved once for each
    base_url: str = ""  # of a server, for instance http://127.0.0.1:8080/v1
    model: str = ""  # as the server calls it
    continues: bool = False  # the server goes on from a last message of the assistant, which disc needs
    api_key_variable: str = "OPENAI_API_KEY"  # name of the environment variable that holds the key
    weights: str = ""  # a model on this machine instead: smollm2, a .gguf file, a folder of safetensors
    recording: str = ""  # run folder of an earlier run instead: its draws, and no model

    def __post_init__(self):
        check_ranges(
            self,
            samples=(1, 10**5),
            temperature=(0.0, 100.0),
            max_tokens=(1, 10**6),
            written_tests=(1, 100),
            budget_tokens=(0, 10**12),
            limit=(0, 10**9),
            seeds=(0, 2**32 - 1),
        )
        check_distinct(self, "seeds")
        check_choices(self, method=get_args(MethodName), subject=get_args(SubjectName))
        named = [name for name in ("base_url", "weights", "recording") if getattr(self, name)]
        if len(named) > 1:
            raise UserError(f"{named[0]} and {named[1]} name two models: give one")
        check_options(self)
        if self.method == "disc" and self.base_url and not self.continues:
            raise UserError(
                "disc holds the beginning of an answer fixed: give --continues true if the server goes on from a last "
                "message of the assistant, as vLLM and llama.cpp can, or choose another method"
            )
        if (self.method == "div_pool") != bool(self.pool):
            raise UserError("--pool FILE goes with --method div_pool: give both, or neither")

    @property
    def proposer(self) -> str:
        """The kind of model, as `llm.run_sampler` calls it; "none" where it is on this machine."""
        if self.recording:
            return "replay"
        return "openai" if self.base_url else "none"


PRESETS = {
    "quick": Config(),
    "full": Config(samples=40),
    "accel": Config(samples=40),
}
