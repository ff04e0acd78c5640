"""The data-augmented AutoML market: discovery, buyers who stop optimally, and price curves with certificates.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.datamarket.instance import Instance as Instance
    from jaxrl_suite.datamarket.instance import exact_sets as exact_sets
    from jaxrl_suite.datamarket.instance import full_information as full_information
    from jaxrl_suite.datamarket.instance import instance_of_sets as instance_of_sets
    from jaxrl_suite.datamarket.instance import revenue as revenue
    from jaxrl_suite.datamarket.market import Market as Market
    from jaxrl_suite.datamarket.portfolio import price_curve as price_curve
    from jaxrl_suite.datamarket.programs import lottery_bound as lottery_bound
    from jaxrl_suite.datamarket.programs import solve_program as solve_program

_HOME = {
    "Instance": "instance",
    "Market": "market",
    "exact_sets": "instance",
    "full_information": "instance",
    "instance_of_sets": "instance",
    "lottery_bound": "programs",
    "price_curve": "portfolio",
    "revenue": "instance",
    "solve_program": "programs",
}

__all__ = [
    "Instance",
    "Market",
    "exact_sets",
    "full_information",
    "instance_of_sets",
    "lottery_bound",
    "price_curve",
    "revenue",
    "solve_program",
]

__getattr__ = lazy_names(__name__, _HOME)
