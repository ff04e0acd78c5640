"""Tree search for two players who move at once, with chance as explicit nodes.

A decision node's action is the joint action `a0 * A + a1`; a chance node's action is the outcome. Values are player
0's whole return from the root of the tree on, so that no edge carries a reward but the last.

Shapes: `B` batch, `P` = 2 players, `A` actions, `C` chance outcomes, `J` = max(A * A, C) actions of a node.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Generic, NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp

from jaxrl_suite.envs.base import Game, State
from jaxrl_suite.errors import UserError
from jaxrl_suite.search import tree_search
from jaxrl_suite.search.evaluators import Evaluator
from jaxrl_suite.search.records import ROOT, UNVISITED, RecurrentFnOutput, RootFnOutput, Tree
from jaxrl_suite.search.reroot import reroot
from jaxrl_suite.search.rules import Node, RegretMatching, SelectionRule, draw


class Embedding(NamedTuple):
    packed: jax.Array  # int32[W], the state and player 0's reward on the way to it, see `SimultaneousSearch.unpack`
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
      num_simulations: leaves evaluated per move.
      params_per_row: whether the evaluator's params have a leading axis B, an entry for each state of the batch, so
        that different evaluators play in one program.
    """

    game: Game
    evaluator: Evaluator
    rule: SelectionRule = RegretMatching()
    root_rule: SelectionRule | None = None
    num_simulations: int = 100
    params_per_row: bool = False

    def __post_init__(self):
        if self.num_simulations < 1:
            raise UserError(f"num_simulations must be at least 1, got {self.num_simulations}")
        if self.game.num_players != 2:
            raise UserError(f"the game must have two players who move at once, got {self.game.num_players} players")

    @property
    def width(self) -> int:
        return max(self.game.num_actions**2, self.game.num_chance_outcomes)

    @property
    def _params_axis(self) -> int | None:
        return 0 if self.params_per_row else None

    @functools.cached_property
    def packing(self) -> Packing[tuple[State, jax.Array]]:
        """The packing of a node's embedding: (state, player 0's reward on the way to it)."""
        return packing_of(jax.eval_shape(lambda: (self.game.start(), jnp.float32(0))))

    def __call__(self, params: chex.ArrayTree, keys: jax.Array, states: State) -> Tree:
        """Searches from every state of a batch; `keys` key[B] are consumed."""
        chex.assert_shape(keys, (states.reward.shape[0],))
        root_keys, keys = tree_search.split_rows(keys, 2)
        return self.grow(params, keys, self.plant(params, root_keys, states, self.num_simulations + 1))

    def plant(self, params: chex.ArrayTree, keys: jax.Array, states: State, num_nodes: int) -> Tree:
        """Trees that hold the root alone, with room for `num_nodes` nodes; `keys` key[B] are consumed."""
        nothing = jnp.zeros_like(states.reward[:, 0])
        embedding, value = jax.vmap(self._evaluate, (self._params_axis, 0, 0, 0))(params, keys, states, nothing)
        root = RootFnOutput(prior_logits=self._no_prior(value), value=value, embedding=embedding)
        return tree_search.plant(root, num_nodes, jnp.zeros_like(root.prior_logits), None)

    def advance(
        self,
        params: chex.ArrayTree,
        keys: jax.Array,
        tree: Tree,
        actions: jax.Array,
        outcomes: jax.Array,
        states: State,
    ) -> Tree:
        """The trees after a move: the subtree where the move was explored, a new root elsewhere.

        Args:
          params: of the evaluator.
          keys: key[B], consumed.
          tree: the trees before the move.
          actions: int32[B, P], the move.
          outcomes: int32[B], the outcome of chance after it; ignored where there was none.
          states: the states that follow, batched.

        Returns:
          Trees with room for `num_simulations` more; at most as many old nodes, and one, are kept. Their values go on
          counting rewards from the first root.
        """
        rows = jnp.arange(keys.shape[0])
        moved = tree.children_index[rows, ROOT, actions[:, 0] * self.game.num_actions + actions[:, 1]]
        drawn = tree.children_index[rows, moved, outcomes]
        node = jnp.where(tree.embeddings.chance[rows, moved], drawn, moved)
        reached = (moved != UNVISITED) & (node != UNVISITED)
        size = 2 * self.num_simulations + 1
        old = reroot(tree, jnp.where(reached, node, ROOT), size, self.num_simulations + 1)
        new = self.plant(params, keys, states, size)
        return jax.tree.map(lambda a, b: jnp.where(reached.reshape(-1, *[1] * (a.ndim - 1)), a, b), old, new)

    def grow(self, params: chex.ArrayTree, keys: jax.Array, tree: Tree) -> Tree:
        """Runs `num_simulations` further simulations in a tree that has room for them; `keys` key[B] are consumed."""
        return tree_search.grow(
            tree,
            params,
            keys,
            recurrent_fn=self._recurrent,
            select=self._select,
            num_simulations=self.num_simulations,
            stop_at_terminal=True,
        )

    def node(self, tree: Tree, index: jax.Array | int) -> Node:
        """The statistics of one decision node of an unbatched tree."""
        actions = self.game.num_actions
        visits, values = (
            x[index, : actions**2].reshape(actions, actions) for x in (tree.children_visits, tree.children_values)
        )
        logits = tree.embeddings.logits[index, : 2 * actions].reshape(2, actions)
        return Node(visits.astype(jnp.float32), values, tree.node_values[index], logits > -jnp.inf, jnp.exp(logits))

    def _select(self, keys, tree, nodes, depth, walking):
        """A batch mostly meets chance at the same depth, so each kind of node is skipped where no row needs it."""
        chance = tree.embeddings.chance[jnp.arange(nodes.shape[0]), nodes]
        idle = jnp.zeros_like(nodes)

        def act(rule, keys, tree, nodes):
            action = jax.vmap(lambda key, tree, node: rule(key, self.node(tree, node)))(keys, tree, nodes)
            return action[:, 0] * self.game.num_actions + action[:, 1]

        def chance_outcome(key, tree, node):
            return draw(key, jnp.exp(tree.embeddings.logits[node, : self.game.num_chance_outcomes])[None])[0]

        rules = [functools.partial(act, rule) for rule in (self.rule, self.root_rule) if rule is not None]
        kind = jnp.minimum((depth == 0).astype(jnp.int32), len(rules) - 1)
        joint = jax.lax.cond(
            jnp.any(walking & ~chance), lambda *x: jax.lax.switch(kind, rules, *x), lambda *_: idle, keys, tree, nodes
        )
        outcome = jax.lax.cond(jnp.any(walking & chance), jax.vmap(chance_outcome), lambda *_: idle, keys, tree, nodes)
        return jnp.where(chance, outcome, joint)

    def _recurrent(self, params, keys, action, embedding):
        def one(params, key, action, embedding):
            before, gained = self.packing.unpack(embedding.packed)
            state = self._advance(before, embedding.chance, action)
            # What chance leaves of the reward of the actions before it has been counted there.
            reward = state.reward[0] - jnp.where(embedding.chance, before.reward[0], 0.0)
            embedding, value = self._evaluate(params, key, state, gained + reward)
            return embedding, value, state.terminated | state.truncated

        embedding, value, over = jax.vmap(one, (self._params_axis, 0, 0, 0))(params, keys, action, embedding)
        step = RecurrentFnOutput(
            reward=jnp.where(over, value, 0.0),
            discount=jnp.where(over, 0.0, 1.0),
            prior_logits=self._no_prior(value),
            value=value,
        )
        return step, embedding

    def _advance(self, state, chance, action):
        game = self.game
        moved = game.apply(state, jnp.stack(jnp.divmod(action, game.num_actions)))
        drawn = game.step_chance(state, action)
        return jax.tree.map(lambda a, b: jnp.where(chance, a, b), drawn, moved)

    def _evaluate(self, params, key, state, gained):
        game = self.game
        value, logits = self.evaluator(params, key, state)
        legal, chance = game.legal(state), game.chance_pending(state)
        idle = ~jnp.any(legal, axis=1, keepdims=True)  # a player who does not act takes action 0
        legal = legal | (idle & (jnp.arange(game.num_actions) == 0)[None])
        logits = jnp.where(legal, jnp.zeros(legal.shape) if logits is None else logits, -jnp.inf)
        logits = jnp.where(legal, logits - jax.nn.logsumexp(logits, axis=1, keepdims=True), -jnp.inf)
        size = max(logits.size, game.num_chance_outcomes)
        players, outcomes = (
            jnp.pad(x, (0, size - x.size), constant_values=-jnp.inf)
            for x in (logits.ravel(), game.chance_logits(state))
        )
        packed = self.packing.pack((state, gained))
        embedding = Embedding(packed, chance, jnp.where(chance, outcomes, players))
        return embedding, value + gained

    def _no_prior(self, value):
        """mctx keeps a prior for each joint action; ours are each player's own, in the embedding."""
        return jnp.zeros((*value.shape, self.width))


