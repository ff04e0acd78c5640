"""The config of `gops_search` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError

Tie = Literal["carry", "discard"]
RuleName = Literal["regret_matching", "regret_matching_x8", "decoupled_puct", "paper"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each plays its own games
    num_cards: int = 6
    ties: tuple[Tie, ...] = ("carry",)
    rules: tuple[RuleName, ...] = ("regret_matching", "regret_matching_x8", "decoupled_puct", "paper")
    simulations: tuple[int, ...] = (25, 100, 400)  # per move; a rollout each, in regret_matching_x8 eight
    rival_simulations: int = 100  # per move, in the round robin
    games: int = 128  # per seed and pairing, each in both seats
    small_cards: int = 3  # size of the game whose exploitability is computed
    policy_samples: int = 16  # searches per seed and state of the small game, averaged into its exploited policy

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            num_cards=(2, 7),
            simulations=(1, 10**6),
            rival_simulations=(1, 10**6),
            games=(8, 10**6),
            small_cards=(2, 5),
            policy_samples=(1, 10**6),
        )
        check_distinct(self, "seeds", "ties", "rules", "simulations")
        if self.games % 8:
            raise UserError(f"games must be a multiple of 8, so that up to 8 devices can share them, got {self.games}")


PRESETS = {
    "quick": Config(),
    "full": Config(ties=("carry", "discard"), simulations=(25, 100, 400, 1600), games=512, policy_samples=32),
    "accel": Config(
        ties=("carry", "discard"), simulations=(25, 100, 400, 1600), games=8192, small_cards=4, policy_samples=64
    ),
}
RENAMED: dict[str, str] = {"searches": "policy_samples"}  # old option: new option
