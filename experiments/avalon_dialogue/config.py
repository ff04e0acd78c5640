"""The config of `avalon_dialogue` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.run_sampler import check_options

RoleName = Literal["merlin", "servant", "minion", "assassin"]
MethodName = Literal[
    "line", "greedy", "best-first", "best-first-thought", "strategist", "strategist-bandit", "strategist-tree"
]
ProposerName = Literal["none", "openai", "replay"]


@dataclasses.dataclass(frozen=True)
class TalkConfig:
    """Policies of talk, without a language model."""

    updates: int = 150
    points: int = 10  # of their curves
    batch_size: int = 128  # deals per update
    learning_rate: float = 0.05  # of Adam
    merlin_weight: float = 0.5  # what the Assassin's certainty of Merlin costs good against a nat of log loss
    deals: int = 1024  # fresh ones on which policies of talk are measured
    games: int = 200  # of bots, per seed and way of talking

    def __post_init__(self):
        check_ranges(
            self,
            updates=(1, 10**6),
            points=(1, self.updates),
            batch_size=(2, 2**20),
            learning_rate=(1e-6, 10),
            merlin_weight=(0, 100),
            deals=(2, 2**20),
            games=(2, 10**6),
        )
        if self.updates % self.points:
            raise UserError(f"points must divide the {self.updates} updates, got {self.points}")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Guides, which a language model writes."""

    roles: tuple[RoleName, ...] = ("merlin", "assassin")  # whose guides are searched for
    methods: tuple[MethodName, ...] = ("line", "greedy", "best-first", "best-first-thought", "strategist")  # to search
    strategies: int = 8  # guides written in one search
    rounds: int = 2  # of improvement
    repairs: int = 3  # of a text that is no guide
    speeches: int = 24  # in a round of a search, shared by the guides in it
    scenarios: int = 10  # of each role, that searches are judged on
    held_out: int = 10  # scenarios per seed, that no search has seen

    def __post_init__(self):
        check_ranges(
            self,
            strategies=(1, 10**4),
            rounds=(1, self.strategies),
            repairs=(0, 100),
            speeches=(8, 10**6),
            scenarios=(1, 1000),
            held_out=(1, 1000),
        )
        check_distinct(self, "roles", "methods")
        if self.strategies % self.rounds:
            raise UserError(f"rounds must divide the {self.strategies} strategies, got {self.rounds}")


RENAMED = {
    "updates": "learning.updates",
    "points": "learning.points",
    "batch": "learning.batch_size",
    "learning_rate": "learning.learning_rate",
    "merlin_weight": "learning.merlin_weight",
    "deals": "learning.deals",
    "games": "learning.games",
    "roles": "search.roles",
    "methods": "search.methods",
    "strategies": "search.strategies",
    "rounds": "search.rounds",
    "repairs": "search.repairs",
    "speeches": "search.speeches",
    "scenarios": "search.scenarios",
    "held_out": "search.held_out",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # learners of talk, and a search for guides with each method
    talk: bool = True  # without a language model; no leaves guides alone
    proposer: ProposerName = "none"  # openai: any compatible server; replay: the answers of an earlier run
    base_url: str = ""  # of the server, for instance http://127.0.0.1:8080/v1
    model: str = ""  # as the server calls it
    api_key_variable: str = "OPENAI_API_KEY"  # name of the environment variable that holds the key
    recording: str = ""  # run folder of the earlier run, for replay
    learning: TalkConfig = TalkConfig()
    search: SearchConfig = SearchConfig()

    def __post_init__(self):
        check_ranges(self, seeds=(0, 2**32 - 2))
        check_distinct(self, "seeds")
        check_options(self)
        if not self.talk and self.proposer == "none":
            raise UserError("nothing is left to run: give a --proposer for guides, or leave out --talk no")


PRESETS = {
    "quick": Config(),
    "full": Config(
        learning=TalkConfig(updates=600, points=20, batch_size=512, deals=4096, games=2000),
        search=SearchConfig(strategies=24, rounds=6, repairs=8, speeches=60, scenarios=20, held_out=20),
    ),
    "accel": Config(
        seeds=tuple(range(20)),
        learning=TalkConfig(updates=2000, points=40, batch_size=2048, deals=16_384, games=20_000),
        search=SearchConfig(strategies=24, rounds=6, repairs=8, speeches=120, scenarios=40, held_out=40),
    ),
}
