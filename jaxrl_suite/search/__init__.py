"""Batched tree search over games on mctx trees, with the exact solvers that it is measured by.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.search.agents import SearchPolicy as SearchPolicy
    from jaxrl_suite.search.arena import play as play
    from jaxrl_suite.search.arena import play_both_seats as play_both_seats
    from jaxrl_suite.search.evaluators import Heuristic as Heuristic
    from jaxrl_suite.search.evaluators import Network as Network
    from jaxrl_suite.search.evaluators import Rollout as Rollout
    from jaxrl_suite.search.gops_evaluation import best_response as best_response
    from jaxrl_suite.search.gops_evaluation import exploitability as exploitability
    from jaxrl_suite.search.gops_evaluation import matchup as matchup
    from jaxrl_suite.search.gops_exact import batched_policy as batched_policy
    from jaxrl_suite.search.gops_exact import policy as policy
    from jaxrl_suite.search.gops_exact import solve_gops as solve_gops
    from jaxrl_suite.search.gops_exact import value as value
    from jaxrl_suite.search.gops_keys import state_from_cards as state_from_cards
    from jaxrl_suite.search.matrix_game import solve as solve
    from jaxrl_suite.search.reroot import reroot as reroot
    from jaxrl_suite.search.rules import DecoupledPUCT as DecoupledPUCT
    from jaxrl_suite.search.rules import Paper as Paper
    from jaxrl_suite.search.rules import RegretMatching as RegretMatching
    from jaxrl_suite.search.simultaneous import SimultaneousSearch as SimultaneousSearch
    from jaxrl_suite.search.tree_search import search as search

_HOME = {
    "DecoupledPUCT": "rules",
    "Heuristic": "evaluators",
    "Network": "evaluators",
    "Paper": "rules",
    "RegretMatching": "rules",
    "Rollout": "evaluators",
    "SearchPolicy": "agents",
    "SimultaneousSearch": "simultaneous",
    "batched_policy": "gops_exact",
    "best_response": "gops_evaluation",
    "exploitability": "gops_evaluation",
    "matchup": "gops_evaluation",
    "play": "arena",
    "play_both_seats": "arena",
    "policy": "gops_exact",
    "reroot": "reroot",
    "search": "tree_search",
    "solve": "matrix_game",
    "solve_gops": "gops_exact",
    "state_from_cards": "gops_keys",
    "value": "gops_exact",
}

__all__ = [
    "DecoupledPUCT",
    "Heuristic",
    "Network",
    "Paper",
    "RegretMatching",
    "Rollout",
    "SearchPolicy",
    "SimultaneousSearch",
    "batched_policy",
    "best_response",
    "exploitability",
    "matchup",
    "play",
    "play_both_seats",
    "policy",
    "reroot",
    "search",
    "solve",
    "solve_gops",
    "state_from_cards",
    "value",
]

__getattr__ = lazy_names(__name__, _HOME)
