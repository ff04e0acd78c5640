"""Avalon: games of searching players and bots, and the beliefs held in them."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench import belief_metrics, beliefs
from jaxrl_suite.avalonbench.bot_model import BotPolicies
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.driver import play
from jaxrl_suite.avalonbench.matches import play_side
from jaxrl_suite.avalonbench.observation_models import FailCounts, Votes
from jaxrl_suite.avalonbench.player import BotPlayer
from jaxrl_suite.avalonbench.search_agent import SearchAgent
from jaxrl_suite.core import devices
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs import Avalon
from jaxrl_suite.envs.avalon import render as avalon_render
from jaxrl_suite.envs.avalon.roles import MAX_PROPOSALS

if TYPE_CHECKING:
    from jaxrl_suite.experiments.avalon_bots.config import Config

Kind = Literal["naive", "random"]
KINDS = ("naive", "random")
Side: TypeAlias = Literal["good", "evil", "both"]
SEARCHED: dict[
    str, tuple[Side, Kind, Kind]
] = {  # pairing: the side that searches, and the bots of the good and of the evil seats
    "search-naive": ("good", "naive", "naive"),
    "naive-search": ("evil", "naive", "naive"),
    "search-random": ("good", "naive", "random"),
    "random-search": ("evil", "random", "naive"),
    "search-search": ("both", "naive", "naive"),
}
COLUMNS = (
    "games",
    "good_wins",
    "evil_by_missions",
    "evil_by_assassination",
    "proposals",
    "sides_right",
    "sides_judged",
)
MODELS = {"fail counts": FailCounts(), "votes": Votes(), "the bots' own policies": BotPolicies()}


class SearchTable:
    """Plays pairings with search: one compiled program for each size and pairing."""

    def __init__(self, config: Config, run: Run):
        self._config, self._run, self._mesh = config, run, run.mesh(batch=config.search_games)
        self._programs: dict[Any, Any] = {}
        self.decisions, self.seconds = 0, 0.0

    def play(self, players: int, pairing: str, seed: int) -> np.ndarray:
        """int32[games, 4]: whether good won, evil won by missions, by assassination; and proposals."""
        keys = devices.shard_batch(jax.random.split(jax.random.key(seed), self._config.search_games), self._mesh)
        if (players, pairing) not in self._programs:
            program = devices.map_batch(functools.partial(self._match, players, pairing), self._mesh)
            name = f"{pairing} at {players} players"
            self._programs[players, pairing] = self._run.compile(program, keys, name=name)
        start = time.monotonic()
        rows, decisions = jax.device_get(self._programs[players, pairing](keys))
        self.seconds += time.monotonic() - start
        self.decisions += int(decisions.sum())
        return rows

    def _match(self, players, pairing, keys):
        side, good, evil = SEARCHED[pairing]
        game = Avalon(players)
        worlds = None if players <= 6 else 32  # above six players, assignments are drawn from the posterior
        agent = SearchAgent(
            Bots(game),
            BotPolicies(self._config.epsilon),
            num_simulations=self._config.simulations,
            num_assignments=worlds,
        )
        outcome = play_side(agent, side, Bots(game, good, evil), keys)
        columns = outcome.good_wins, outcome.by_missions, outcome.by_assassination, outcome.proposals
        return jnp.stack([column.astype(jnp.int32) for column in columns], axis=1), outcome.decisions


@functools.partial(jax.jit, static_argnums=1)
def _play_to_the_end(key, games):
    game = Avalon(5)
    return play(game, [BotPlayer(Bots(game))] * game.num_players, jax.random.split(key, games)).final


@functools.partial(jax.jit, static_argnums=1)
def _losses(states, model):
    """float32[T]: mean log-loss over games of a Servant's beliefs about the others, after t proposals."""
    game = Avalon(5)

    def one(state, seen):
        history = beliefs.history_of(game, state)
        seen = jnp.minimum(seen, history.num_votes)
        history = history._replace(num_proposals=seen, num_votes=seen)
        viewer = jnp.argmax(state.roles == 5)  # the first Servant
        belief = beliefs.from_history(game, history, state.roles, viewer, model)
        good = beliefs.p_good(game, beliefs.posterior(belief))
        return belief_metrics.log_loss(good, state.roles, floor=1e-6)

    times = jnp.arange(MAX_PROPOSALS + 1)
    return jnp.mean(jax.vmap(lambda state: jax.vmap(one, (None, 0))(state, times))(states), axis=0)


def belief_losses(seed: int, games: int) -> np.ndarray:
    """float32[models, T]: see `_losses`; a game that ends before t counts with its last belief."""
    states = _play_to_the_end(jax.random.key(seed), games)
    return np.stack([np.asarray(_losses(states, model)) for model in MODELS.values()])


def show_game(seed: int) -> str:
    game = Avalon(5)
    states = _play_to_the_end(jax.random.key(seed), 8)
    return avalon_render.svg_game(game, jax.tree.map(lambda leaf: leaf[0], states))
