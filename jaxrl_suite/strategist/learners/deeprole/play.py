"""Games of DeepRole's players against bots.

Each round is solved once, from the public belief; then everybody acts by its own information set. Between rounds the
belief follows what all could see. What the players of one's own side do is read by the solver's strategies, which all
of them follow, with some doubt; what the others do by a model of how people act. Bots do what no solution would, so
that to read them by a solution as well is to misread them.

Shapes: `K` = 60 assignments, `P` = 5 players, `B` games, `L` games side by side.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench import driver
from jaxrl_suite.avalonbench.assignments import OUTSIDER, index_of, tables
from jaxrl_suite.avalonbench.beliefs import from_state, posterior
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.driver import Side
from jaxrl_suite.avalonbench.information_sets import information_sets
from jaxrl_suite.avalonbench.log_pair import LogPair
from jaxrl_suite.avalonbench.observation_models import Proposal, Quest, VotesAndProposals
from jaxrl_suite.avalonbench.player import BotPlayer, Player
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.roles import ASSASSIN, MAX_ROUNDS, NUM_QUESTS
from jaxrl_suite.envs.avalon.state import QUEST, TEAM, VOTE
from jaxrl_suite.envs.rules import has_bit, popcount
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.tree_search import split_rows
from jaxrl_suite.strategist.learners.deeprole.cfr import likelihood
from jaxrl_suite.strategist.learners.deeprole.learner import DeepRole
from jaxrl_suite.strategist.learners.deeprole.round import ACCEPTING, NUM_PATTERNS, Situation, Strategies, constants


class Result(NamedTuple):
    good_wins: jax.Array  # bool[B]
    belief: jax.Array  # float32[B, K], the public one at the end
    final: AvalonState  # [B, ...]


class DeepRoleMemory(NamedTuple):
    """The memory of DeepRole's players: all of it is public."""

    belief: jax.Array  # float32[B, K]
    strategies: Strategies  # of the present round, [B, ...]
    situation: Situation  # in which it began, [B]


