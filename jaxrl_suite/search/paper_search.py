"""The search of Strategist as published: a node is expanded with all its children, and a value is a mean of means.

What is published: the heuristic evaluates every joint action's successor when a node is expanded; each player picks the
action with the best mean value against a uniformly random opponent plus an exploration bonus, values unscaled; a
parent's value is the mean of its own heuristic value and of its children's means at each visit; the move played is the
one that maximises the same score, bonus included.

What is not reproduced: states that are reached on two paths share no node here, and nothing of a tree is kept for the
next move or game. The released evaluator kept its graph over a whole batch of games, so that its budget grew. A leaf of
the opponent without a heuristic is worth one game of random play, not the mean of four; a first best move is drawn
among equals inside the tree.

Shapes: `P` = 2 players, `A` actions.

Reference: Light et al., "Strategist" (arXiv 2408.10635), and its released code of May 2024.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.search import tree_search
from jaxrl_suite.search.records import ROOT, Tree
from jaxrl_suite.search.rules import Node, SelectionRule, UniformOpponentPUCT
from jaxrl_suite.search.simultaneous import SimultaneousSearch


class PaperEmbedding(NamedTuple):
    """`simultaneous.Embedding`, and what the heuristic says of every joint action."""

    packed: jax.Array
    chance: jax.Array
    logits: jax.Array
    first: jax.Array  # float32[A * A], player 0's return if the joint action leads to what the heuristic says


@dataclasses.dataclass(frozen=True)
class PaperSearch(SimultaneousSearch):
    """A search whose expansion evaluates all children; the arguments are those of `SimultaneousSearch`."""

    rule: SelectionRule = dataclasses.field(default_factory=lambda: UniformOpponentPUCT(expanded=True))

    def node(self, tree: Tree, index: jax.Array | int) -> Node:
        """The statistics of one decision node, where a joint action not yet visited has its heuristic value."""
        node = super().node(tree, index)
        first = tree.embeddings.first[index].reshape(node.values.shape)
        return node._replace(values=jnp.where(node.visits > 0, node.values, first))

    def grow(self, params, keys, tree):
        return tree_search.grow(
            tree,
            params,
            keys,
            recurrent_fn=self._recurrent,
            select=self._select,
            num_simulations=self.num_simulations,
            stop_at_terminal=True,
            average_children=True,
        )

    def strategies(self, tree: Tree) -> jax.Array:
        """float32[B, P, A]: each player's move at the root, the one with the best score, as a one-hot row."""

        def answer(tree):
            node = self.node(tree, ROOT)
            scores = jnp.where(node.legal, UniformOpponentPUCT(expanded=True).scores(node), -jnp.inf)
            return jax.nn.one_hot(jnp.argmax(scores, axis=1), scores.shape[1])

        return jax.vmap(answer)(tree)

    def _evaluate(self, params, key, state, gained):
        embedding, value = super()._evaluate(params, key, state, gained)
        actions = self.game.num_actions
        joint = jnp.stack(jnp.divmod(jnp.arange(actions**2), actions), axis=1)

        def child(pair):
            after = self.game.apply(state, pair)
            return after.reward[0] + self.evaluator(params, key, after).value + gained

        first = jax.vmap(child)(joint)
        return PaperEmbedding(embedding.packed, embedding.chance, embedding.logits, first), value
