"""The data-augmented AutoML market: discovery, buyers who stop optimally, and price curves with certificates.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.datamarket.automl import Trainer as Trainer
    from jaxrl_suite.datamarket.automl import sweep as sweep
    from jaxrl_suite.datamarket.cost_aware import expected_revenue as expected_revenue
    from jaxrl_suite.datamarket.cost_aware import price_with_cost as price_with_cost
    from jaxrl_suite.datamarket.equilibrium import solve_env as solve_env
    from jaxrl_suite.datamarket.equilibrium import to_env as to_env
    from jaxrl_suite.datamarket.instance import Instance as Instance
    from jaxrl_suite.datamarket.instance import choose as choose
    from jaxrl_suite.datamarket.instance import exact_sets as exact_sets
    from jaxrl_suite.datamarket.instance import full_information as full_information
    from jaxrl_suite.datamarket.instance import hedged as hedged
    from jaxrl_suite.datamarket.instance import instance_of_sets as instance_of_sets
    from jaxrl_suite.datamarket.instance import revenue as revenue
    from jaxrl_suite.datamarket.instance import welfare as welfare
    from jaxrl_suite.datamarket.learning import identifiability as identifiability
    from jaxrl_suite.datamarket.learning import learn as learn
    from jaxrl_suite.datamarket.learning import likelihoods as likelihoods
    from jaxrl_suite.datamarket.market import Market as Market
    from jaxrl_suite.datamarket.market import smoothed_chain as smoothed_chain
    from jaxrl_suite.datamarket.menu import Menu as Menu
    from jaxrl_suite.datamarket.menu import post_menu as post_menu
    from jaxrl_suite.datamarket.patterns import brute_force as brute_force
    from jaxrl_suite.datamarket.portfolio import price_curve as price_curve
    from jaxrl_suite.datamarket.programs import lottery_bound as lottery_bound
    from jaxrl_suite.datamarket.programs import solve_program as solve_program
    from jaxrl_suite.datamarket.regret import commitment_error as commitment_error
    from jaxrl_suite.datamarket.scenarios import climbing_market as climbing_market
    from jaxrl_suite.datamarket.scenarios import random_instance as random_instance
    from jaxrl_suite.datamarket.single_crossing import solve_single_crossing as solve_single_crossing
    from jaxrl_suite.datamarket.stopping import outcomes as outcomes
    from jaxrl_suite.datamarket.stopping import plan as plan
    from jaxrl_suite.datamarket.stopping import simulate as simulate
    from jaxrl_suite.datamarket.tables import Lake as Lake
    from jaxrl_suite.datamarket.tables import make_lake as make_lake

_HOME = {
    "Instance": "instance",
    "Lake": "tables",
    "Market": "market",
    "Menu": "menu",
    "Trainer": "automl",
    "brute_force": "patterns",
    "choose": "instance",
    "climbing_market": "scenarios",
    "commitment_error": "regret",
    "exact_sets": "instance",
    "expected_revenue": "cost_aware",
    "full_information": "instance",
    "hedged": "instance",
    "identifiability": "learning",
    "instance_of_sets": "instance",
    "learn": "learning",
    "likelihoods": "learning",
    "lottery_bound": "programs",
    "make_lake": "tables",
    "outcomes": "stopping",
    "plan": "stopping",
    "post_menu": "menu",
    "price_curve": "portfolio",
    "price_with_cost": "cost_aware",
    "random_instance": "scenarios",
    "revenue": "instance",
    "simulate": "stopping",
    "smoothed_chain": "market",
    "solve_env": "equilibrium",
    "solve_program": "programs",
    "solve_single_crossing": "single_crossing",
    "sweep": "automl",
    "to_env": "equilibrium",
    "welfare": "instance",
}

__all__ = [
    "Instance",
    "Lake",
    "Market",
    "Menu",
    "Trainer",
    "brute_force",
    "choose",
    "climbing_market",
    "commitment_error",
    "exact_sets",
    "expected_revenue",
    "full_information",
    "hedged",
    "identifiability",
    "instance_of_sets",
    "learn",
    "likelihoods",
    "lottery_bound",
    "make_lake",
    "outcomes",
    "plan",
    "post_menu",
    "price_curve",
    "price_with_cost",
    "random_instance",
    "revenue",
    "simulate",
    "smoothed_chain",
    "solve_env",
    "solve_program",
    "solve_single_crossing",
    "sweep",
    "to_env",
    "welfare",
]

__getattr__ = lazy_names(__name__, _HOME)
