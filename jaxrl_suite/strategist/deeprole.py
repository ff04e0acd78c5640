"""DeepRole for Avalon: a network that is given the exact public belief ends the look-ahead of a regret minimiser.

The network says what a situation is worth to good under each of the 60 assignments of roles; means over an information
set are what it is worth to a player, as in the paper's win-probability layer. Its targets are made by the solver itself
(`deeprole_cfr`), on random situations and beliefs, with the network of the moment at the leaves.

    learner = DeepRole()
    state = learner.init(key)
    state, loss = update(state, step_key)                          # update = jax.jit(learner.update)
    result = play(learner, state.params, "good", Bots(learner.game), keys)

In GOPS nothing but the simultaneous bids is hidden, so that there the method comes down to a value network below regret
minimisation at each node: `alphazero` with its rule of regret matching.

Shapes: `K` = 60 assignments, `P` = 5 players, `I` = 15 information sets, `B` games or situations.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.avalonbench.assignments import index_of, tables
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.core.config import UserError, check_ranges
from jaxrl_suite.envs.avalon import Avalon, State
from jaxrl_suite.envs.avalon_roles import MAX_PROPOSALS, MAX_ROUNDS, QUESTS_TO_WIN
from jaxrl_suite.envs.avalon_state import ASSASSINATION
from jaxrl_suite.envs.bits import popcount
from jaxrl_suite.strategist import replay
from jaxrl_suite.strategist.deeprole_cfr import NUM_PATTERNS, Situation, Solution, Strategies, ends, solve
from jaxrl_suite.strategist.information_sets import conditional, information_sets
from jaxrl_suite.strategist.replay import Replay
from jaxrl_suite.strategist.value_networks import Layers, init_layers, perceptron

_STAGE = 2 * QUESTS_TO_WIN + MAX_ROUNDS  # numbers that describe a situation beside the belief


class Example(NamedTuple):
    situation: Situation
    belief: jax.Array  # float32[K]
    values: jax.Array  # float32[K]


class LearnerState(NamedTuple):
    params: Any
    memory: Any  # of the optimiser
    replay: Replay
    solved: jax.Array  # int32[], situations so far


@functools.lru_cache(maxsize=2)
def _turned(game: Avalon) -> np.ndarray:
    """int32[P, K]: the number of each assignment with seats counted from leader 0, 1 ..."""
    roles = tables(game).roles
    numbers = {tuple(row): k for k, row in enumerate(roles.tolist())}
    turned = [[numbers[tuple(np.roll(row, -leader).tolist())] for row in roles] for leader in range(game.num_players)]
    return np.array(turned, np.int32)


@dataclasses.dataclass(frozen=True)
class DeepRole:
    """The solver, its network, and how the network is trained.

    Args:
      game: five players, the basic roles, rules of avalonbench.
      iterations: of the solver, for each round.
      hidden: widths of the hidden layers.
      situations: B, solved an update.
      gradient_steps: minibatches an update.
      batch: examples of a minibatch.
      capacity: examples that the replay holds.
      learning_rate: of Adam.

    Raises:
      ValueError: if a value is out of range.
    """

    game: Avalon = Avalon(5)  # noqa: RUF009 (it is frozen)
    iterations: int = 20
    hidden: tuple[int, ...] = (64, 64)
    situations: int = 16
    gradient_steps: int = 50
    batch: int = 64
    capacity: int = 4096
    learning_rate: float = 1e-3

    def __post_init__(self):
        check_ranges(self, iterations=(1, 10**5), situations=(1, 2**16), gradient_steps=(1, 10**6), batch=(1, 2**16))
        if self.capacity < self.situations:
            raise UserError(f"capacity must be at least {self.situations}, the situations of an update")

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def init(self, key: jax.Array) -> LearnerState:
        """An untrained network and an empty replay; `key` is consumed."""
        count = len(tables(self.game).roles)
        params = init_layers(key, (_STAGE + count, *self.hidden, count), last_scale=0.1)
        nothing = jnp.zeros(count)
        example = Example(Situation(*(jnp.int32(0) for _ in Situation._fields)), nothing, nothing)
        kept = replay.empty(example, self.capacity)
        return LearnerState(params, self._optimiser.init(params), kept, jnp.int32(0))

    def values(self, params: Layers, situation: Situation, belief: jax.Array) -> jax.Array:
        """float32[K]: worth of a situation to good under each assignment, from -1 to 1."""
        turned = jnp.asarray(_turned(self.game))[situation.leader]
        seen = jnp.zeros_like(belief).at[turned].set(belief)
        stage = [
            situation.won == jnp.arange(QUESTS_TO_WIN),
            situation.lost == jnp.arange(QUESTS_TO_WIN),
            situation.round == jnp.arange(MAX_ROUNDS),
        ]
        inputs = jnp.concatenate([*(part.astype(jnp.float32) for part in stage), 10 * seen])
        return jnp.tanh(perceptron(params, inputs))[turned]

    def information_set_values(self, values: jax.Array, belief: jax.Array) -> jax.Array:
        """float32[P, I]: what a situation is worth to each player in each of its information sets.

        Args:
          values: float32[K], worth to good.
          belief: float32[K].
        """
        sets = information_sets(self.game)
        evil = (np.asarray(tables(self.game).evil)[None] >> np.arange(self.game.num_players)[:, None]) & 1
        own = jnp.asarray(1 - 2 * evil) * values[None]
        return jnp.stack([conditional(member, belief, own[seat]) for seat, member in enumerate(sets.member)])

    def solve(self, params: Layers, situation: Situation, belief: jax.Array) -> Solution:
        """Strategies for a round, with the network at its ends."""
        return solve(self.game, situation, belief, functools.partial(self.values, params), self.iterations)

    def update(self, state: LearnerState, key: jax.Array) -> tuple[LearnerState, jax.Array]:
        """Solves random situations and learns; the mean loss float32[] of the steps. `key` is consumed."""
        draw_key, learn_key = jax.random.split(key)
        examples = self.examples(state.params, jax.random.split(draw_key, self.situations))
        kept = replay.add(state.replay, examples)

        params, memory, loss = replay.descend(
            self.loss, self._optimiser, state.params, state.memory, kept, learn_key,
            steps=self.gradient_steps, batch=self.batch,
        )  # fmt: skip
        return LearnerState(params, memory, kept, state.solved + self.situations), loss

    def examples(self, params: Layers, keys: jax.Array) -> Example:
        """Examples [B, ...], one a key; `keys` key[B] are consumed."""
        situations, beliefs = jax.vmap(lambda key: random_situation(self.game, key))(keys)
        values = jax.vmap(lambda s, b: self.solve(params, s, b).values)(situations, beliefs)
        return Example(situations, beliefs, values)

    def loss(self, params: Layers, examples: Example) -> jax.Array:
        """float32[]: squared error, half weighted by belief and half the same for all assignments."""
        predicted = jax.vmap(self.values, (None, 0, 0))(params, examples.situation, examples.belief)
        weights = (examples.belief + 1 / examples.belief.shape[1]) / 2
        return jnp.mean(jnp.sum(weights * (predicted - examples.values) ** 2, axis=1))


def random_situation(game: Avalon, key: jax.Array) -> tuple[Situation, jax.Array]:
    """A situation with a belief float32[K] between even and nearly certain, in which each failed quest had evil on it.

    `key` is consumed.
    """
    keys = jax.random.split(key, 6)
    bounds = (QUESTS_TO_WIN, QUESTS_TO_WIN, MAX_ROUNDS, game.num_players)
    situation = Situation(*(jax.random.randint(k, (), 0, n) for k, n in zip(keys[:4], bounds, strict=True)))
    evil = jnp.asarray(tables(game).evil)
    noise, scale = jax.random.split(keys[4])
    logits = 3 * jax.random.uniform(scale) * jax.random.normal(noise, evil.shape)
    teams = jnp.asarray(game.teams()[1])  # three players each
    for index, pick in enumerate(jax.random.randint(keys[5], (QUESTS_TO_WIN - 1,), 0, len(teams))):
        logits = jnp.where((situation.lost > index) & ((evil & teams[pick]) == 0), -jnp.inf, logits)
    return situation, jax.nn.softmax(logits)


class Result(NamedTuple):
    good_wins: jax.Array  # bool[B]
    belief: jax.Array  # float32[B, K], the public one at the end
    final: State  # [B, ...]


def play(
    learner: DeepRole,
    params: Layers,
    side: Literal["good", "evil", "both"],
    bots: Bots,
    keys: jax.Array,
    doubt: float = 0.05,
) -> Result:
    """One game a key: the players of `side` follow the solver, the others are `bots`.

    Each round is solved once, from the public belief; then everybody acts by its own information set.

    Args:
      learner: the solver.
      params: of its network.
      side: who follows it.
      bots: of the same game.
      keys: key[B], consumed; they deal the same roles and first leaders whoever plays.
      doubt: when a round is read, the share of play that is taken to be uniformly random, so that bots who do what no
        solution would leave a belief.

    Raises:
      ValueError: if the bots play another game, or `side` is unknown.
    """
    if bots.game != learner.game:
        raise UserError(f"the solver plays {learner.game}, the bots {bots.game}: give both the same game")
    if side not in ("good", "evil", "both"):
        raise UserError(f"side must be good, evil or both, got {side!r}")
    if not 0 < doubt <= 1:
        raise UserError(f"doubt must lie above 0 and up to 1, got {doubt}")
    game = learner.game
    every, seats = (1 << game.num_players) - 1, jnp.arange(game.num_players)

    def one(key):
        deal_key, play_key = jax.random.split(key)
        first = game.init(deal_key)
        truth = index_of(game, first.roles)
        own = jnp.asarray(information_sets(game).index)[:, truth]  # [P]
        mine = {"good": ~first.evil & every, "evil": first.evil, "both": first.evil | every}[side]
        follows = (mine >> seats) & 1 == 1

        def act(key, state, memory, choices):
            bot_key, _ = jax.random.split(key)
            actions = jnp.where(follows, choices, bots.act(bot_key, state, memory))
            after = game.apply(state, actions)
            return after, bots.observe(memory, state, after), actions

        def one_round(index, carry):
            state, memory, belief = carry
            round_keys = jax.random.split(jax.random.fold_in(play_key, index), 6)
            situation = Situation(popcount(state.won, 5), popcount(state.lost, 5), state.round, state.leader)
            plan = learner.solve(params, situation, belief).strategies
            leads = jnp.log(plan.propose[own[state.leader]])
            proposal = jnp.full(game.num_players, jax.random.categorical(round_keys[0], leads))
            proposed, memory, actions = act(round_keys[1], state, memory, proposal)
            team = actions[state.leader]
            chances = plan.approve[seats, own, team]
            voted, memory, votes = act(round_keys[2], proposed, memory, _coins(round_keys[3], chances))
            pattern = jnp.sum(jnp.where(votes > 0, 1 << seats, 0), dtype=jnp.int32)
            pattern = jnp.where(state.round == MAX_ROUNDS - 1, NUM_PATTERNS - 1, pattern)
            accepted = (voted.proposals[state.num_proposals] >> 27) & 1 == 1
            evil = (state.evil >> seats) & 1 == 1
            fail = jnp.where(evil, plan.fail[seats, own, team, pattern], 0.0)
            decided, memory_after, _ = act(round_keys[4], voted, memory, 1 - _coins(round_keys[5], fail))
            after, memory = _choose(accepted, (decided, memory_after), (voted, memory))
            fails = jnp.where(accepted, (after.fail_votes >> (4 * state.quest)) & 15, 0)
            joint, _ = ends(game, situation, belief, _doubted(plan, doubt))
            seen = joint[team, pattern, jnp.minimum(fails, 2)]
            total = jnp.sum(seen)
            belief_after = jnp.where(total > 0, seen / jnp.where(total > 0, total, 1.0), belief)
            return after, memory, belief_after

        def going(carry):
            index, (state, _, _) = carry
            return ~state.terminated & (state.phase != ASSASSINATION) & (index < MAX_PROPOSALS)

        even = jnp.full(len(tables(game).roles), 1 / len(tables(game).roles))
        _, (state, memory, belief) = jax.lax.while_loop(
            going, lambda carry: (carry[0] + 1, one_round(*carry)), (jnp.int32(0), (first, bots.init(), even))
        )
        holder = jnp.argmax(first.roles == max(game.roles))  # the Assassin has the highest role id
        told = jnp.asarray(information_sets(game).member)[holder, own[holder]] * belief
        by_seat = jax.vmap(lambda seat: jnp.sum(told * (jnp.asarray(tables(game).merlin) >> seat & 1)))(seats)
        target = jnp.full(game.num_players, jnp.argmax(by_seat))
        final, _, _ = act(jax.random.fold_in(play_key, MAX_PROPOSALS), state, memory, target)
        return Result(final.good_victory, belief, final)

    return jax.vmap(one)(keys)


def _coins(key: jax.Array, chances: jax.Array) -> jax.Array:
    return jax.random.bernoulli(key, chances).astype(jnp.int32)


def _doubted(plan: Strategies, doubt: float) -> Strategies:
    width = plan.propose.shape[-1]
    return Strategies(
        (1 - doubt) * plan.propose + doubt / width,
        (1 - doubt) * plan.approve + doubt / 2,
        (1 - doubt) * plan.fail + doubt / 2,
    )


def _choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
