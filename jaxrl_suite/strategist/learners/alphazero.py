"""AlphaZero for simultaneous moves, on GOPS: self-play with a search, whose results train the network it searches with.

The same search and the same facts as a written heuristic gets, a replay of past games, Adam: a fair baseline. An
episode is one game of self-play, so that strategies can be compared at equal episodes.

    learner = AlphaZero.fair(Gops(6, objective="points"))
    state = learner.init(key)
    state, loss = update(state, step_key)                      # update = jax.jit(learner.update); state.episodes
    policy = learner.policy(state.params)                      # for `arena.play`

Shapes: `B` games, `P` = 2 players, `A` actions, `T` turns.

Reference: Silver et al., "A general reinforcement learning algorithm that masters chess, shogi and Go through
self-play", Science 362 (2018); the baseline of Light et al., "Strategist" (arXiv 2408.10635), table 3.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.envs.gops.game import Gops, GopsState
from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.apply import init_params
from jaxrl_suite.search import arena, matrix_game
from jaxrl_suite.search.agents import SearchPolicy
from jaxrl_suite.search.evaluators import Network
from jaxrl_suite.search.paper_search import PaperSearch
from jaxrl_suite.search.rules import DecoupledPUCT, RegretMatching, SelectionRule
from jaxrl_suite.search.simultaneous import SimultaneousSearch
from jaxrl_suite.search.tree_search import split_rows
from jaxrl_suite.strategist.learners import replay_buffer as replay
from jaxrl_suite.strategist.learners.replay_buffer import ReplayBuffer
from jaxrl_suite.strategist.learners.value_networks import (
    CardsNetwork,
    GopsExample,
    PolicyValueNetwork,
    reward_scale,
    total_points,
)

SearchKind = Literal["regret_matching", "puct", "paper"]
Target = Literal["solve", "average"]


class AlphaZeroState(NamedTuple):
    params: Any
    opt_state: optax.OptState
    replay: ReplayBuffer
    episodes: jax.Array  # int32[], games of self-play so far


@dataclasses.dataclass(frozen=True)
class AlphaZero:
    """The learner; `fair` and `paper` are the two ways that are meant.

    Args:
      network: policy and value.
      search: rule of the inner nodes; `paper` is the published search, which takes no policy from a network.
      num_simulations: for each move.
      target: what the policy learns and plays: an equilibrium of the root's matrix game (`solve`), or the shares of
        visits (`average`). Without effect on the `paper` search.
      shrinkage: of the root's matrix game, see `SearchPolicy`.
      exploration: share of uniformly random bids in self-play, from 0 to 1.
      games: of self-play an update.
      gradient_steps: minibatches an update, drawn from the replay; 0 goes once through the last games alone.
      batch: examples of a minibatch.
      capacity: examples that the replay holds.
      optimiser: `adam` or `sgd`.
      learning_rate: constant.

    Raises:
      UserError: if a value is out of range, or the replay does not hold the games of one update.
    """

    network: Any
    search: SearchKind = "regret_matching"
    num_simulations: int = 32
    target: Target = "solve"
    shrinkage: float = 8.0
    exploration: float = 0.1
    games: int = 32
    gradient_steps: int = 100
    batch: int = 128
    capacity: int = 8192
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3

    def __post_init__(self):
        for name, allowed in (("search", get_args(SearchKind)), ("target", get_args(Target))):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.optimiser not in ("adam", "sgd"):
            raise UserError(f"optimiser must be adam or sgd, got {self.optimiser!r}")
        check_ranges(self, exploration=(0, 1), games=(1, 2**20), gradient_steps=(0, 10**6), batch=(1, 2**20))
        if self.capacity < self.examples_per_update:
            raise UserError(f"capacity must be at least {self.examples_per_update}, the examples of one update")
        if self.gradient_steps == 0 and self.batch > self.examples_per_update:
            raise UserError(f"batch must be at most {self.examples_per_update}, the examples of one update")

    @classmethod
    def fair(cls, game: Gops, **options: Any) -> AlphaZero:
        """Policy and value network, replay, Adam; `options` are those of the class."""
        return cls(PolicyValueNetwork(game), **options)

    @classmethod
    def paper(cls, game: Gops, **options: Any) -> AlphaZero:
        """The published baseline: a value network alone, SGD once over the last batch of games, the published search.

        How many games a batch had is not known; 32 is what a round of the published method plays.

        Raises:
          UserError: if the game is not played for points.
        """
        if game.objective != "points":
            raise UserError('the published baseline predicts points: give the game objective="points"')
        published: dict[str, Any] = dict(
            search="paper",
            num_simulations=16,
            exploration=0.0,
            gradient_steps=0,
            batch=32,
            capacity=32 * 2 * game.num_cards,
            optimiser="sgd",
            learning_rate=8e-4,
        )
        return cls(CardsNetwork(game), **(published | options))

    @property
    def game(self) -> Gops:
        return self.network.game

    @property
    def examples_per_update(self) -> int:
        """Of each turn the state in which both bid and, but for the last, the one before the next prize is drawn."""
        return self.games * (2 * self.game.max_turns - 1)

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate) if self.optimiser == "adam" else optax.sgd(self.learning_rate)

    def init(self, key: jax.Array) -> AlphaZeroState:
        """An untrained network and an empty replay; `key` is consumed."""
        example = jax.eval_shape(lambda: self._example(self.game.start(), jnp.zeros((2, self.game.num_actions))))
        params = init_params(self.network, key, example.observation.shape)
        return AlphaZeroState(params, self._optimiser.init(params), replay.empty(example, self.capacity), jnp.int32(0))

    def update(self, state: AlphaZeroState, key: jax.Array) -> tuple[AlphaZeroState, jax.Array]:
        """Plays games, keeps them, and learns; the mean loss float32[] of the steps. `key` is consumed."""
        play_key, learn_key = jax.random.split(key)
        examples = self.self_play(state.params, jax.random.split(play_key, self.games))
        buffer = replay.add(state.replay, examples)
        if self.gradient_steps:
            batches = jax.vmap(lambda key: replay.draw(buffer, key, self.batch))(
                jax.random.split(learn_key, self.gradient_steps)
            )
        else:
            count = self.examples_per_update // self.batch
            order = jax.random.permutation(learn_key, self.examples_per_update)[: count * self.batch]
            batches = jax.tree.map(lambda leaf: leaf[order].reshape(count, self.batch, *leaf.shape[1:]), examples)

        def step(carry, batch):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(self.network.loss)(params, batch)
            updates, opt_state = self._optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        (params, opt_state), losses = jax.lax.scan(step, (state.params, state.opt_state), batches)
        return AlphaZeroState(params, opt_state, buffer, state.episodes + self.games), jnp.mean(losses)

    def policy(self, params: chex.ArrayTree, num_simulations: int | None = None) -> arena.Policy:
        """The search with the network, as a policy `(keys, states) -> float32[B, P, A]`.

        Args:
          params: of the network.
          num_simulations: by default those of training.
        """
        budget = num_simulations or self.num_simulations
        evaluator = Network(self.game, self.network)
        if self.search == "paper":
            published = PaperSearch(self.game, evaluator, num_simulations=budget)
            return lambda keys, states: published.strategies(published(params, keys, states))
        rule: SelectionRule = RegretMatching()
        if self.search == "puct":
            rule = DecoupledPUCT(value_scale=2 * reward_scale(self.game))
        search = SimultaneousSearch(self.game, evaluator, rule, num_simulations=budget)
        return SearchPolicy(search, self.target, self.shrinkage, params)

    def self_play(self, params: chex.ArrayTree, keys: jax.Array) -> GopsExample:
        """The examples of one game a key, flat; `keys` key[B] are consumed."""
        game, policy = self.game, self.policy(params)
        init_keys, turn_keys = split_rows(keys, 2)

        def turn(states, index):
            now = jax.vmap(jax.random.fold_in, (0, None))(turn_keys, index)
            search_keys, bid_keys, chance_keys = split_rows(now, 3)
            strategies = policy(search_keys, states)
            legal = jax.vmap(game.legal)(states)
            uniform = legal / jnp.maximum(jnp.sum(legal, axis=2, keepdims=True), 1)
            mixed = (1 - self.exploration) * strategies + self.exploration * uniform
            bids = jax.vmap(lambda key, rows: jax.vmap(matrix_game.sample)(jax.random.split(key), rows))(
                bid_keys, mixed
            )
            moved = jax.vmap(game.apply)(states, bids)
            bits = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(chance_keys)
            outcomes = jax.vmap(game.random_chance)(moved, bits)
            after = jax.vmap(game.step_chance)(moved, outcomes)
            before, between = jax.vmap(self._example)(states, strategies), jax.vmap(self._example)(moved, strategies)
            return after, (before, between)

        states = jax.vmap(game.init)(init_keys)
        final, (before, between) = jax.lax.scan(turn, states, jnp.arange(game.max_turns))
        between = jax.tree.map(lambda leaf: leaf[:-1], between)  # the last is the end itself
        both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), before, between)  # [T', B, ...]
        rounds = both.acts.shape[0]
        points = final.score / total_points(game)
        difference = (
            jnp.sign(points[:, 0] - points[:, 1]) if game.objective == "win_loss" else points[:, 0] - points[:, 1]
        )
        both = both._replace(
            outcome=jnp.broadcast_to(difference, (rounds, *difference.shape)),
            points=jnp.broadcast_to(points, (rounds, *points.shape)),
        )
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), both)

    def _example(self, state: GopsState, strategy: jax.Array) -> GopsExample:
        """An example whose end is not known yet."""
        game = self.game
        acts = jnp.float32(1) * (state.prize > 0)
        return GopsExample(
            game.observe(state, 0), strategy, game.legal(state), acts, jnp.float32(0), jnp.zeros(2, jnp.float32)
        )