@dataclasses.dataclass(frozen=True)
class DeepRolePlayer(Player):
    """A player of any seats that follows the solver; its params are those of the network.

    Args:
      learner: the solver.
      side: whose seats follow it, itself and others, as it takes them to.
      model: how those who do not follow the solver are read; None: as if they did.
      doubt: the share of play by the solver that is taken to be uniformly random, so that no event is impossible.
    """

    learner: DeepRole
    side: Side
    model: VotesAndProposals | None
    doubt: float = 0.05

    def init(self, params: chex.ArrayTree, states: AvalonState) -> DeepRoleMemory:
        def one(params: chex.ArrayTree) -> DeepRoleMemory:
            even = jnp.full(len(tables(self.learner.game).roles), 1 / len(tables(self.learner.game).roles))
            nowhere = Situation(*[jnp.int32(0)] * 4)
            nothing = jax.eval_shape(self.learner.solve, params, nowhere, even).strategies
            return DeepRoleMemory(even, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing), nowhere)

        count = len(states.phase)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one(params))

    def resume(self, params: chex.ArrayTree, states: AvalonState) -> DeepRoleMemory:
        model, fresh = self.model, self.init(params, states)
        if model is None:
            return fresh
        game = self.learner.game
        return fresh._replace(belief=jax.vmap(lambda s: posterior(from_state(game, s, OUTSIDER, model)))(states))

    def plans(self, states: AvalonState, seats: jax.Array) -> jax.Array:
        """Once a round, for whoever sits there: what all do is part of the solution."""
        del seats
        return jnp.where((states.phase == TEAM) & ~states.terminated, 1, 0)

    def plan(
        self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, seats: jax.Array, memory: DeepRoleMemory
    ) -> DeepRoleMemory:
        del keys

        def one(state: AvalonState, asked: jax.Array, memory: DeepRoleMemory) -> DeepRoleMemory:
            situation = Situation(
                popcount(state.won, NUM_QUESTS), popcount(state.lost, NUM_QUESTS), state.round, state.leader
            )
            solved = self.learner.solve(params, situation, memory.belief).strategies
            return _choose(asked, DeepRoleMemory(memory.belief, solved, situation), memory)

        return jax.vmap(one)(states, seats < self.learner.game.num_players, memory)

    def act_key(self, stream: jax.Array, state: AvalonState, turn: jax.Array) -> jax.Array:
        del turn
        return _key_of_round(stream, state, 2 * state.phase)

    def act(
        self, params: chex.ArrayTree, keys: jax.Array, states: AvalonState, memory: DeepRoleMemory
    ) -> tuple[jax.Array, DeepRoleMemory]:
        del params
        return jax.vmap(self._act)(keys, states, memory), memory

    def _act(self, key: jax.Array, state: AvalonState, memory: DeepRoleMemory) -> jax.Array:
        game, plan = self.learner.game, memory.strategies
        sets, seats = information_sets(game), jnp.arange(game.num_players)
        truth = index_of(game, state.roles)
        own = jnp.asarray(sets.index)[:, truth]  # [P]
        team = Bots(game).index_of(state.quest, state.team)
        proposal = jax.random.categorical(key, jnp.log(plan.propose[own[state.leader]]))
        approvals = _coins(key, plan.approve[seats, own, team])
        row = jnp.searchsorted(jnp.asarray(ACCEPTING), _pattern(state, state.num_proposals - 1, memory.situation))
        role = (state.roles == ASSASSIN).astype(jnp.int32)
        fail = plan.fail[role, row, team, jnp.asarray(constants(game).pair)[truth]]
        passes = 1 - _coins(key, jnp.where(has_bit(state.evil, seats), fail, 0.0))
        holder = jnp.argmax(state.roles == ASSASSIN)
        told = jnp.asarray(sets.member)[holder, own[holder]] * memory.belief
        by_seat = jnp.sum(told[:, None] * ((tables(game).merlin[:, None] >> np.arange(5)) & 1), axis=0)
        options = jnp.stack([*jnp.broadcast_arrays(proposal, approvals, passes, jnp.argmax(by_seat))])
        return options[state.phase].astype(jnp.int32)

    def observe(
        self, params: chex.ArrayTree, memory: DeepRoleMemory, before: AvalonState, after: AvalonState
    ) -> DeepRoleMemory:
        del params
        return memory._replace(belief=jax.vmap(self._read)(memory, before, after))

    def _read(self, memory: DeepRoleMemory, before: AvalonState, after: AvalonState) -> jax.Array:
        """float32[K]: the public belief after a phase; it changes at the end of a round."""
        game, situation, quested = self.learner.game, memory.situation, before.phase == QUEST
        number = before.num_proposals - quested
        ended = quested | ((before.phase == VOTE) & ~after.proposal_accepted[number])
        team = Bots(game).index_of(before.quest, before.team)
        pattern = _pattern(after, number, situation)
        fails = jnp.where(quested, (after.fail_votes >> (4 * before.quest)) & 15, 0)
        chances = likelihood(game, situation, _doubted(memory.strategies, self.doubt), team, pattern, fails)
        if self.model is not None and self.side != "both":
            modelled = _modelled(game, self.model, situation, before.quest, before.team, pattern, fails)
            evil = ((tables(game).evil[:, None] >> np.arange(5)) & 1) == 1  # [K, P]
            ours = {"good": ~evil, "evil": evil, "nobody": np.zeros_like(evil)}[self.side].T
            leads = jnp.asarray(ours)[situation.leader]
            ours = np.concatenate([np.zeros((1, len(evil)), bool), ours, np.full((1, len(evil)), self.side == "evil")])
            chances = jnp.where(jnp.asarray(ours).at[0].set(leads), chances, modelled)
        seen = memory.belief * jnp.prod(chances, axis=0)
        total = jnp.sum(seen)
        return jnp.where(ended & (total > 0), seen / jnp.where(total > 0, total, 1.0), memory.belief)


