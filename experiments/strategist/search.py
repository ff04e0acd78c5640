"""The searches of the Strategist experiment: all methods and seeds of a game in lockstep, a round at a time.

A run that continues goes through the rounds that are done once more without a game or a request, and then plays on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.evolve.attempts import SearchSetup
from jaxrl_suite.evolve.journal import Journal, Log, services
from jaxrl_suite.evolve.llm_proposer import Brief, LanguageModelProposer
from jaxrl_suite.evolve.methods import METHODS, PRESETS, EvolveConfig, Search
from jaxrl_suite.evolve.proposer import Asking, Path, Proposer
from jaxrl_suite.evolve.records import Judge, Judgement, KeyState, Strategy
from jaxrl_suite.evolve.rounds import Planned, search_rounds
from jaxrl_suite.llm.protocol import Usage
from jaxrl_suite.llm.run_sampler import open_sampler
from jaxrl_suite.strategist.heuristics.features import HEURISTIC
from jaxrl_suite.strategist.heuristics.grammar_proposer import GrammarProposer
from jaxrl_suite.strategist.heuristics.views import contract
from jaxrl_suite.strategist.judge.avalon import AvalonJudge
from jaxrl_suite.strategist.judge.base import Feedback, HeuristicJudge, JudgeConfig
from jaxrl_suite.strategist.judge.gops import GopsJudge

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
    arms += [Arm(f"feedback: {feedback}", base, feedback) for feedback in config.variants.feedbacks]
    arms += [Arm(f"shuffled {control}", base, control=control) for control in CONTROLS if config.variants.controls]
    if config.variants.ablations and game == "gops":  # a game of Avalon costs ten of GOPS
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
        method=method, strategies=config.search.strategies, rounds=config.search.rounds, repairs=config.search.repairs,
        feedback=max(1, config.search.key_states),
    )  # fmt: skip
    return dataclasses.replace(base, **sizes)


def judge_of(config: Config, game: GameName, run: Run) -> GopsJudge | AvalonJudge:
    """The judge of one game: its programs serve all searches and the evaluation."""
    rounds, duels = config.batch_sizes_of(game)
    how = JudgeConfig(
        num_simulations=config.gops.num_simulations if game == "gops" else config.avalon.num_simulations,
        batch_size=rounds,
        key_states=config.search.key_states,
    )
    shared: dict[str, Any] = dict(mesh=run.mesh(batch=math.gcd(rounds, duels)), on_compiled=run.compiled)
    if game == "avalon":
        return AvalonJudge(Avalon(5), how, **shared)
    style = "paper" if config.mechanics == "paper" else "regret_matching"
    return GopsJudge(Gops(config.gops.num_cards, objective="points"), how, style, **shared)


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


def proposer_of(config: Config, judge: HeuristicJudge, control: Control) -> Proposer:
    shuffled = control == "states"
    if config.proposer == "grammar":
        return (_ShuffledGrammar if shuffled else GrammarProposer)(judge.library)
    brief = Brief(HEURISTIC, contract(judge.library.game))
    return (_ShuffledModel if shuffled else LanguageModelProposer)(brief)


def seed_strategy(config: Config, judge: HeuristicJudge) -> Strategy:
    """The strategy that every search starts from: points or quests won so far, nothing else."""
    weights = judge.library.seed_weights
    return Strategy(
        0, "heuristic", judge.library.render(weights), weights=weights if config.proposer == "grammar" else None
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


def run_searches(config: Config, run: Run, game: GameName, judge: HeuristicJudge) -> Searches:
    """All searches of a game, all their rounds."""
    arms = arms_of(config, game)
    jobs = [(arm, seed) for arm in arms for seed in config.seeds]
    origin = seed_strategy(config, judge)
    with (
        Journal(run.folder / f"journal-{game}.jsonl") as journal,
        open_sampler(config, run, game) as samplers,
    ):
        judges = {judge_name(arm): judge_for(judge, arm) for arm in arms}
        planned = [
            Planned(name, dict(arm=arm.name, seed=seed), _setup(config, judge, arm, seed, journal.log(name)), origin)
            for arm, seed in jobs
            for name in [f"{JOURNALED.get(arm.name, arm.name)} {seed}"]
        ]
        asked = services(judges, journal)
        searches, usage = search_rounds(run, planned, samplers, asked, judge.title, f"search-{game}")
    by_arm = {arm.name: [s for (a, _), s in zip(jobs, searches, strict=True) if a == arm] for arm in arms}
    return Searches(arms, by_arm, usage)


def _setup(config: Config, judge: HeuristicJudge, arm: Arm, seed: int, log: Log) -> SearchSetup:
    games = config.games_of("gops" if judge.zero_sum else "avalon")
    return SearchSetup(
        arm.evolve, proposer_of(config, judge, arm.control), seed, judge=judge_name(arm), log=log, games=games
    )


def judge_name(arm: Arm) -> str:
    """Arms that are judged alike share a judge, and so what it said."""
    division = "steps" if METHODS[arm.evolve.method].sequential else "rounds"
    return " ".join(filter(None, (arm.feedback, division, arm.control if arm.control == "scores" else "")))


def judge_for(judge: HeuristicJudge, arm: Arm) -> Judge:
    """The judge of an arm; all share their programs."""
    its_own = judge.with_config(feedback=arm.feedback)
    return ShuffledScores(its_own) if arm.control == "scores" else its_own


class ShuffledScores:
    """A judge whose scores are dealt out at random among the strategies of a round, without improvements."""

    def __init__(self, judge: Judge):
        self.identity, self.check, self._judge = f"{judge.identity} with shuffled scores", judge.check, judge

    def judge(self, strategies: Sequence[Strategy], path: tuple[int, ...], games: int | None = None) -> Judgement:
        said = self._judge.judge(strategies, path, games)
        order = np.random.default_rng(path).permutation(len(strategies))
        scores = tuple(said.scores[place] for place in order)
        return said._replace(scores=scores, improvements=(None,) * len(scores))
