"""DeepRole for Avalon: a network that is given the exact public belief ends the look-ahead of a regret minimiser.

The network gives the value for the good team under each of the 60 assignments of roles; means over an information
set are what it is worth to a player, as in the paper's win-probability layer. Its targets are made by the solver itself
(`cfr`), on random situations and beliefs (`situations`) with the network of the moment at the leaves,
from the last stage of the game to the first, over and over. `play` plays by it.

    learner = DeepRole()
    state = learner.init(key)
    state, loss = update(state, step_key)                          # update = jax.jit(learner.update)
    result = play(learner, state.params, "good", Bots(learner.game), keys, VotesAndProposals())

In GOPS nothing but the simultaneous bids is hidden, so that there the method comes down to a value network below regret
minimisation at each node: `alphazero` with its rule of regret matching.

Shapes: `K` = 60 assignments, `P` = 5 players, `I` = 15 information sets, `B` games or situations.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.information_sets import conditional, information_sets
from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.errors import UserError
from jaxrl_suite.strategist.learners import replay_buffer as replay
from jaxrl_suite.strategist.learners.deeprole import network as deeprole_network
from jaxrl_suite.strategist.learners.deeprole.cfr import CFRSolution, solve
from jaxrl_suite.strategist.learners.deeprole.round import Situation
from jaxrl_suite.strategist.learners.deeprole.situations import backwards, random_situation
from jaxrl_suite.strategist.learners.replay_buffer import ReplayBuffer

SITUATIONS_A_GAME = 8  # a game of naive bots has 7.6 proposals, each of which is such a situation


class SolvedSituation(NamedTuple):
    situation: Situation
    belief: jax.Array  # float32[K]
    values: jax.Array  # float32[K]


class DeepRoleState(NamedTuple):
    params: Any
    opt_state: optax.OptState
    replay: ReplayBuffer
    solved: jax.Array  # int32[], situations so far


@dataclasses.dataclass(frozen=True)
class DeepRole:
    """The solver, its network, and how the network is trained.

    Args:
      game: five players, the basic roles, rules of avalonbench.
      iterations: of the solver, for each round.
      hidden: widths of the hidden layers.
      games: an update is worth, for comparisons with learners who play: 8 situations of one stage are solved for each.
      gradient_steps: minibatches an update.
      batch: examples of a minibatch.
      capacity: examples that the replay holds.
      learning_rate: of Adam.

    Raises:
      UserError: if a value is out of range.
    """

    game: Avalon = Avalon(5)  # noqa: RUF009 (it is frozen)
    iterations: int = 20
    hidden: tuple[int, ...] = (64, 64)
    games: int = 4
    gradient_steps: int = 100
    batch: int = 64
    capacity: int = 2048
    learning_rate: float = 3e-3

    def __post_init__(self):
        check_ranges(self, iterations=(1, 10**5), games=(1, 2**16), gradient_steps=(1, 10**6), batch=(1, 2**16))
        if self.capacity < self.situations:
            raise UserError(f"capacity must be at least {self.situations}, the situations of an update")

    @property
    def situations(self) -> int:
        """B, solved an update."""
        return SITUATIONS_A_GAME * self.games

    @property
    def network(self) -> deeprole_network.DeepRoleNetwork:
        return deeprole_network.DeepRoleNetwork(self.game, self.hidden)

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def init(self, key: jax.Array) -> DeepRoleState:
        """An untrained network and an empty replay; `key` is consumed."""
        count = len(tables(self.game).roles)
        params = deeprole_network.init(self.network, key)
        nothing = jnp.zeros(count)
        example = SolvedSituation(Situation(*(jnp.int32(0) for _ in Situation._fields)), nothing, nothing)
        buffer = replay.empty(example, self.capacity)
        return DeepRoleState(params, self._optimiser.init(params), buffer, jnp.int32(0))

    def values(self, params: chex.ArrayTree, situation: Situation, belief: jax.Array) -> jax.Array:
        """float32[K]: worth of a situation to good under each assignment, from -1 to 1."""
        return deeprole_network.values(self.network, params, situation, belief)

    def information_set_values(self, values: jax.Array, belief: jax.Array) -> jax.Array:
        """float32[P, I]: what a situation is worth to each player in each of its information sets.

        Args:
          values: float32[K], for the good team.
          belief: float32[K].
        """
        sets = information_sets(self.game)
        evil = (np.asarray(tables(self.game).evil)[None] >> np.arange(self.game.num_players)[:, None]) & 1
        own = jnp.asarray(1 - 2 * evil) * values[None]
        return jnp.stack([conditional(member, belief, own[seat]) for seat, member in enumerate(sets.member)])

    def solve(self, params: chex.ArrayTree, situation: Situation, belief: jax.Array) -> CFRSolution:
        """Strategies for a round, with the network at its ends."""
        return solve(
            self.game,
            situation,
            belief,
            functools.partial(deeprole_network.sorted_values, self.network, params),
            self.iterations,
        )

    def update(self, state: DeepRoleState, key: jax.Array) -> tuple[DeepRoleState, jax.Array]:
        """Solves situations of the next stage and learns; the mean loss float32[] of the steps. `key` is consumed."""
        draw_key, learn_key = jax.random.split(key)
        stage = backwards(state.solved // self.situations)
        examples = self.examples(state.params, jax.random.split(draw_key, self.situations), stage)
        buffer = replay.add(state.replay, examples)

        params, opt_state, loss = replay.descend(
            self.loss, self._optimiser, state.params, state.opt_state, buffer, learn_key,
            steps=self.gradient_steps, batch=self.batch,
        )  # fmt: skip
        return DeepRoleState(params, opt_state, buffer, state.solved + self.situations), loss

    def examples(self, params: chex.ArrayTree, keys: jax.Array, stage: jax.Array) -> SolvedSituation:
        """Examples [B, ...] of a stage int32[], one a key; `keys` key[B] are consumed."""
        situations, beliefs = jax.vmap(lambda key: random_situation(self.game, key, stage))(keys)
        values = jax.vmap(lambda s, b: self.solve(params, s, b).values)(situations, beliefs)
        return SolvedSituation(situations, beliefs, values)

    def loss(self, params: chex.ArrayTree, examples: SolvedSituation) -> jax.Array:
        """float32[]: squared error, half weighted by belief and half the same for all assignments."""
        predicted = jax.vmap(self.values, (None, 0, 0))(params, examples.situation, examples.belief)
        weights = (examples.belief + 1 / examples.belief.shape[1]) / 2
        return jnp.mean(jnp.sum(weights * (predicted - examples.values) ** 2, axis=1))