T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Packing(Generic[T]):
    """The layout in which records of one structure are packed; made by `packing_of`."""

    structure: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def words(self) -> int:
        return sum(leaf.size for leaf in self.leaves)

    def pack(self, record: T) -> jax.Array:
        """int32[W], from one record."""
        return jnp.concatenate([_to_words(leaf).ravel() for leaf in jax.tree.leaves(record)])

    def unpack(self, words: jax.Array) -> T:
        """The record that `pack` made `words` int32[W] from, bit for bit."""
        leaves, start = [], 0
        for leaf in self.leaves:
            leaves.append(_from_words(words[start : start + leaf.size], leaf.dtype).reshape(leaf.shape))
            start += leaf.size
        return jax.tree.unflatten(self.structure, leaves)


def packing_of(example: T) -> Packing[T]:
    """The packing of records like `example`, of which only structure, shapes and dtypes count.

    Raises:
      UserError: if a leaf is neither bool nor a number of at most 32 bits.
    """
    leaves, structure = jax.tree.flatten(example)
    for leaf in leaves:
        if leaf.dtype != jnp.bool_ and (leaf.dtype.itemsize > 4 or not jnp.issubdtype(leaf.dtype, jnp.number)):
            raise UserError(f"a state with a leaf of dtype {leaf.dtype} cannot be packed; use bool, int32 or float32")
    return Packing(structure, tuple(leaves))


def _to_words(leaf: jax.Array) -> jax.Array:
    if leaf.dtype.itemsize == 4 and leaf.dtype != jnp.int32:
        return jax.lax.bitcast_convert_type(leaf, jnp.int32)
    if jnp.issubdtype(leaf.dtype, jnp.floating):  # half precision, exactly representable in single
        return jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.int32)
    return leaf.astype(jnp.int32)


def _from_words(words: jax.Array, dtype: Any) -> jax.Array:
    if jnp.issubdtype(dtype, jnp.floating):
        return jax.lax.bitcast_convert_type(words, jnp.float32).astype(dtype)
    if dtype == jnp.uint32:
        return jax.lax.bitcast_convert_type(words, jnp.uint32)
    return words.astype(dtype)
