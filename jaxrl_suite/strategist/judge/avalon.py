"""The judge of Avalon heuristics: a score is the mean win rate over both sides, on the same deals.

In a game one heuristic plays for all good players and another for all evil ones; every pair plays both ways.

Shapes: `R` games, `P` players, `D` decisions recorded.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench.observation_models import VotesAndProposals
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.rules import has_bit, lowest_bit
from jaxrl_suite.strategist.heuristics.features_avalon import avalon_library
from jaxrl_suite.strategist.heuristics.pool import Choice, Pool
from jaxrl_suite.strategist.heuristics.views import AVALON_TURNS, avalon_view, random_state
from jaxrl_suite.strategist.judge.base import HeuristicJudge, JudgeConfig
from jaxrl_suite.strategist.judge.programs import looked_at
from jaxrl_suite.strategist.play.avalon import AvalonPlayer, play
from jaxrl_suite.strategist.play.records import Played

RECORDED = 64  # decisions of a game; a game between sensible players has about as many


class AvalonJudge(HeuristicJudge):
    """Judges heuristics for Avalon. Its `players` are given a model of how they read public events.

    `num_simulations` of the config are the states evaluated for a decision, see `AvalonPlayer`.
    """

    zero_sum = False
    features = staticmethod(avalon_library)
    usual = Avalon(5), JudgeConfig(num_simulations=20), VotesAndProposals()

    @property
    def title(self) -> str:
        return f"Avalon-{self.library.game.num_players}"

    def player(self, pool: Pool, num_simulations: int) -> AvalonPlayer:
        return AvalonPlayer(pool, num_simulations, self.players)

    def compile(self, pool: Pool, num_simulations: int, records: bool):
        player, players = self.player(pool, num_simulations), self.library.game.num_players

        def program(good: Choice, evil: Choice, keys: jax.Array) -> Played:
            games = play(player, good, evil, keys, RECORDED if records else 0)
            sides = has_bit(games.final.evil[:, None], jnp.arange(players)[None])
            by_evil = has_bit(games.states.evil, games.seats)
            one = jax.vmap(lambda choice, states: jax.vmap(lambda state: _values(pool, choice, state))(states))
            heuristic = jnp.where(by_evil[..., None], one(evil, games.states), one(good, games.states))
            turns = jnp.arange(games.seats.shape[1])[None]
            # the first proposal is made in the initial state, whoever leads
            counts = (turns > 0) & (turns < games.decisions[:, None])
            return Played(
                reward=games.good_wins.astype(jnp.float32),
                outcome=(sides ^ games.good_wins[:, None]).astype(jnp.float32),
                states=games.states,
                heuristic=heuristic[:, :, None],
                search=_by_side(sides[:, None], games.estimates)[:, :, None],
                by_second=by_evil[..., None],
                counts=counts[..., None],
            )

        return program

    def compare(self, pool: Pool, num_simulations: int):
        player = self.player(pool, num_simulations)
        game = player.game

        def program(choices: Choice, keys: jax.Array, state_keys: jax.Array) -> Played:
            def one(choice, key, state_key):
                state_key, turn_key = jax.random.split(state_key)
                state = random_state(game, state_key, jax.random.randint(turn_key, (), 0, AVALON_TURNS))
                seat = lowest_bit(game.acting(state), game.num_players)
                values = player.values(choice, key, state, seat)
                worth = jnp.where(has_bit(state.evil, seat), jnp.nanmin(values), jnp.nanmax(values))
                sides = has_bit(state.evil, jnp.arange(game.num_players))
                return state, _values(pool, choice, state), _by_side(sides, worth)

            return looked_at(*jax.vmap(one)(choices, keys, state_keys))

        return program


def _values(pool: Pool, choice: Choice, state: Any) -> jax.Array:
    game: Any = pool.library.game
    return pool.values(choice, avalon_view(game, state))


def _by_side(evil: jax.Array, worth: jax.Array) -> jax.Array:
    """float32[..., P]: chances of winning, from who is evil bool[..., P] and the value for the good team."""
    good = (1 + worth)[..., None] / 2
    return jnp.where(evil, 1 - good, good)