def play(
    learner: DeepRole,
    params: chex.ArrayTree,
    side: Side,
    bots: Bots,
    keys: jax.Array,
    model: VotesAndProposals | None,
    states: AvalonState | None = None,
    doubt: float = 0.05,
    lanes: int = 32,
) -> Result:
    """One game a key: the players of `side` follow the solver, the others are `bots`.

    Args:
      learner: the solver.
      params: of its network.
      side: who follows it.
      bots: of the same game.
      keys: key[B], consumed; they deal the same roles and first leaders whoever plays.
      model: how those who do not follow the solver are read; None: as if they did.
      states: [B, ...], where a leader is to propose, to begin from instead of a deal; with a model only.
      doubt: the share of play by the solver that is taken to be uniformly random, so that no event is impossible.
      lanes: L, at most; as soon as a game is over the next takes its place.

    Raises:
      UserError: if the bots play another game, or an argument is out of range.
    """
    if bots.game != learner.game:
        raise UserError(f"the solver plays {learner.game}, the bots {bots.game}: give both the same game")
    if not 0 < doubt <= 1:
        raise UserError(f"doubt must lie above 0 and up to 1, got {doubt}")
    if states is not None and model is None:
        raise UserError("what led to the states has to be read by a model: give one, for instance VotesAndProposals()")
    deal_keys, play_keys = split_rows(keys, 2)
    games = driver.play(
        bots.game,
        (BotPlayer(bots, _bots_key), DeepRolePlayer(learner, side, model, doubt)),
        deal_keys,
        holders=driver.by_side(side),
        params=((), params),
        states=states,
        streams=(play_keys, play_keys),
        lanes=lanes,
    )
    return Result(games.final.good_victory, games.memories[1].belief, games.final)


def _key_of_round(stream: jax.Array, state: AvalonState, place: jax.Array) -> jax.Array:
    """Key number `place` int32[] of the seven of a round."""
    return jax.random.split(jax.random.fold_in(stream, state.num_proposals - (state.phase >= QUEST)), 7)[place]


def _bots_key(stream: jax.Array, state: AvalonState, turn: jax.Array) -> jax.Array:
    del turn
    return _key_of_round(stream, state, jnp.minimum(2 * state.phase + 1, 6))


def _pattern(state: AvalonState, number: jax.Array, situation: Situation) -> jax.Array:
    """int32[]: who approved proposal `number` int32[]; all of them where it was the fifth."""
    return jnp.where(situation.round == MAX_ROUNDS - 1, NUM_PATTERNS - 1, state.proposal_votes[number])


def _modelled(
    game: Avalon,
    model: VotesAndProposals,
    situation: Situation,
    quest: jax.Array,
    team: jax.Array,
    pattern: jax.Array,
    fails: jax.Array,
) -> jax.Array:
    """float32[2 + P, K]: by the model, how likely the proposal, each player's vote, and the fails are."""
    proposal = _exp(model.proposal(game, (), Proposal(quest, situation.leader, team)))
    chances, forced = model.approvals(game, team), situation.round == MAX_ROUNDS - 1
    approves = has_bit(pattern, jnp.arange(game.num_players))[:, None]
    votes = jnp.where(forced, 1.0, jnp.where(approves, chances, 1 - chances))
    on_quest = _exp(model.quest(game, (), Quest(quest, team, fails)))
    accepted = (popcount(pattern, game.num_players) > 2) | forced
    return jnp.concatenate([proposal[None], votes, jnp.where(accepted, on_quest, 1.0)[None]])


def _exp(logarithm: LogPair) -> jax.Array:
    return jnp.exp(jnp.asarray(logarithm.high) + jnp.asarray(logarithm.low))


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
