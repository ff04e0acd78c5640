"""Networks of the learners beside the searches, for `--describe`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.experiments.strategist.config import Config
from jaxrl_suite.networks.describe import Described
from jaxrl_suite.strategist.learners import avalon_value
from jaxrl_suite.strategist.learners.alphazero import AlphaZero
from jaxrl_suite.strategist.learners.deeprole.learner import DeepRole
from jaxrl_suite.strategist.learners.deeprole.round import Situation


def networks(config: Config) -> dict[str, Described]:
    """By the name of the learner."""
    found: dict[str, Described] = {}
    if "gops" in config.games:
        game: Any = Gops(config.gops.num_cards, objective="points")
        observation = jax.eval_shape(lambda: game.observe(game.start(), 0))
        for name, learner in (("fair", AlphaZero.fair(game)), ("as published", AlphaZero.paper(game))):
            found[f"AlphaZero, {name}, GOPS"] = Described(learner.network, (_float(1, *observation.shape),))
    if "avalon" in config.games:
        avalon = Avalon(5)
        values = avalon_value.AvalonValueLearner(Bots(avalon)).network
        found["AlphaZero-style, Avalon"] = Described(values, (_float(1, avalon_value.num_features(avalon)),))
        number, leader = jax.ShapeDtypeStruct((1,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
        situation = Situation(number, number, number, leader)  # pyright: ignore[reportArgumentType]
        found["DeepRole, Avalon"] = Described(DeepRole(avalon).network, (situation, _float(1, 60)))
    return found


def _float(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
