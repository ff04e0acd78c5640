"""A value network for Avalon that sees what a written heuristic sees: the state with all roles that a search assumes.

It learns from whole games, by bots or by searching players who use the network itself, and judges the leaves of
`SearchAgent`. The published baseline was given neither roles nor sides, from which nobody can tell who will win.

    learner = AvalonValueLearner(Bots(Avalon(5)))
    state = learner.init(key)
    state, loss = update(state, step_key)                  # update = jax.jit(learner.update); state.episodes
    agent = learner.agent(state.params, model, num_simulations=24)

Shapes: `P` players, `D` features, `B` games, `M` examples a game.

Reference: Light et al., "Strategist" (arXiv 2408.10635), the learning baseline of table 3.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.driver import play
from jaxrl_suite.avalonbench.matches import play_side
from jaxrl_suite.avalonbench.observation_models import ObservationModel
from jaxrl_suite.avalonbench.player import BotPlayer
from jaxrl_suite.avalonbench.search_agent import Evaluator, SearchAgent
from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.roles import MAX_ROUNDS, NUM_QUESTS, QUESTS_TO_WIN
from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.apply import apply, init_params
from jaxrl_suite.strategist.heuristics.views import avalon_view
from jaxrl_suite.strategist.learners import replay_buffer as replay
from jaxrl_suite.strategist.learners.avalon_positions import draw_positions
from jaxrl_suite.strategist.learners.replay_buffer import ReplayBuffer
from jaxrl_suite.strategist.learners.value_networks import OutcomeNetwork

_SEAT_FEATURES = 6


class ValuedPosition(NamedTuple):
    features: jax.Array  # float32[D]
    good_won: jax.Array  # float32[], 1 if good won in the end, else -1


class AvalonValueState(NamedTuple):
    params: Any
    opt_state: optax.OptState
    replay: ReplayBuffer
    episodes: jax.Array  # int32[], games so far


def features(game: Avalon, state: AvalonState) -> jax.Array:
    """float32[D]: the state as numbers, with seats sorted by role, so that their numbering does not matter.

    For each seat: whether it leads, how long until it does, whether it is on the team, on how many failed and
    successful quests it was, and what share of the proposals it approved. Then phase, quests won and lost, and rejected
    proposals.
    """
    view = avalon_view(game, state)
    seats = jnp.arange(game.num_players)
    wait = (seats - state.leader) % game.num_players / game.num_players
    played = jnp.stack([view.lost, view.won])  # [2, Q]
    quests = jnp.matmul(played, view.quest_teams, precision=jax.lax.Precision.HIGHEST) / NUM_QUESTS
    approved = jnp.sum(view.approvals * view.voted[:, None], axis=0) / jnp.maximum(jnp.sum(view.voted), 1)
    by_seat = jnp.stack([view.leader, wait, view.team, quests[0], quests[1], approved])
    order = jnp.argsort(state.roles * game.num_players + wait * game.num_players)  # equals in the order of their turns
    scores = jnp.stack([jnp.sum(view.won), jnp.sum(view.lost)])
    counts = scores[:, None] == jnp.arange(QUESTS_TO_WIN + 1)[None]
    rejected = view.round == jnp.arange(MAX_ROUNDS)
    parts = [by_seat[:, order].ravel(), view.phase, counts.ravel(), rejected]
    return jnp.concatenate([part.astype(jnp.float32) for part in parts])


def num_features(game: Avalon) -> int:
    return _SEAT_FEATURES * game.num_players + 4 + 2 * (QUESTS_TO_WIN + 1) + MAX_ROUNDS


@dataclasses.dataclass(frozen=True)
class AvalonValueLearner:
    """The learner of the value network.

    Args:
      bots: who play, and how a searching player takes the others to act.
      play: whose games are learned from: those of `bots`, or of players who `search` with the network.
      model: how searching players read public events; needed for `search`.
      num_simulations: of searching players, for each assignment.
      hidden: widths of the hidden layers.
      games: B, an update.
      examples_per_game: M.
      gradient_steps: minibatches an update.
      batch: examples of a minibatch.
      capacity: examples that the replay holds.
      learning_rate: of Adam.

    Raises:
      UserError: if a value is out of range, or a model is missing.
    """

    bots: Bots
    play: Literal["bots", "search"] = "bots"
    model: ObservationModel | None = None
    num_simulations: int = 8
    hidden: tuple[int, ...] = (64, 64)
    games: int = 16
    examples_per_game: int = 24
    gradient_steps: int = 60
    batch: int = 128
    capacity: int = 8192
    learning_rate: float = 1e-3

    def __post_init__(self):
        if self.play not in ("bots", "search"):
            raise UserError(f"play must be bots or search, got {self.play!r}")
        if self.play == "search" and self.model is None:
            raise UserError("players who search read the others by a model: give one, for instance BotPolicies()")
        check_ranges(self, games=(1, 2**20), examples_per_game=(1, 2**10), gradient_steps=(1, 10**6), batch=(1, 2**20))
        new = self.games * self.examples_per_game
        if self.capacity < new:
            raise UserError(f"capacity must be at least {new}, the examples of an update")

    @property
    def game(self) -> Avalon:
        return self.bots.game

    @property
    def network(self) -> OutcomeNetwork:
        return OutcomeNetwork(self.hidden)

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def init(self, key: jax.Array) -> AvalonValueState:
        """An untrained network and an empty replay; `key` is consumed."""
        params = init_params(self.network, key, (num_features(self.game),))
        example = ValuedPosition(jnp.zeros(num_features(self.game)), jnp.zeros(()))
        buffer = replay.empty(example, self.capacity)
        return AvalonValueState(params, self._optimiser.init(params), buffer, jnp.int32(0))

    def update(self, state: AvalonValueState, key: jax.Array) -> tuple[AvalonValueState, jax.Array]:
        """Plays games and learns; the mean loss float32[] of the steps. `key` is consumed."""
        play_key, draw_key, learn_key = jax.random.split(key, 3)
        final = self.finals(state.params, jax.random.split(play_key, self.games))
        examples = self.examples(final, jax.random.split(draw_key, self.games))
        buffer = replay.add(state.replay, examples)

        params, opt_state, loss = replay.descend(
            self.loss, self._optimiser, state.params, state.opt_state, buffer, learn_key,
            steps=self.gradient_steps, batch=self.batch,
        )  # fmt: skip
        return AvalonValueState(params, opt_state, buffer, state.episodes + self.games), loss

    def finals(self, params: chex.ArrayTree, keys: jax.Array) -> AvalonState:
        """The last states [B, ...] of one game a key."""
        if self.play == "search":
            assert self.model is not None
            agent = self.agent(params, self.model, self.num_simulations)
            return play_side(agent, "both", self.bots, keys).final

        return play(self.game, [BotPlayer(self.bots)] * self.game.num_players, keys).final

    def examples(self, final: AvalonState, keys: jax.Array) -> ValuedPosition:
        """Examples [B * M] drawn from games that are over; `keys` key[B] are consumed."""

        def one(final, key):
            drawn = draw_positions(self.game, final, key, self.examples_per_game)
            won = jnp.where(final.good_victory, 1.0, -1.0)
            seen = jax.vmap(lambda state: features(self.game, state))(drawn)
            return ValuedPosition(seen, jnp.full(self.examples_per_game, won))

        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.vmap(one)(final, keys))

    def loss(self, params: chex.ArrayTree, examples: ValuedPosition) -> jax.Array:
        """float32[]: mean squared error of the value over examples."""
        values: Any = apply(self.network, params, examples.features)
        return jnp.mean((values - examples.good_won) ** 2)

    def evaluator(self, params: chex.ArrayTree) -> Evaluator:
        """The evaluator of states for the good side, for a `SearchAgent`."""
        return lambda key, state, memory: apply(self.network, params, features(self.game, state))

    def agent(self, params: chex.ArrayTree, model: ObservationModel, num_simulations: int) -> SearchAgent:
        """A player that searches with the network. Make it inside a jitted function that is given the `params`."""
        return SearchAgent(self.bots, model, self.evaluator(params), num_simulations)
