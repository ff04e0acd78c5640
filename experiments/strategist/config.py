"""The config of `strategist` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.run_sampler import check_options

GameName = Literal["gops", "avalon"]
MethodName = Literal[
    "line", "greedy", "best-first", "best-first-thought", "strategist", "strategist-bandit", "strategist-tree"
]
FeedbackName = Literal["fixed", "critic"]
ProposerName = Literal["grammar", "openai", "replay"]
FIVE: tuple[MethodName, ...] = ("line", "greedy", "best-first", "best-first-thought", "strategist")


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # a search with each method
    games: tuple[GameName, ...] = ("gops",)
    methods: tuple[MethodName, ...] = ("line", "greedy", "best-first", "best-first-thought", "strategist")  # to search
    proposer: ProposerName = "grammar"  # openai: any compatible server; replay: the answers of an earlier run
    base_url: str = ""  # of the server, for instance http://127.0.0.1:8080/v1
    model: str = ""  # as the server calls it
    api_key_variable: str = "OPENAI_API_KEY"  # name of the environment variable that holds the key
    recording: str = ""  # run folder of the earlier run, for replay
    mechanics: Literal["default", "paper"] = "default"  # of search over strategies and of search in the game
    num_cards: int = 6  # of GOPS
    strategies: int = 20  # written in one search
    rounds: int = 5  # of improvement
    round_games: int = 480  # of GOPS in a round; 120 and multiples come out even for all methods
    avalon_games: int = 120  # of Avalon in a round
    key_states: int = 10  # shown for a strategy
    repairs: int = 8  # of a text that cannot be used
    num_simulations: int = 16  # per move of GOPS
    avalon_simulations: int = 20  # states evaluated for a decision of Avalon
    batch_size: int = 256  # games that are played at a time
    deals: int = 128  # of GOPS, fresh ones for each pair in the evaluation, played in both seats
    avalon_deals: int = 64  # of Avalon, played on both sides
    exact_methods: tuple[MethodName, ...] = ("strategist",)  # held against exact opponents
    budgets: tuple[int, ...] = (16, 160)  # simulations per move, against exact opponents; none skips them
    nash_deals: int = 256  # against the exact equilibrium, in both seats
    small_cards: int = 3  # size of the game whose exploitability is computed; 0 skips it
    policy_samples: int = 8  # searches of each of its states, averaged into the policy that is exploited
    feedbacks: tuple[FeedbackName, ...] = ("fixed", "critic")  # other feedback than population self-play
    controls: bool = True  # searches that are shown shuffled states, or go by shuffled scores
    ablations: bool = False  # each rule of the search as published, one at a time
    episodes: tuple[int, ...] = (320, 2400)  # of learners of GOPS; a verdict needs as many as a search plays games
    avalon_episodes: tuple[int, ...] = (320, 640)  # of those of Avalon

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            num_cards=(2, 7),
            strategies=(1, 10**4),
            rounds=(1, self.strategies),
            round_games=(8, 10**6),
            avalon_games=(8, 10**6),
            key_states=(1, 1000),
            repairs=(0, 100),
            num_simulations=(1, 10**5),
            avalon_simulations=(10, 10**5),
            batch_size=(1, 10**6),
            deals=(2, 10**6),
            avalon_deals=(2, 10**6),
            budgets=(1, 10**5),
            nash_deals=(2, 10**6),
            policy_samples=(1, 10**5),
            episodes=(1, 10**6),
            avalon_episodes=(1, 10**6),
        )
        check_distinct(self, "seeds", "games", "methods")
        if self.small_cards and not 2 <= self.small_cards <= 5:
            raise UserError(f"small_cards must be 2 to 5, or 0 for no exploitability, got {self.small_cards}")
        if self.strategies % self.rounds:
            raise UserError(f"rounds must divide the {self.strategies} strategies, got {self.rounds}")
        for name in ("exact_methods", "budgets", "feedbacks", "episodes", "avalon_episodes"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise UserError(f"{name} must have no value twice, got {values}")
        if missing := sorted(set(self.exact_methods) - set(self.methods)):
            raise UserError(
                f"exact_methods has {missing[0]}, which is not among the methods: add it to --methods, or give "
                "--exact-methods too"
            )
        beside = dict(feedbacks=self.feedbacks, controls=self.controls, ablations=self.ablations)
        beside |= {"episodes" if game == "gops" else "avalon_episodes": self.episodes_of(game) for game in self.games}
        if "strategist" not in self.methods and any(beside.values()):
            given = ", ".join(name for name, value in beside.items() if value)
            raise UserError(f"{given} compare with strategist: add it to --methods, or leave them empty (controls: no)")
        self._check_games()
        check_options(self)

    def deals_of(self, game: GameName) -> int:
        """Deals of a pair in the evaluation."""
        return self.deals if game == "gops" else self.avalon_deals

    def games_of(self, game: GameName) -> int:
        """Games of a round of a search."""
        return self.round_games if game == "gops" else self.avalon_games

    def batch_sizes_of(self, game: GameName) -> tuple[int, int]:
        """Games that are played at a time, in a round of a search and in the evaluation.

        A batch is filled up, so that none is larger than a round has games. An evaluation has many; but in Avalon
        another size would be another long compilation.
        """
        rounds = min(self.batch_size, self.games_of(game))
        return rounds, self.batch_size if game == "gops" else rounds

    def episodes_of(self, game: GameName) -> tuple[int, ...]:
        """Of the learners."""
        return self.episodes if game == "gops" else self.avalon_episodes

    def _check_games(self):
        """A round must pay for a deal of every pair, or methods would not cost the same games."""
        from jaxrl_suite.evolve.methods import METHODS, EvolveConfig

        needs = []
        for method in self.methods:
            search = EvolveConfig(method, self.strategies, self.rounds)
            players, steps = search.most_players, search.strategies_per_round if METHODS[method].sequential else 1
            needs.append((steps * players * (players - 1), players, method))
        fewest, players, method = max(needs)
        for game, name in (("gops", "round_games"), ("avalon", "avalon_games")):
            if game in self.games and getattr(self, name) < fewest:
                raise UserError(
                    f"{name} must be at least {fewest}, for every pair of up to {players} strategies in both seats "
                    f"({method}), got {getattr(self, name)}: raise it, or use more rounds"
                )


_FULL = Config(
    seeds=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), games=("gops", "avalon"), strategies=40, rounds=10, batch_size=512, deals=256,
    exact_methods=FIVE, budgets=(16, 32, 64, 160), small_cards=4, ablations=True, episodes=(320, 1280, 4800),
    avalon_episodes=(320, 1280),
)  # fmt: skip
_PAPER = dataclasses.replace(
    _FULL, games=("gops",), mechanics="paper", round_games=32, avalon_games=32, ablations=False, controls=False
)
PRESETS = {
    "quick": Config(),
    "full": _FULL,
    "accel": dataclasses.replace(
        _FULL, seeds=tuple(range(20)), round_games=1920, avalon_games=480, batch_size=8192, deals=2048,
        avalon_deals=1024, nash_deals=1024, policy_samples=64, episodes=(320, 1280, 20480),
        avalon_episodes=(320, 1280, 4800),
    ),
    "paper": _PAPER,
    "paper-avalon": dataclasses.replace(_PAPER, games=("avalon",), strategies=24, rounds=6),
}  # fmt: skip
RENAMED: dict[str, str] = {"rows": "batch_size", "searches": "policy_samples"}  # old option: new option
