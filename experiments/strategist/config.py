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
class StrategySearchConfig:
    """A search over strategies."""

    strategies: int = 20  # written in one search
    rounds: int = 5  # of improvement
    key_states: int = 10  # shown for a strategy
    repairs: int = 8  # of a text that cannot be used

    def __post_init__(self):
        check_ranges(self, strategies=(1, 10**4), rounds=(1, self.strategies), key_states=(1, 1000), repairs=(0, 100))
        if self.strategies % self.rounds:
            raise UserError(f"rounds must divide the {self.strategies} strategies, got {self.rounds}")


@dataclasses.dataclass(frozen=True)
class GopsGameConfig:
    """GOPS: its size and how much of it is played."""

    num_cards: int = 6
    num_simulations: int = 16  # per move
    round_games: int = 480  # in a round of a search; 120 and multiples come out even for all methods
    deals: int = 128  # fresh ones for each pair in the evaluation, played in both seats
    episodes: tuple[int, ...] = (320, 2400)  # of learners; a verdict needs as many as a search plays games

    def __post_init__(self):
        check_ranges(
            self,
            num_cards=(2, 7),
            num_simulations=(1, 10**5),
            round_games=(8, 10**6),
            deals=(2, 10**6),
            episodes=(1, 10**6),
        )
        check_none_twice(self, "episodes")


@dataclasses.dataclass(frozen=True)
class AvalonGameConfig:
    """Avalon: how much of it is played."""

    num_simulations: int = 20  # states evaluated for a decision
    round_games: int = 120  # in a round of a search
    deals: int = 64  # fresh ones for each pair in the evaluation, played on both sides
    episodes: tuple[int, ...] = (320, 640)  # of learners

    def __post_init__(self):
        check_ranges(self, num_simulations=(10, 10**5), round_games=(8, 10**6), deals=(2, 10**6), episodes=(1, 10**6))
        check_none_twice(self, "episodes")


@dataclasses.dataclass(frozen=True)
class ExactConfig:
    """Exact opponents in GOPS."""

    methods: tuple[MethodName, ...] = ("strategist",)  # held against them
    budgets: tuple[int, ...] = (16, 160)  # simulations per move; none skips them
    deals: int = 256  # against the exact equilibrium, in both seats
    small_cards: int = 3  # size of the game whose exploitability is computed; 0 skips it
    policy_samples: int = 8  # searches of each of its states, averaged into the policy that is exploited

    def __post_init__(self):
        check_ranges(self, budgets=(1, 10**5), deals=(2, 10**6), policy_samples=(1, 10**5))
        check_none_twice(self, "methods", "budgets")
        if self.small_cards and not 2 <= self.small_cards <= 5:
            raise UserError(f"small_cards must be 2 to 5, or 0 for no exploitability, got {self.small_cards}")


@dataclasses.dataclass(frozen=True)
class VariantsConfig:
    """Variants of strategist in one respect each."""

    feedbacks: tuple[FeedbackName, ...] = ("fixed", "critic")  # other feedback than population self-play
    controls: bool = True  # searches that are shown shuffled states, or go by shuffled scores
    ablations: bool = False  # each rule of the search as published, one at a time

    def __post_init__(self):
        check_none_twice(self, "feedbacks")


def check_none_twice(config: object, *names: str) -> None:
    """For a config's `__post_init__`: the tuples named have no value twice; they may be empty.

    Raises:
      UserError: for the first that has one.
    """
    for name in names:
        values = getattr(config, name)
        if len(set(values)) < len(values):
            raise UserError(f"{name} must have no value twice, got {values}")


