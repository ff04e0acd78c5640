"""The library of features of each game."""

from __future__ import annotations

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.strategist.heuristics import features_avalon, features_gops
from jaxrl_suite.strategist.heuristics.features import FeatureLibrary
from jaxrl_suite.strategist.heuristics.views import StrategyGame, view_of


def library(game: StrategyGame) -> FeatureLibrary:
    """The features of a game.

    Raises:
      UserError: if there are none for this game.
    """
    view_of(game)
    if isinstance(game, Gops):
        return features_gops.gops_library(game)
    assert isinstance(game, Avalon)
    return features_avalon.avalon_library(game)
