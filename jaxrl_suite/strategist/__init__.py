"""Bi-level search over strategies written as text: an outer search writes them, batched tree search plays them.

Names are imported when they are first used. `services.services` makes a judge into what searches ask, and
`evolve.evolve` is a whole search as a generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.strategist.alphazero import AlphaZero as AlphaZero
    from jaxrl_suite.strategist.attempts import Setup as Setup
    from jaxrl_suite.strategist.avalon_value import AvalonValueLearner as AvalonValueLearner
    from jaxrl_suite.strategist.cheap_talk_learning import TalkLearner as TalkLearner
    from jaxrl_suite.strategist.deeprole import DeepRole as DeepRole
    from jaxrl_suite.strategist.dialogue import Discriminator as Discriminator
    from jaxrl_suite.strategist.dialogue import Speaker as Speaker
    from jaxrl_suite.strategist.dialogue import discuss as discuss
    from jaxrl_suite.strategist.dialogue import listen as listen
    from jaxrl_suite.strategist.evolve import improve as improve
    from jaxrl_suite.strategist.evolve import search_job as search_job
    from jaxrl_suite.strategist.evolve import start as start
    from jaxrl_suite.strategist.features import FeatureLibrary as FeatureLibrary
    from jaxrl_suite.strategist.features import library as library
    from jaxrl_suite.strategist.grammar_proposer import GrammarProposer as GrammarProposer
    from jaxrl_suite.strategist.guide_judge import GuideJudge as GuideJudge
    from jaxrl_suite.strategist.guides import Guide as Guide
    from jaxrl_suite.strategist.guides import seed_guide as seed_guide
    from jaxrl_suite.strategist.heuristics import Choice as Choice
    from jaxrl_suite.strategist.heuristics import Pool as Pool
    from jaxrl_suite.strategist.heuristics import choices_of as choices_of
    from jaxrl_suite.strategist.heuristics import compact_choices as compact_choices
    from jaxrl_suite.strategist.heuristics import export_texts as export_texts
    from jaxrl_suite.strategist.ideas import IdeaQueue as IdeaQueue
    from jaxrl_suite.strategist.journal import Journal as Journal
    from jaxrl_suite.strategist.judge import HeuristicJudge as HeuristicJudge
    from jaxrl_suite.strategist.judge import JudgeConfig as JudgeConfig
    from jaxrl_suite.strategist.judge_avalon import AvalonJudge as AvalonJudge
    from jaxrl_suite.strategist.judge_gops import GopsJudge as GopsJudge
    from jaxrl_suite.strategist.key_states import Describer as Describer
    from jaxrl_suite.strategist.language_proposer import LanguageModelProposer as LanguageModelProposer
    from jaxrl_suite.strategist.league import League as League
    from jaxrl_suite.strategist.league import elo as elo
    from jaxrl_suite.strategist.league import race as race
    from jaxrl_suite.strategist.league import round_robin as round_robin
    from jaxrl_suite.strategist.league import successive_halving as successive_halving
    from jaxrl_suite.strategist.methods import METHODS as METHODS
    from jaxrl_suite.strategist.methods import EvolveConfig as EvolveConfig
    from jaxrl_suite.strategist.methods import Method as Method
    from jaxrl_suite.strategist.play_avalon import AvalonPlayer as AvalonPlayer
    from jaxrl_suite.strategist.play_gops import GopsPlayer as GopsPlayer
    from jaxrl_suite.strategist.progress import Search as Search
    from jaxrl_suite.strategist.progress import best_within as best_within
    from jaxrl_suite.strategist.proposals import Brief as Brief
    from jaxrl_suite.strategist.proposals import Draft as Draft
    from jaxrl_suite.strategist.proposals import Proposer as Proposer
    from jaxrl_suite.strategist.proposals import ReplayProposer as ReplayProposer
    from jaxrl_suite.strategist.records import Judge as Judge
    from jaxrl_suite.strategist.records import Judgement as Judgement
    from jaxrl_suite.strategist.records import KeyState as KeyState
    from jaxrl_suite.strategist.records import Strategy as Strategy
    from jaxrl_suite.strategist.scenarios import Scenario as Scenario
    from jaxrl_suite.strategist.selection import choose_parents as choose_parents
    from jaxrl_suite.strategist.strength import Strength as Strength
    from jaxrl_suite.strategist.strength import exploitabilities as exploitabilities
    from jaxrl_suite.strategist.strength import nash_returns as nash_returns
    from jaxrl_suite.strategist.tree import StrategyTree as StrategyTree
    from jaxrl_suite.strategist.tree_picture import tree_figure as tree_figure
    from jaxrl_suite.strategist.views import AvalonView as AvalonView
    from jaxrl_suite.strategist.views import GopsView as GopsView
    from jaxrl_suite.strategist.views import contract as contract
    from jaxrl_suite.strategist.views import example_views as example_views
    from jaxrl_suite.strategist.views import view_of as view_of

_HOME = {
    "AlphaZero": "alphazero",
    "AvalonJudge": "judge_avalon",
    "AvalonPlayer": "play_avalon",
    "AvalonValueLearner": "avalon_value",
    "AvalonView": "views",
    "Brief": "proposals",
    "Choice": "heuristics",
    "DeepRole": "deeprole",
    "Describer": "key_states",
    "Discriminator": "dialogue",
    "Draft": "proposals",
    "EvolveConfig": "methods",
    "FeatureLibrary": "features",
    "GopsJudge": "judge_gops",
    "GopsPlayer": "play_gops",
    "GopsView": "views",
    "GrammarProposer": "grammar_proposer",
    "Guide": "guides",
    "GuideJudge": "guide_judge",
    "HeuristicJudge": "judge",
    "IdeaQueue": "ideas",
    "Journal": "journal",
    "Judge": "records",
    "JudgeConfig": "judge",
    "Judgement": "records",
    "KeyState": "records",
    "LanguageModelProposer": "language_proposer",
    "League": "league",
    "METHODS": "methods",
    "Method": "methods",
    "Pool": "heuristics",
    "Proposer": "proposals",
    "ReplayProposer": "proposals",
    "Scenario": "scenarios",
    "Search": "progress",
    "Setup": "attempts",
    "Speaker": "dialogue",
    "Strategy": "records",
    "StrategyTree": "tree",
    "Strength": "strength",
    "TalkLearner": "cheap_talk_learning",
    "best_within": "progress",
    "choices_of": "heuristics",
    "choose_parents": "selection",
    "compact_choices": "heuristics",
    "contract": "views",
    "discuss": "dialogue",
    "elo": "league",
    "example_views": "views",
    "exploitabilities": "strength",
    "export_texts": "heuristics",
    "improve": "evolve",
    "library": "features",
    "listen": "dialogue",
    "nash_returns": "strength",
    "race": "league",
    "round_robin": "league",
    "search_job": "evolve",
    "seed_guide": "guides",
    "start": "evolve",
    "successive_halving": "league",
    "tree_figure": "tree_picture",
    "view_of": "views",
}

__all__ = [
    "METHODS",
    "AlphaZero",
    "AvalonJudge",
    "AvalonPlayer",
    "AvalonValueLearner",
    "AvalonView",
    "Brief",
    "Choice",
    "DeepRole",
    "Describer",
    "Discriminator",
    "Draft",
    "EvolveConfig",
    "FeatureLibrary",
    "GopsJudge",
    "GopsPlayer",
    "GopsView",
    "GrammarProposer",
    "Guide",
    "GuideJudge",
    "HeuristicJudge",
    "IdeaQueue",
    "Journal",
    "Judge",
    "JudgeConfig",
    "Judgement",
    "KeyState",
    "LanguageModelProposer",
    "League",
    "Method",
    "Pool",
    "Proposer",
    "ReplayProposer",
    "Scenario",
    "Search",
    "Setup",
    "Speaker",
    "Strategy",
    "StrategyTree",
    "Strength",
    "TalkLearner",
    "best_within",
    "choices_of",
    "choose_parents",
    "compact_choices",
    "contract",
    "discuss",
    "elo",
    "example_views",
    "exploitabilities",
    "export_texts",
    "improve",
    "library",
    "listen",
    "nash_returns",
    "race",
    "round_robin",
    "search_job",
    "seed_guide",
    "start",
    "successive_halving",
    "tree_figure",
    "view_of",
]

__getattr__ = lazy_names(__name__, _HOME)
