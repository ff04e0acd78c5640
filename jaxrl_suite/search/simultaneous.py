"""Tree search for two players who move at once, with chance as explicit nodes.

A decision node's action is the joint action `a0 * A + a1`; a chance node's action is the outcome. Values are player 0's whole
return from the root of the tree on, so that no edge carries a reward but the last.

Shapes: `B` batch, `P` = 2 players, `A` actions, `C` chance outcomes, `J` = max(A * A, C) actions of a node.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx

from jaxrl_suite.envs.base import Game, State
from jaxrl_suite.search import tree_search
from jaxrl_suite.search.evaluators import Evaluator
from jaxrl_suite.search.rules import Node, RegretMatching, SelectionRule, draw


class Embedding(NamedTuple):
    state: State
    gained: jax.Array  # float32[], player 0's reward on the way from the root
    chance: jax.Array  # bool[], whether chance moves here
    logits: (
        jax.Array
    )  # float32[max(P * A, C)], the players' log-priors, or chance's log-probabilities; -inf if impossible


@dataclasses.dataclass(frozen=True)
class SimultaneousSearch:
    """A search over `game`.

    Args:
      game: two players, zero-sum.
      evaluator: what a leaf is worth.
      rule: how a simulation picks actions at inner nodes.
      root_rule: the same at the root; `rule` by default.
      num_simulations: leaves evaluated a move.
    """

    game: Game
    evaluator: Evaluator
    rule: SelectionRule = RegretMatching()
    root_rule: SelectionRule | None = None
    num_simulations: int = 100

    def __post_init__(self):
        if self.num_simulations < 1:
            raise ValueError(f"num_simulations must be at least 1, got {self.num_simulations}")

    @property
    def width(self) -> int:
        return max(self.game.num_actions**2, self.game.num_chance_outcomes)

    def __call__(self, params: Any, keys: jax.Array, states: State) -> mctx.Tree:
        """Searches from every state of a batch; `keys` key[B] are consumed."""
        root_keys, keys = _split(keys)
        nothing = jnp.zeros_like(states.reward[:, 0])
        embedding, value = jax.vmap(self._evaluate, (None, 0, 0, 0))(params, root_keys, states, nothing)
        return tree_search.search(
            params,
            keys,
            root=mctx.RootFnOutput(prior_logits=self._no_prior(value), value=value, embedding=embedding),
            recurrent_fn=self._recurrent,
            root_action_selection_fn=self._select_root,
            interior_action_selection_fn=self._select,
            num_simulations=self.num_simulations,
            stop_at_terminal=True,
        )

    def node(self, tree: mctx.Tree, index: jax.Array) -> Node:
        """The statistics of one decision node of an unbatched tree."""
        actions = self.game.num_actions
        visits, values = (
            x[index, : actions**2].reshape(actions, actions) for x in (tree.children_visits, tree.children_values)
        )
        logits = tree.embeddings.logits[index, : 2 * actions].reshape(2, actions)
        return Node(visits.astype(jnp.float32), values, tree.node_values[index], logits > -jnp.inf, jnp.exp(logits))

    def _select_root(self, key, tree, index):
        return self._pick(self.root_rule or self.rule, key, tree, index)

    def _select(self, key, tree, index, depth):
        del depth
        return self._pick(self.rule, key, tree, index)

    def _pick(self, rule, key, tree, index):
        action = rule(key, self.node(tree, index))
        joint = action[0] * self.game.num_actions + action[1]
        outcomes = jnp.exp(tree.embeddings.logits[index, : self.game.num_chance_outcomes])
        outcome = draw(key, outcomes[None])[0]
        return jnp.where(tree.embeddings.chance[index], outcome, joint)

    def _recurrent(self, params, keys, action, embedding):
        def one(key, action, embedding):
            state = self._advance(embedding, action)
            embedding, value = self._evaluate(params, key, state, embedding.gained + state.reward[0])
            return embedding, value, state.terminated | state.truncated

        embedding, value, over = jax.vmap(one)(keys, action, embedding)
        step = mctx.RecurrentFnOutput(
            reward=jnp.where(over, value, 0.0),
            discount=jnp.where(over, 0.0, 1.0),
            prior_logits=self._no_prior(value),
            value=value,
        )
        return step, embedding

    def _advance(self, embedding, action):
        game = self.game
        joint = jnp.stack(jnp.divmod(action, game.num_actions))
        moved = game.apply(embedding.state, joint)
        drawn = game.step_chance(embedding.state, action)
        return jax.tree.map(lambda a, b: jnp.where(embedding.chance, a, b), drawn, moved)

    def _evaluate(self, params, key, state, gained):
        game = self.game
        value, logits = self.evaluator(params, key, state)
        legal, chance = game.legal(state), game.chance_pending(state)
        logits = jnp.where(legal, jnp.zeros(legal.shape) if logits is None else logits, -jnp.inf)
        logits = jnp.where(legal, logits - jax.nn.logsumexp(logits, axis=1, keepdims=True), -jnp.inf)
        size = max(logits.size, game.num_chance_outcomes)
        players, outcomes = (
            jnp.pad(x, (0, size - x.size), constant_values=-jnp.inf)
            for x in (logits.ravel(), game.chance_logits(state))
        )
        embedding = Embedding(state, gained, chance, jnp.where(chance, outcomes, players))
        return embedding, value + gained

    def _no_prior(self, value):
        """mctx keeps a prior for each joint action; ours are each player's own, in the embedding."""
        return jnp.zeros((*value.shape, self.width))


def _split(keys):
    split = jax.vmap(jax.random.split)(keys)
    return split[:, 0], split[:, 1]
