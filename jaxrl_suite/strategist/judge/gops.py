"""The judge of GOPS heuristics: a score is the mean difference of final points.

Shapes: `R` games, `P` = 2 players, T turns searched.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.search.tree_search import split_rows
from jaxrl_suite.strategist.heuristics.features_gops import gops_library
from jaxrl_suite.strategist.heuristics.pool import Choice, Pool
from jaxrl_suite.strategist.heuristics.views import gops_view, random_state
from jaxrl_suite.strategist.judge.base import HeuristicJudge, JudgeConfig
from jaxrl_suite.strategist.judge.programs import looked_at
from jaxrl_suite.strategist.play.gops import GopsPlayer, Style, play
from jaxrl_suite.strategist.play.records import Played


class GopsJudge(HeuristicJudge):
    """Judges heuristics for GOPS, with objective `points`. Its `players` are the style of search, see `GopsPlayer`."""

    features = staticmethod(gops_library)
    usual = Gops(6, objective="points"), JudgeConfig(), "regret_matching"

    @property
    def title(self) -> str:
        return f"GOPS-{self.library.game.num_cards}"  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def style(self) -> Style:
        """Of the low-level search."""
        return self.players

    def player(self, pool: Pool, num_simulations: int) -> GopsPlayer:
        return GopsPlayer(pool, num_simulations, self.style)

    def compile(self, pool: Pool, num_simulations: int, records: bool):
        del records  # the states of a game are few
        player = self.player(pool, num_simulations)

        def program(first: Choice, second: Choice, keys: jax.Array) -> Played:
            games = play(player, first, second, keys)
            heuristic = jnp.stack([_values(pool, side, games.states) for side in (first, second)], axis=2)
            shape = games.estimates.shape
            turns = jnp.arange(shape[1])[None, :, None]
            return Played(
                reward=games.difference,
                outcome=games.final.score.astype(jnp.float32),
                states=games.states,
                heuristic=heuristic,
                search=_estimates(heuristic, games.estimates),
                by_second=jnp.broadcast_to(jnp.arange(2) == 1, shape),
                counts=jnp.broadcast_to(turns > 0, shape),
            )

        return program

    def compare(self, pool: Pool, num_simulations: int):
        player = self.player(pool, num_simulations)
        game = player.game

        def program(choices: Choice, keys: jax.Array, state_keys: jax.Array) -> Played:
            # any number of turns but the last, in which nothing is left to choose
            turn_keys, state_keys = split_rows(state_keys, 2)
            turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, game.max_turns - 1))(turn_keys)
            states = jax.vmap(lambda key, turns: random_state(game, key, turns))(state_keys, turns)
            _, estimates = player(choices, keys, states)
            heuristic = jax.vmap(lambda choice, state: pool.values(choice, gops_view(game, state)))(choices, states)
            return looked_at(states, heuristic, _estimates(heuristic, estimates))

        return program


def _values(pool: Pool, choices: Choice, states: Any) -> jax.Array:
    """float32[R, T, P]: what each game's heuristic says of its states [R, T, ...]."""
    game: Any = pool.library.game

    def one(choice, states):
        return jax.vmap(lambda state: pool.values(choice, gops_view(game, state)))(states)

    return jax.vmap(one)(choices, states)


def _estimates(heuristic: jax.Array, difference: jax.Array) -> jax.Array:
    """float32[..., P]: final scores that differ as the search says, and add up to what the heuristic's do."""
    total = jnp.sum(heuristic, axis=-1)
    return jnp.stack([(total + difference) / 2, (total - difference) / 2], axis=-1)
