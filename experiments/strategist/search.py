"""The searches of the Strategist experiment: all methods and seeds of a game in lockstep, a round at a time.

A run that continues goes through the rounds that are done once more without a game or a request, and then plays on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.evolve.attempts import SearchSetup
from jaxrl_suite.evolve.journal import Journal, Log
from jaxrl_suite.evolve.llm_proposer import LanguageModelProposer
from jaxrl_suite.evolve.methods import METHODS, PRESETS, EvolveConfig
from jaxrl_suite.evolve.progress import Search
from jaxrl_suite.evolve.proposer import Asking, Brief, Path, Proposer
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.evolve.rounds import Planned, search_rounds
from jaxrl_suite.evolve.services import services
from jaxrl_suite.experiments.strategist.games import Referee, StageMixin
from jaxrl_suite.llm.protocol import Usage
from jaxrl_suite.llm.run_sampler import open_sampler
from jaxrl_suite.strategist.heuristics.grammar_proposer import GrammarProposer
from jaxrl_suite.strategist.heuristics.views import contract
from jaxrl_suite.strategist.judge.base import Feedback

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName

OURS = "strategist"
Control = Literal["", "states", "scores"]
CONTROLS: tuple[Control, ...] = ("states", "scores")
JOURNALED = {"published ranking": "published standing"}  # arms whose journals of earlier versions have another name


class Arm(NamedTuple):
    """One way to search, run with every seed.

    Args:
      name: for tables.
      evolve: its constants.
      feedback: of its judge.
      control: what is shuffled: the gaps of the key states it is shown, or the scores it goes by.
    """

    name: str
    evolve: EvolveConfig
    feedback: Feedback = "population"
    control: Control = ""


def arms_of(config: Config, game: GameName) -> list[Arm]:
    """All searches of a game: the methods, then variants of Strategist in one respect each."""
    base = evolve_config(config, game, OURS)
    arms = [Arm(method, evolve_config(config, game, method)) for method in config.methods]
    if OURS not in config.methods:
        return arms
    arms += [Arm(f"feedback: {feedback}", base, feedback) for feedback in config.feedbacks]
    arms += [Arm(f"shuffled {control}", base, control=control) for control in CONTROLS if config.controls]
    if config.ablations and game == "gops":  # a game of Avalon costs ten of GOPS
        published = PRESETS[f"paper-{game}"]
        for field in differing(base, published):
            arms.append(Arm(f"published {field}", dataclasses.replace(base, **{field: getattr(published, field)})))
    return arms


def differing(ours: EvolveConfig, published: EvolveConfig) -> list[str]:
    """The fields in which two searches differ, but for their sizes."""
    names = [field.name for field in dataclasses.fields(ours)]
    sizes = ("method", "strategies", "rounds", "feedback")
    return [name for name in names if name not in sizes and getattr(ours, name) != getattr(published, name)]


def evolve_config(config: Config, game: GameName, method: str) -> EvolveConfig:
    base = PRESETS["default"] if config.mechanics == "default" else PRESETS[f"paper-{game}"]
    sizes: dict[str, Any] = dict(
        method=method, strategies=config.strategies, rounds=config.rounds, repairs=config.repairs,
        feedback=max(1, config.key_states),
    )  # fmt: skip
    return dataclasses.replace(base, **sizes)


class _Shuffled:
    """A proposer that is shown each key state with the gap of another: what search found, and where, come apart."""

    def conclusions(self, strategy: Strategy, states: Sequence[KeyState], path: Path) -> Asking[str]:
        order = np.random.default_rng((len(states), *path)).permutation(len(states))
        mixed = [
            state._replace(search=tuple(np.add(state.heuristic, np.subtract(other.search, other.heuristic)).tolist()))
            for state, other in zip(states, (states[place] for place in order), strict=True)
        ]
        return super().conclusions(strategy, mixed, path)  # pyright: ignore[reportAttributeAccessIssue]


class _ShuffledGrammar(_Shuffled, GrammarProposer):
    pass


class _ShuffledModel(_Shuffled, LanguageModelProposer):
    pass


def proposer_of(config: Config, stage: StageMixin, control: Control) -> Proposer:
    shuffled = control == "states"
    if config.proposer == "grammar":
        return (_ShuffledGrammar if shuffled else GrammarProposer)(stage.library)
    brief = Brief("heuristic", contract(stage.library.game))
    return (_ShuffledModel if shuffled else LanguageModelProposer)(brief)


def seed_strategy(config: Config, stage: StageMixin) -> Strategy:
    """The strategy that every search starts from: points or quests won so far, nothing else."""
    weights = stage.library.seed_weights
    return Strategy(
        0, "heuristic", stage.library.render(weights), weights=weights if config.proposer == "grammar" else None
    )


class Searches(NamedTuple):
    """The searches of one game that are through.

    Args:
      arms: A.
      found: by name of the arm, one search a seed.
      usage: of the language model, by role.
    """

    arms: list[Arm]
    found: dict[str, list[Search]]
    usage: dict[str, Usage]


def run_searches(config: Config, run: Run, game: GameName, stage: StageMixin) -> Searches:
    """All searches of a game, all their rounds."""
    arms = arms_of(config, game)
    jobs = [(arm, seed) for arm in arms for seed in config.seeds]
    origin = seed_strategy(config, stage)
    with (
        Journal(run.folder / f"journal-{game}.jsonl") as journal,
        open_sampler(config, run, game) as samplers,
    ):
        referees = {referee_name(arm): _referee(config, stage, arm) for arm in arms}
        planned = [
            Planned(name, dict(arm=arm.name, seed=seed), _setup(config, stage, arm, seed, journal.log(name)), origin)
            for arm, seed in jobs
            for name in [f"{JOURNALED.get(arm.name, arm.name)} {seed}"]
        ]
        asked = services(referees, journal)  # pyright: ignore[reportArgumentType]
        searches, usage = search_rounds(run, planned, samplers, asked, stage.title, f"search-{game}")
    by_arm = {arm.name: [s for (a, _), s in zip(jobs, searches, strict=True) if a == arm] for arm in arms}
    return Searches(arms, by_arm, usage)


def _setup(config: Config, stage: StageMixin, arm: Arm, seed: int, log: Log) -> SearchSetup:
    return SearchSetup(arm.evolve, proposer_of(config, stage, arm.control), seed, judge=referee_name(arm), log=log)


def referee_name(arm: Arm) -> str:
    """Arms that are judged alike share a judge, and so what it said."""
    division = "steps" if METHODS[arm.evolve.method].sequential else "rounds"
    return " ".join(filter(None, (arm.feedback, division, arm.control if arm.control == "scores" else "")))


def _referee(config: Config, stage: StageMixin, arm: Arm) -> Referee:
    steps = arm.evolve.strategies_per_round if METHODS[arm.evolve.method].sequential else 1
    games = config.round_games if stage.zero_sum else config.avalon_games
    return Referee(stage, games, steps, arm.feedback, config.key_states, shuffle_scores=arm.control == "scores")