RENAMED: dict[str, str] = {  # old option: new option
    "rows": "batch_size",
    "strategies": "search.strategies",
    "rounds": "search.rounds",
    "key_states": "search.key_states",
    "repairs": "search.repairs",
    "num_cards": "gops.num_cards",
    "num_simulations": "gops.num_simulations",
    "round_games": "gops.round_games",
    "deals": "gops.deals",
    "episodes": "gops.episodes",
    "avalon_simulations": "avalon.num_simulations",
    "avalon_games": "avalon.round_games",
    "avalon_deals": "avalon.deals",
    "avalon_episodes": "avalon.episodes",
    "exact_methods": "exact.methods",
    "budgets": "exact.budgets",
    "nash_deals": "exact.deals",
    "small_cards": "exact.small_cards",
    "searches": "exact.policy_samples",
    "feedbacks": "variants.feedbacks",
    "controls": "variants.controls",
    "ablations": "variants.ablations",
}


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
    batch_size: int = 256  # games that are played at a time
    search: StrategySearchConfig = StrategySearchConfig()
    gops: GopsGameConfig = GopsGameConfig()
    avalon: AvalonGameConfig = AvalonGameConfig()
    exact: ExactConfig = ExactConfig()
    variants: VariantsConfig = VariantsConfig()

    def __post_init__(self):
        check_ranges(self, seeds=(0, 2**32 - 1), batch_size=(1, 10**6))
        check_distinct(self, "seeds", "games", "methods")
        if missing := sorted(set(self.exact.methods) - set(self.methods)):
            raise UserError(
                f"exact.methods has {missing[0]}, which is not among the methods: add it to --methods, or give "
                "--exact.methods too"
            )
        beside = {f"variants.{name}": value for name, value in vars(self.variants).items()}
        beside |= {f"{game}.episodes": self.episodes_of(game) for game in self.games}
        if "strategist" not in self.methods and any(beside.values()):
            given = ", ".join(name for name, value in beside.items() if value)
            raise UserError(
                f"{given} compare with strategist: add it to --methods, or leave them empty (variants.controls: no)"
            )
        self._check_games()
        check_options(self)

    def deals_of(self, game: GameName) -> int:
        """Deals of a pair in the evaluation."""
        return (self.gops if game == "gops" else self.avalon).deals

    def games_of(self, game: GameName) -> int:
        """Games of a round of a search."""
        return (self.gops if game == "gops" else self.avalon).round_games

    def batch_sizes_of(self, game: GameName) -> tuple[int, int]:
        """Games that are played at a time, in a round of a search and in the evaluation.

        A batch is filled up, so that none is larger than a round has games. An evaluation has many; but in Avalon
        another size would be another long compilation.
        """
        rounds = min(self.batch_size, self.games_of(game))
        return rounds, self.batch_size if game == "gops" else rounds

    def episodes_of(self, game: GameName) -> tuple[int, ...]:
        """Episodes of the learners."""
        return (self.gops if game == "gops" else self.avalon).episodes

    def _check_games(self):
        """A round must pay for a deal of every pair, or methods would not cost the same games."""
        from jaxrl_suite.evolve.methods import METHODS, EvolveConfig

        needs = []
        for method in self.methods:
            search = EvolveConfig(method, self.search.strategies, self.search.rounds)
            players, steps = search.most_players, search.strategies_per_round if METHODS[method].sequential else 1
            needs.append((steps * players * (players - 1), players, method))
        fewest, players, method = max(needs)
        for game in self.games:
            if self.games_of(game) < fewest:
                raise UserError(
                    f"{game}.round_games must be at least {fewest}, for every pair of up to {players} strategies in "
                    f"both seats ({method}), got {self.games_of(game)}: raise it, or use more rounds"
                )


_FULL = Config(
    seeds=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    games=("gops", "avalon"),
    batch_size=512,
    search=StrategySearchConfig(strategies=40, rounds=10),
    gops=GopsGameConfig(deals=256, episodes=(320, 1280, 4800)),
    avalon=AvalonGameConfig(episodes=(320, 1280)),
    exact=ExactConfig(FIVE, budgets=(16, 32, 64, 160), small_cards=4),
    variants=VariantsConfig(ablations=True),
)
_PAPER = dataclasses.replace(
    _FULL,
    games=("gops",),
    mechanics="paper",
    gops=dataclasses.replace(_FULL.gops, round_games=32),
    avalon=dataclasses.replace(_FULL.avalon, round_games=32),
    variants=VariantsConfig(controls=False),
)
PRESETS = {
    "quick": Config(),
    "full": _FULL,
    "accel": dataclasses.replace(
        _FULL,
        seeds=tuple(range(20)),
        batch_size=8192,
        gops=GopsGameConfig(round_games=1920, deals=2048, episodes=(320, 1280, 20480)),
        avalon=AvalonGameConfig(round_games=480, deals=1024, episodes=(320, 1280, 4800)),
        exact=dataclasses.replace(_FULL.exact, deals=1024, policy_samples=64),
    ),
    "paper": _PAPER,
    "paper-avalon": dataclasses.replace(_PAPER, games=("avalon",), search=StrategySearchConfig(24, 6)),
}
