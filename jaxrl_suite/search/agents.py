"""From a searched tree to a mixed strategy for each player, and from there to a policy for `arena`.

Shapes: `B` batch, `P` = 2 players, `A` actions.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import State
from jaxrl_suite.errors import UserError
from jaxrl_suite.search import matrix_game
from jaxrl_suite.search.records import ROOT, Tree
from jaxrl_suite.search.rules import Node, shrunk_values
from jaxrl_suite.search.simultaneous import SimultaneousSearch

Answer = Literal["solve", "average", "best"]


@dataclasses.dataclass(frozen=True)
class SearchPolicy:
    """A search and how its root is answered, called as `policy(keys, states)`.

    Args:
      search: the search, run from scratch for every state.
      answer: `solve` plays an equilibrium of the root's matrix game, with values that are shrunk towards the sum of a
        row's and a column's effect; `average` plays in proportion to the root's visits; `best` plays
        the action with the highest mean value against a uniformly random opponent, as published for Strategist.
      shrinkage: for `solve`: how many visits the prior estimate of a joint action's value counts for.
      params: of the evaluator.
    """

    search: SimultaneousSearch
    answer: Answer = "solve"
    shrinkage: float = 32.0
    params: chex.ArrayTree = ()

    def __post_init__(self):
        if self.answer not in get_args(Answer):
            raise UserError(f"answer must be one of {', '.join(get_args(Answer))}, got {self.answer!r}")
        if not self.shrinkage > 0:
            raise UserError(f"shrinkage must be above 0, got {self.shrinkage}")

    def __call__(self, keys: jax.Array, states: State) -> jax.Array:
        """float32[B, P, A]; `keys` key[B] are consumed."""
        return self.strategies(self.search(self.params, keys, states))

    def strategies(self, tree: Tree) -> jax.Array:
        """float32[B, P, A]: both players' strategies at the root."""
        root = jax.vmap(lambda tree: self.search.node(tree, ROOT))(tree)
        if self.answer == "average":
            return jax.vmap(average)(root)
        if self.answer == "best":
            return jax.vmap(best_against_uniform)(root)
        payoff = jax.vmap(shrunk_values, (0, None))(root, self.shrinkage)
        solution = matrix_game.solve(payoff, root.legal[:, 0], root.legal[:, 1])
        return jnp.stack([solution.row, solution.col], axis=1)


def average(node: Node) -> jax.Array:
    """float32[P, A]: each player's share of visits."""
    played = jnp.stack([jnp.sum(node.visits, axis=1), jnp.sum(node.visits, axis=0)])
    return played / jnp.maximum(jnp.sum(node.visits), 1.0)


def best_against_uniform(node: Node) -> jax.Array:
    """float32[P, A]: all on the action with the highest mean value against a uniformly random opponent."""
    payoff = jnp.where(node.visits > 0, node.values, node.value)
    against = node.legal / jnp.maximum(jnp.sum(node.legal, axis=1, keepdims=True), 1)
    mine = jnp.sum(payoff * against[1][None, :], axis=1)
    theirs = -jnp.sum(payoff * against[0][:, None], axis=0)
    quality = jnp.where(node.legal, jnp.stack([mine, theirs]), -jnp.inf)
    return jax.nn.one_hot(jnp.argmax(quality, axis=1), quality.shape[1])
