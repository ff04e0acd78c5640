"""Avalon as a benchmark: exact beliefs about who is who, the naive bots, and fast games between them.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.avalonbench.assignments import tables as tables
    from jaxrl_suite.avalonbench.belief_metrics import brier as brier
    from jaxrl_suite.avalonbench.belief_metrics import deduction_accuracy as deduction_accuracy
    from jaxrl_suite.avalonbench.belief_metrics import log_loss as log_loss
    from jaxrl_suite.avalonbench.belief_metrics import merlin_probability as merlin_probability
    from jaxrl_suite.avalonbench.beliefs import Belief as Belief
    from jaxrl_suite.avalonbench.beliefs import History as History
    from jaxrl_suite.avalonbench.beliefs import from_history as from_history
    from jaxrl_suite.avalonbench.beliefs import from_state as from_state
    from jaxrl_suite.avalonbench.beliefs import history_from_events as history_from_events
    from jaxrl_suite.avalonbench.beliefs import history_of as history_of
    from jaxrl_suite.avalonbench.beliefs import log_evidence as log_evidence
    from jaxrl_suite.avalonbench.beliefs import p_assassin as p_assassin
    from jaxrl_suite.avalonbench.beliefs import p_good as p_good
    from jaxrl_suite.avalonbench.beliefs import p_merlin as p_merlin
    from jaxrl_suite.avalonbench.beliefs import p_role as p_role
    from jaxrl_suite.avalonbench.beliefs import posterior as posterior
    from jaxrl_suite.avalonbench.beliefs import prior as prior
    from jaxrl_suite.avalonbench.beliefs import tilt as tilt
    from jaxrl_suite.avalonbench.beliefs import update_proposal as update_proposal
    from jaxrl_suite.avalonbench.beliefs import update_quest as update_quest
    from jaxrl_suite.avalonbench.beliefs import update_vote as update_vote
    from jaxrl_suite.avalonbench.bot_games import Totals as Totals
    from jaxrl_suite.avalonbench.bot_games import play_bots as play_bots
    from jaxrl_suite.avalonbench.bot_games import rollout as rollout
    from jaxrl_suite.avalonbench.bot_model import BotPolicies as BotPolicies
    from jaxrl_suite.avalonbench.bots import Bots as Bots
    from jaxrl_suite.avalonbench.observation_models import FailCounts as FailCounts
    from jaxrl_suite.avalonbench.observation_models import Outcomes as Outcomes
    from jaxrl_suite.avalonbench.observation_models import Proposal as Proposal
    from jaxrl_suite.avalonbench.observation_models import Quest as Quest
    from jaxrl_suite.avalonbench.observation_models import SoftmaxValues as SoftmaxValues
    from jaxrl_suite.avalonbench.observation_models import Vote as Vote
    from jaxrl_suite.avalonbench.observation_models import Votes as Votes
    from jaxrl_suite.avalonbench.observation_models import VotesAndProposals as VotesAndProposals
    from jaxrl_suite.avalonbench.observation_models import reference_model as reference_model

_MEMBERS = {
    "assignments": ("tables",),
    "belief_metrics": ("brier", "deduction_accuracy", "log_loss", "merlin_probability"),
    "beliefs": (
        "Belief",
        "History",
        "from_history",
        "from_state",
        "history_from_events",
        "history_of",
        "log_evidence",
        "p_assassin",
        "p_good",
        "p_merlin",
        "p_role",
        "posterior",
        "prior",
        "tilt",
        "update_proposal",
        "update_quest",
        "update_vote",
    ),
    "bot_games": ("Totals", "play_bots", "rollout"),
    "bot_model": ("BotPolicies",),
    "bots": ("Bots",),
    "observation_models": (
        "FailCounts",
        "Outcomes",
        "Proposal",
        "Quest",
        "SoftmaxValues",
        "Vote",
        "Votes",
        "VotesAndProposals",
        "reference_model",
    ),
}
_HOME = {name: module for module, names in _MEMBERS.items() for name in names}

__all__ = [
    "Belief",
    "BotPolicies",
    "Bots",
    "FailCounts",
    "History",
    "Outcomes",
    "Proposal",
    "Quest",
    "SoftmaxValues",
    "Totals",
    "Vote",
    "Votes",
    "VotesAndProposals",
    "brier",
    "deduction_accuracy",
    "from_history",
    "from_state",
    "history_from_events",
    "history_of",
    "log_evidence",
    "log_loss",
    "merlin_probability",
    "p_assassin",
    "p_good",
    "p_merlin",
    "p_role",
    "play_bots",
    "posterior",
    "prior",
    "reference_model",
    "rollout",
    "tables",
    "tilt",
    "update_proposal",
    "update_quest",
    "update_vote",
]

__getattr__ = lazy_names(__name__, _HOME)
