"""Data valuation: what points are worth, as semivalues and as sequential decisions, with exact oracles.

Names are imported when they are first used. `curvature` is a module: `curvature.report`, `curvature.curvature`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.datavalue.bundles import BundledUtility as BundledUtility
    from jaxrl_suite.datavalue.bundles import bundle as bundle
    from jaxrl_suite.datavalue.bundles import bundle_gap as bundle_gap
    from jaxrl_suite.datavalue.coverage import CoverageUtility as CoverageUtility
    from jaxrl_suite.datavalue.coverage import cover_order as cover_order
    from jaxrl_suite.datavalue.coverage import fit_soft as fit_soft
    from jaxrl_suite.datavalue.coverage import fit_threshold as fit_threshold
    from jaxrl_suite.datavalue.coverage import similarity as similarity
    from jaxrl_suite.datavalue.coverage import similarity_order as similarity_order
    from jaxrl_suite.datavalue.curvature import best_by_size as best_by_size
    from jaxrl_suite.datavalue.curvature import bound_slack as bound_slack
    from jaxrl_suite.datavalue.data_oob import DataOOB as DataOOB
    from jaxrl_suite.datavalue.lookahead import beam_order as beam_order
    from jaxrl_suite.datavalue.lookahead import greedy_order as greedy_order
    from jaxrl_suite.datavalue.lookahead import rollout_order as rollout_order
    from jaxrl_suite.datavalue.neighbours import NeighbourUtility as NeighbourUtility
    from jaxrl_suite.datavalue.neighbours import knn_shapley as knn_shapley
    from jaxrl_suite.datavalue.neighbours import neighbour_utility as neighbour_utility
    from jaxrl_suite.datavalue.orders import addition_curve as addition_curve
    from jaxrl_suite.datavalue.orders import optimal_values as optimal_values
    from jaxrl_suite.datavalue.orders import prefix_masks as prefix_masks
    from jaxrl_suite.datavalue.orders import rank_order as rank_order
    from jaxrl_suite.datavalue.orders import removal_curve as removal_curve
    from jaxrl_suite.datavalue.orders import solve_order as solve_order
    from jaxrl_suite.datavalue.orders import table_curve as table_curve
    from jaxrl_suite.datavalue.permutations import Permutations as Permutations
    from jaxrl_suite.datavalue.permutations import beta_estimator as beta_estimator
    from jaxrl_suite.datavalue.permutations import leave_one_out_values as leave_one_out_values
    from jaxrl_suite.datavalue.quality import detect as detect
    from jaxrl_suite.datavalue.quality import flip_labels as flip_labels
    from jaxrl_suite.datavalue.quality import points_to_reach as points_to_reach
    from jaxrl_suite.datavalue.quality import rank_stability as rank_stability
    from jaxrl_suite.datavalue.quality import weighted_drop as weighted_drop
    from jaxrl_suite.datavalue.random_subsets import AverageMarginalEffect as AverageMarginalEffect
    from jaxrl_suite.datavalue.random_subsets import BanzhafReuse as BanzhafReuse
    from jaxrl_suite.datavalue.semivalues import banzhaf as banzhaf
    from jaxrl_suite.datavalue.semivalues import banzhaf_sizes as banzhaf_sizes
    from jaxrl_suite.datavalue.semivalues import beta_shapley as beta_shapley
    from jaxrl_suite.datavalue.semivalues import beta_sizes as beta_sizes
    from jaxrl_suite.datavalue.semivalues import least_squares_kernel as least_squares_kernel
    from jaxrl_suite.datavalue.semivalues import leave_one_out as leave_one_out
    from jaxrl_suite.datavalue.semivalues import leave_one_out_sizes as leave_one_out_sizes
    from jaxrl_suite.datavalue.semivalues import semivalue as semivalue
    from jaxrl_suite.datavalue.semivalues import shapley as shapley
    from jaxrl_suite.datavalue.semivalues import shapley_sizes as shapley_sizes
    from jaxrl_suite.datavalue.streaming import Estimate as Estimate
    from jaxrl_suite.datavalue.streaming import Estimator as Estimator
    from jaxrl_suite.datavalue.streaming import HalfWidth as HalfWidth
    from jaxrl_suite.datavalue.streaming import MaxFits as MaxFits
    from jaxrl_suite.datavalue.streaming import StableRanks as StableRanks
    from jaxrl_suite.datavalue.streaming import estimate_values as estimate_values
    from jaxrl_suite.datavalue.surrogates import AffineSurrogate as AffineSurrogate
    from jaxrl_suite.datavalue.surrogates import NetworkSurrogate as NetworkSurrogate
    from jaxrl_suite.datavalue.surrogates import fit_affine as fit_affine
    from jaxrl_suite.datavalue.surrogates import fit_network as fit_network
    from jaxrl_suite.datavalue.utilities import HostUtility as HostUtility
    from jaxrl_suite.datavalue.utilities import ModelUtility as ModelUtility
    from jaxrl_suite.datavalue.utilities import TableUtility as TableUtility
    from jaxrl_suite.datavalue.utilities import evaluate as evaluate
    from jaxrl_suite.datavalue.utilities import model_utility as model_utility
    from jaxrl_suite.datavalue.utilities import utility_table as utility_table

_HOME = {
    "AffineSurrogate": "surrogates",
    "AverageMarginalEffect": "random_subsets",
    "BanzhafReuse": "random_subsets",
    "BundledUtility": "bundles",
    "CoverageUtility": "coverage",
    "DataOOB": "data_oob",
    "Estimate": "streaming",
    "Estimator": "streaming",
    "HalfWidth": "streaming",
    "HostUtility": "utilities",
    "MaxFits": "streaming",
    "ModelUtility": "utilities",
    "NeighbourUtility": "neighbours",
    "NetworkSurrogate": "surrogates",
    "Permutations": "permutations",
    "StableRanks": "streaming",
    "TableUtility": "utilities",
    "addition_curve": "orders",
    "banzhaf": "semivalues",
    "banzhaf_sizes": "semivalues",
    "beam_order": "lookahead",
    "best_by_size": "curvature",
    "beta_estimator": "permutations",
    "beta_shapley": "semivalues",
    "beta_sizes": "semivalues",
    "bound_slack": "curvature",
    "bundle": "bundles",
    "bundle_gap": "bundles",
    "cover_order": "coverage",
    "detect": "quality",
    "estimate_values": "streaming",
    "evaluate": "utilities",
    "fit_affine": "surrogates",
    "fit_network": "surrogates",
    "fit_soft": "coverage",
    "fit_threshold": "coverage",
    "flip_labels": "quality",
    "greedy_order": "lookahead",
    "knn_shapley": "neighbours",
    "least_squares_kernel": "semivalues",
    "leave_one_out": "semivalues",
    "leave_one_out_sizes": "semivalues",
    "leave_one_out_values": "permutations",
    "model_utility": "utilities",
    "neighbour_utility": "neighbours",
    "optimal_values": "orders",
    "points_to_reach": "quality",
    "prefix_masks": "orders",
    "rank_order": "orders",
    "rank_stability": "quality",
    "removal_curve": "orders",
    "rollout_order": "lookahead",
    "semivalue": "semivalues",
    "shapley": "semivalues",
    "shapley_sizes": "semivalues",
    "similarity": "coverage",
    "similarity_order": "coverage",
    "solve_order": "orders",
    "table_curve": "orders",
    "utility_table": "utilities",
    "weighted_drop": "quality",
}

__all__ = [
    "AffineSurrogate",
    "AverageMarginalEffect",
    "BanzhafReuse",
    "BundledUtility",
    "CoverageUtility",
    "DataOOB",
    "Estimate",
    "Estimator",
    "HalfWidth",
    "HostUtility",
    "MaxFits",
    "ModelUtility",
    "NeighbourUtility",
    "NetworkSurrogate",
    "Permutations",
    "StableRanks",
    "TableUtility",
    "addition_curve",
    "banzhaf",
    "banzhaf_sizes",
    "beam_order",
    "best_by_size",
    "beta_estimator",
    "beta_shapley",
    "beta_sizes",
    "bound_slack",
    "bundle",
    "bundle_gap",
    "cover_order",
    "detect",
    "estimate_values",
    "evaluate",
    "fit_affine",
    "fit_network",
    "fit_soft",
    "fit_threshold",
    "flip_labels",
    "greedy_order",
    "knn_shapley",
    "least_squares_kernel",
    "leave_one_out",
    "leave_one_out_sizes",
    "leave_one_out_values",
    "model_utility",
    "neighbour_utility",
    "optimal_values",
    "points_to_reach",
    "prefix_masks",
    "rank_order",
    "rank_stability",
    "removal_curve",
    "rollout_order",
    "semivalue",
    "shapley",
    "shapley_sizes",
    "similarity",
    "similarity_order",
    "solve_order",
    "table_curve",
    "utility_table",
    "weighted_drop",
]

__getattr__ = lazy_names(__name__, _HOME)
