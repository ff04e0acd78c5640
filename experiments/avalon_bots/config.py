"""The config of `avalon_bots` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError

PairingName = Literal["search-naive", "naive-search", "search-random", "random-search", "search-search"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result. A pairing is named good-evil: who plays the good and who the evil seats."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each deals its own games
    players: tuple[int, ...] = (5, 6, 7)  # sizes at which bots play bots
    bot_games: int = 4000  # per seed, size and pairing of bots
    search_players: tuple[int, ...] = (5,)  # sizes at which players search
    pairings: tuple[PairingName, ...] = ("search-naive", "naive-search")
    search_games: int = 40  # per seed, size and pairing with search
    simulations: int = 24  # for each tree of a decision
    epsilon: float = 0.05  # how often the search's model of the bots expects something else of them
    belief_games: int = 400  # per seed, for the log-loss of beliefs

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            players=(5, 10),
            bot_games=(1, 10**7),
            search_players=(5, 10),
            search_games=(8, 10**6),
            simulations=(1, 10**5),
            belief_games=(8, 10**5),
        )
        check_distinct(self, "seeds", "players", "search_players", "pairings")
        if not 0 < self.epsilon < 1:
            raise UserError(f"epsilon must lie strictly between 0 and 1, got {self.epsilon}")


PRESETS = {
    "quick": Config(),
    "full": Config(
        players=(5, 6, 7, 8, 9, 10),
        bot_games=20_000,
        search_players=(5, 6),
        pairings=("search-naive", "naive-search", "search-random", "random-search", "search-search"),
        search_games=200,
        belief_games=2000,
    ),
    "accel": Config(
        players=(5, 6, 7, 8, 9, 10),
        bot_games=1_000_000,
        search_players=(5, 6, 7, 8, 9, 10),
        pairings=("search-naive", "naive-search", "search-random", "random-search", "search-search"),
        search_games=512,
        simulations=64,
        belief_games=20_000,
    ),
}
