"""GOPS between heuristics: both players search with their own, many games at once, on common random numbers.

Shapes: `B` games, `P` = 2 players, `N` cards, `A` = N actions, T = N - 1 searched turns (the last bid is forced).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.gops.game import Gops, GopsState
from jaxrl_suite.errors import UserError
from jaxrl_suite.search import matrix_game
from jaxrl_suite.search.evaluators import Evaluation
from jaxrl_suite.search.paper_search import PaperSearch
from jaxrl_suite.search.records import ROOT, Tree
from jaxrl_suite.search.rules import shrunk_values
from jaxrl_suite.search.simultaneous import SimultaneousSearch
from jaxrl_suite.search.tree_search import split_rows
from jaxrl_suite.strategist.heuristics.pool import ROLLOUT, Choice, Pool
from jaxrl_suite.strategist.heuristics.views import gops_view

Style = Literal["regret_matching", "paper"]


@dataclasses.dataclass(frozen=True)
class GopsPoolEvaluator:
    """A leaf is worth the difference of the scores that the row's heuristic expects; `params` is a `Choice`."""

    pool: Pool

    def __call__(self, params: Choice, key: jax.Array, state: GopsState) -> Evaluation:
        game: Any = self.pool.library.game
        values = self.pool.values(params, gops_view(game, state))
        difference = values[0] - values[1]
        if self.pool.rollout:
            difference = jnp.where(params.member == ROLLOUT, game.random_return(key, state), difference)
        return Evaluation(jnp.where(state.terminated, 0.0, difference), None)


@dataclasses.dataclass(frozen=True)
class GopsPlayer:
    """A player of GOPS by a heuristic.

    Args:
      pool: the heuristics.
      num_simulations: of the search for each move.
      style: `regret_matching`, answered by an equilibrium of the root's matrix game, or `paper`, as published.
      shrinkage: of the root's matrix game, see `SearchPolicy`.

    Raises:
      UserError: if the style is unknown, or the game is not played for points.
    """

    pool: Pool
    num_simulations: int = 16
    style: Style = "regret_matching"
    shrinkage: float = 4.0

    def __post_init__(self):
        if self.style not in get_args(Style):
            raise UserError(f"style must be one of {', '.join(get_args(Style))}, got {self.style!r}")
        if not isinstance(self.game, Gops) or self.game.objective != "points":
            raise UserError('heuristics say points: give the game objective="points"')
        if not self.shrinkage > 0:
            raise UserError(f"shrinkage must be above 0, got {self.shrinkage}")

    @property
    def game(self) -> Any:
        return self.pool.library.game

    @property
    def search(self) -> SimultaneousSearch:
        kind = PaperSearch if self.style == "paper" else SimultaneousSearch
        evaluator = GopsPoolEvaluator(self.pool)
        return kind(self.game, evaluator, num_simulations=self.num_simulations, params_per_row=True)

    def __call__(self, choices: Choice, keys: jax.Array, states: GopsState) -> tuple[jax.Array, jax.Array]:
        """Searches every state of a batch.

        Args:
          choices: [B], whose heuristic.
          keys: key[B], consumed.
          states: [B, ...], with their prizes revealed.

        Returns:
          Both players' strategies float32[B, P, A], and the search's estimate of the final difference float32[B].
        """
        search = self.search
        tree = search(choices, keys, states)
        if isinstance(search, PaperSearch):
            return search.strategies(tree), tree.node_values[:, ROOT]
        return self._solve(search, tree)

    def _solve(self, search: SimultaneousSearch, tree: Tree) -> tuple[jax.Array, jax.Array]:
        root = jax.vmap(lambda tree: search.node(tree, ROOT))(tree)
        payoff = jax.vmap(shrunk_values, (0, None))(root, self.shrinkage)
        solution = matrix_game.solve(payoff, root.legal[:, 0], root.legal[:, 1])
        return jnp.stack([solution.row, solution.col], axis=1), solution.value


class GopsGames(NamedTuple):
    """Games that were played."""

    difference: jax.Array  # float32[B], final points of seat 0 less those of seat 1
    states: GopsState  # [B, T, ...], before each searched move
    estimates: jax.Array  # float32[B, T, P], the final difference as the search of each seat's player has it
    final: GopsState  # [B, ...]


def play(player: GopsPlayer, first: Choice, second: Choice, keys: jax.Array) -> GopsGames:
    """One game a key, `first` in seat 0 against `second` in seat 1.

    Decks and the noise of the searches depend on the key and the seat alone, so that a pair that swaps seats meets the
    same ones, and a heuristic against itself scores exactly 0 over both.

    Args:
      player: how they play.
      first: [B], of its pool.
      second: [B].
      keys: key[B], consumed.
    """
    game = player.game
    init_keys, chance_keys, turn_keys = split_rows(keys, 3)
    both = jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a), jnp.asarray(b)]), first, second)

    def turn(states, index):
        now = jax.vmap(jax.random.fold_in, (0, None))(turn_keys, index)
        search0, search1, draw0, draw1 = split_rows(now, 4)
        twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), states)
        strategies, values = player(both, jnp.concatenate([search0, search1]), twice)
        batch = keys.shape[0]
        bids = jnp.stack(
            [
                jax.vmap(matrix_game.sample)(draw0, strategies[:batch, 0]),
                jax.vmap(matrix_game.sample)(draw1, strategies[batch:, 1]),
            ],
            axis=1,
        )
        after = jax.vmap(game.step)(states, bids, jax.vmap(jax.random.fold_in, (0, None))(chance_keys, index))
        return after, (states, values.reshape(2, batch).T)

    states = jax.vmap(game.init)(init_keys)
    states, (seen, estimates) = jax.lax.scan(turn, states, jnp.arange(game.max_turns - 1))
    forced = jnp.argmax(jax.vmap(game.legal)(states), axis=2).astype(jnp.int32)
    final = jax.vmap(game.apply)(states, forced)
    by_game = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (seen, estimates))
    return GopsGames(final.reward[:, 0], by_game[0], by_game[1], final)
