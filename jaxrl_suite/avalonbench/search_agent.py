"""A player that searches: one tree for every assignment of roles that it still considers possible.

The trees look ahead from the player's decision over its own actions; everybody else, and the player itself later on, is
taken to act as a given policy, and a leaf is worth what the evaluator says. An edge is sampled anew at each visit, so
that no tree is fitted to one future. What the trees find is averaged with the exact posterior; the player then takes
the action with the highest mean. Only what the player may know enters: the true roles do not.

Shapes: `B` games, `P` players, `A` actions, `K` assignments, `S` simulations a tree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.beliefs import from_state, posterior
from jaxrl_suite.avalonbench.bot_games import rollout
from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.avalonbench.observation_models import ObservationModel
from jaxrl_suite.avalonbench.player import Planner
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.errors import UserError
from jaxrl_suite.search import tree_search
from jaxrl_suite.search.records import ROOT, RecurrentFnOutput, RootFnOutput
from jaxrl_suite.search.simultaneous import Packing, packing_of

Evaluator = Callable[[jax.Array, AvalonState, Memory], jax.Array]  # (key, state, memory) -> float32[], value for good


class SeatNode(NamedTuple):
    """A node of a tree: a state with assumed roles, and what the policies remember."""

    state: AvalonState
    memory: Memory
    viewer: jax.Array  # int32[], the seat that decides


@dataclasses.dataclass(frozen=True)
class BotRollout:
    """Worth of a state: the result when bots play on, 1 if good wins and -1 if evil does."""

    bots: Bots

    def __call__(self, key: jax.Array, state: AvalonState, memory: Memory) -> jax.Array:
        result = rollout(self.bots, key, state, memory)
        seat_is_good = ((state.evil >> jnp.arange(self.bots.game.num_players)) & 1) == 0
        return jnp.sum(jnp.where(seat_is_good, result, -result)) / self.bots.game.num_players


@dataclasses.dataclass(frozen=True)
class SearchAgent(Planner):
    """A player that searches; also called as `agent(keys, states, viewers)` for single decisions in a batch of games.

    Args:
      bots: how everybody else is taken to act.
      model: how the public events are read, for the posterior.
      evaluator: value of a state for the good team; by default, what happens when `bots` play on.
      num_simulations: S, for each tree.
      num_assignments: trees for each decision: so many assignments are drawn from the posterior. None means a
        tree for every assignment that may have to be considered.
      exploration: constant of UCB1, for values from -1 to 1.

    Raises:
      UserError: if a number is out of range.
    """

    bots: Bots
    model: ObservationModel
    evaluator: Evaluator | None = None
    num_simulations: int = 24
    num_assignments: int | None = None
    exploration: float = 1.0

    def __post_init__(self):
        if self.num_simulations < 1:
            raise UserError(f"num_simulations must be at least 1, got {self.num_simulations}")
        if self.num_assignments is not None and self.num_assignments < 1:
            raise UserError(f"num_assignments must be at least 1 or None, got {self.num_assignments}")
        if self.exploration < 0:
            raise UserError(f"exploration must be at least 0, got {self.exploration}")

    @property
    def game(self) -> Avalon:
        return self.bots.game

    @property
    def width(self) -> int:
        """Trees for each decision."""
        return self.num_assignments or most_possible(self.game)

    @property
    def packing(self) -> Packing[SeatNode]:
        return packing_of(jax.eval_shape(lambda: SeatNode(self.game.start(), self.bots.init(), jnp.int32(0))))

    def __call__(self, keys: jax.Array, states: AvalonState, viewers: jax.Array) -> jax.Array:
        """int32[B]: the action of seat `viewers` int32[B] in each game; `keys` key[B] are consumed."""
        values = self.values(keys, states, viewers)
        return jnp.argmax(values, axis=1).astype(jnp.int32)

    def decide(self, params: tuple[()], keys: jax.Array, states: AvalonState, seats: jax.Array) -> jax.Array:
        del params
        return self(keys, states, seats)

    def values(self, keys: jax.Array, states: AvalonState, viewers: jax.Array) -> jax.Array:
        """float32[B, A]: what each action is worth to the player, from -1 to 1; -inf where illegal."""
        batch, width = viewers.shape[0], self.width
        world_keys, root_keys, search_keys = tree_search.split_rows(keys, 3)
        worlds, weights = jax.vmap(self._worlds)(world_keys, states, viewers)
        memory = jax.vmap(self.bots.memory_of)(states)
        packed, legal, good = jax.vmap(jax.vmap(self._imagine, (None, None, None, 0)), (0, 0, 0, 0))(
            states, memory, viewers, worlds
        )

        def flat(leaf):
            return leaf.reshape(batch * width, *leaf.shape[2:])

        tree_keys = jax.vmap(lambda key: jax.random.split(key, width))(search_keys).reshape(-1)
        value = jnp.zeros(batch * width)
        root = RootFnOutput(prior_logits=jnp.where(flat(legal), 0.0, -jnp.inf), value=value, embedding=flat(packed))
        del root_keys
        tree = tree_search.grow(
            tree_search.plant(root, self.num_simulations + 1, (~flat(legal)).astype(jnp.float32), None),
            (),
            tree_keys,
            recurrent_fn=self._recurrent,
            select=self._select,
            num_simulations=self.num_simulations,
            max_depth=1,
            average_leaves=True,
        )
        visits = tree.children_visits[:, ROOT].reshape(batch, width, -1).astype(jnp.float32)
        found = jnp.where(good[..., None], 1.0, -1.0) * tree.children_values[:, ROOT].reshape(batch, width, -1)
        # a tree that has not tried an action says nothing about it
        weight = weights[..., None] * (visits > 0)
        total = jnp.sum(weight, axis=1)
        mean = jnp.sum(jnp.where(weight > 0, weight * found, 0.0), axis=1) / jnp.maximum(total, 1e-30)
        return jnp.where((total > 0) & legal[:, 0], mean, -jnp.inf)

    def _worlds(self, key: jax.Array, state: AvalonState, viewer: jax.Array) -> tuple[jax.Array, jax.Array]:
        """int32[K] assignments and their weights float32[K]: the possible ones by enumeration, or a sample."""
        chances = posterior(from_state(self.game, state, viewer, self.model))
        if self.num_assignments is None:
            weights, worlds = jax.lax.top_k(chances, self.width)
            return worlds, weights
        draws = jax.random.categorical(key, jnp.log(chances), shape=(self.width,))
        return draws, jnp.full((self.width,), 1 / self.width)

    def _imagine(self, state, memory, viewer, world):
        """The state with the roles of assignment `world`, packed; the viewer's legal actions and side there."""
        roles = jnp.asarray(tables(self.game).roles)[world]
        imagined = self.game.with_roles(state, roles)
        legal = self.game.legal(imagined)[viewer]
        good = ((imagined.evil >> viewer) & 1) == 0
        return self.packing.pack(SeatNode(imagined, memory, viewer)), legal, good

    def _recurrent(self, params, keys, action, embedding):
        del params

        def one(key, action, packed):
            act_key, leaf_key = jax.random.split(key)
            state, memory, viewer = self.packing.unpack(packed)
            actions = self.bots.act(act_key, state, memory)
            actions = jnp.where(jnp.arange(self.game.num_players) == viewer, action, actions)
            after = self.game.apply(state, actions)
            memory = self.bots.observe(memory, state, after)
            good_seat = jnp.argmin(after.evil >> jnp.arange(self.game.num_players) & 1)
            evaluator = self.evaluator or BotRollout(self.bots)
            value = jnp.where(after.terminated, after.reward[good_seat], evaluator(leaf_key, after, memory))
            return self.packing.pack(SeatNode(after, memory, viewer)), value

        embedding, value = jax.vmap(one)(keys, action, embedding)
        step = RecurrentFnOutput(
            reward=jnp.zeros_like(value),
            discount=jnp.ones_like(value),
            prior_logits=jnp.zeros((value.shape[0], self.game.num_actions)),
            value=value,
        )
        return step, embedding

    def _select(self, keys, tree, nodes, depth, walking):
        """UCB1 at the roots, each action once before any a second time; ties are broken at random."""
        del depth, walking, nodes
        visits, legal = tree.children_visits[:, ROOT], tree.root_invalid_actions == 0
        noise = jax.vmap(lambda key: jax.random.uniform(key, visits.shape[1:]))(keys)
        sign = self._signs(tree)[:, None]
        bonus = self.exploration * jnp.sqrt(
            jnp.log(jnp.sum(visits, axis=1, keepdims=True) + 1.0) / jnp.maximum(visits, 1)
        )
        score = jnp.where(visits == 0, 10.0, sign * tree.children_values[:, ROOT] + bonus)
        return jnp.argmax(jnp.where(legal, score + 1e-3 * noise, -jnp.inf), axis=1).astype(jnp.int32)

    def _signs(self, tree):
        """float32[rows]: 1 where the player that decides is good, -1 where it is evil."""
        seen = jax.vmap(self.packing.unpack)(tree.embeddings[:, ROOT])
        return jnp.where((seen.state.evil >> seen.viewer) & 1, -1.0, 1.0)


def most_possible(game: Avalon) -> int:
    """The largest number of assignments that any player may have to consider at the start."""
    table = tables(game)
    keys = np.concatenate([table.roles[..., None], table.seen[..., None]], axis=-1)  # what a player is told: [K, P, 2]
    return max(int(np.unique(keys[:, seat], axis=0, return_counts=True)[1].max()) for seat in range(game.num_players))
