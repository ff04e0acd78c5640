"""Games of DeepRole's players against bots.

Each round is solved once, from the public belief; then everybody acts by its own information set. Between rounds the
belief follows what all could see. What the players of one's own side do is read by the solver's strategies, which all
of them follow, with some doubt; what the others do by a model of how people act. Bots do what no solution would, so
that to read them by a solution as well is to misread them.

Shapes: `K` = 60 assignments, `P` = 5 players, `B` games, `L` games side by side.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.assignments import OUTSIDER, index_of, tables
from jaxrl_suite.avalonbench.beliefs import from_state, posterior
from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.avalonbench.information_sets import information_sets
from jaxrl_suite.avalonbench.log_pair import LogPair
from jaxrl_suite.avalonbench.observation_models import Proposal, Quest, VotesAndProposals
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.roles import ASSASSIN, MAX_ROUNDS, NUM_QUESTS
from jaxrl_suite.envs.avalon.state import ASSASSINATION
from jaxrl_suite.envs.bits import popcount
from jaxrl_suite.errors import UserError
from jaxrl_suite.strategist.learners.deeprole.cfr import likelihood
from jaxrl_suite.strategist.learners.deeprole.learner import DeepRole
from jaxrl_suite.strategist.learners.deeprole.round import ACCEPTING, NUM_PATTERNS, Situation, Strategies, constants
from jaxrl_suite.strategist.learners.value_networks import Layers

Side = Literal["good", "evil", "both", "nobody"]


class Result(NamedTuple):
    good_wins: jax.Array  # bool[B]
    belief: jax.Array  # float32[B, K], the public one at the end
    final: AvalonState  # [B, ...]


class _Table(NamedTuple):
    """A game that is being played."""

    number: jax.Array  # int32[], which of the B; B for none
    state: AvalonState
    memory: Memory  # of the bots
    belief: jax.Array  # float32[K], the public one


def play(
    learner: DeepRole,
    params: Layers,
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
    if side not in ("good", "evil", "both", "nobody"):
        raise UserError(f"side must be good, evil, both or nobody, got {side!r}")
    if not 0 < doubt <= 1:
        raise UserError(f"doubt must lie above 0 and up to 1, got {doubt}")
    if states is not None and model is None:
        raise UserError("what led to the states has to be read by a model: give one, for instance VotesAndProposals()")
    if lanes < 1:
        raise UserError(f"lanes must be at least 1, got {lanes}")
    game, count = learner.game, keys.shape[0]
    every, seats = (1 << game.num_players) - 1, jnp.arange(game.num_players)
    sets = information_sets(game)

    def seat(number: jax.Array) -> _Table:
        which = jnp.minimum(number, count - 1)
        if states is None:
            state, memory = game.init(jax.random.split(keys[which])[0]), bots.init()
        else:
            state = jax.tree.map(lambda leaf: leaf[which], states)
            memory = bots.memory_of(state)
        even = jnp.full(len(tables(game).roles), 1 / len(tables(game).roles))
        read = even if model is None or states is None else posterior(from_state(game, state, OUTSIDER, model))
        return _Table(number, state, memory, read)

    def one_round(table: _Table) -> _Table:
        _, state, memory, belief = table
        truth = index_of(game, state.roles)
        own = jnp.asarray(sets.index)[:, truth]  # [P]
        mine = {"good": ~state.evil & every, "evil": state.evil, "both": jnp.int32(every), "nobody": jnp.int32(0)}[side]
        follows = (mine >> seats) & 1 == 1
        key = jax.random.split(keys[jnp.minimum(table.number, count - 1)])[1]
        round_keys = jax.random.split(jax.random.fold_in(key, state.num_proposals), 7)

        def act(
            key: jax.Array, state: AvalonState, memory: Memory, choices: jax.Array
        ) -> tuple[AvalonState, Memory, jax.Array]:
            actions = jnp.where(follows, choices, bots.act(key, state, memory))
            after = game.apply(state, actions)
            return after, bots.observe(memory, state, after), actions

        situation = Situation(
            popcount(state.won, NUM_QUESTS), popcount(state.lost, NUM_QUESTS), state.round, state.leader
        )
        plan = learner.solve(params, situation, belief).strategies
        leads = jnp.log(plan.propose[own[state.leader]])
        proposal = jnp.full(game.num_players, jax.random.categorical(round_keys[0], leads))
        proposed, memory, actions = act(round_keys[1], state, memory, proposal)
        team = actions[state.leader]
        approvals = _coins(round_keys[2], plan.approve[seats, own, team])
        voted, memory, votes = act(round_keys[3], proposed, memory, approvals)
        pattern = jnp.sum(jnp.where(votes > 0, 1 << seats, 0), dtype=jnp.int32)
        pattern = jnp.where(state.round == MAX_ROUNDS - 1, NUM_PATTERNS - 1, pattern)
        accepted = (voted.proposals[state.num_proposals] >> 27) & 1 == 1
        row = jnp.searchsorted(jnp.asarray(ACCEPTING), pattern)
        role = (state.roles == ASSASSIN).astype(jnp.int32)
        fail = plan.fail[role, row, team, jnp.asarray(constants(game).pair)[truth]]
        fail = jnp.where((state.evil >> seats) & 1 == 1, fail, 0.0)
        decided, memory_after, _ = act(round_keys[5], voted, memory, 1 - _coins(round_keys[4], fail))
        after, memory = _choose(accepted, (decided, memory_after), (voted, memory))
        fails = jnp.where(accepted, (after.fail_votes >> (4 * state.quest)) & 15, 0)
        chances = likelihood(game, situation, _doubted(plan, doubt), team, pattern, fails)
        if model is not None and side != "both":
            modelled = _modelled(game, model, state, proposed.team, pattern, fails)
            evil = ((tables(game).evil[:, None] >> np.arange(5)) & 1) == 1  # [K, P]
            ours = {"good": ~evil, "evil": evil, "nobody": np.zeros_like(evil)}[side].T
            leads = jnp.asarray(ours)[state.leader]
            ours = np.concatenate([np.zeros((1, len(evil)), bool), ours, np.full((1, len(evil)), side == "evil")])
            chances = jnp.where(jnp.asarray(ours).at[0].set(leads), chances, modelled)
        seen = belief * jnp.prod(chances, axis=0)
        total = jnp.sum(seen)
        belief = jnp.where(total > 0, seen / jnp.where(total > 0, total, 1.0), belief)

        holder = jnp.argmax(state.roles == ASSASSIN)
        told = jnp.asarray(sets.member)[holder, own[holder]] * belief
        by_seat = jnp.sum(told[:, None] * ((tables(game).merlin[:, None] >> np.arange(5)) & 1), axis=0)
        target = jnp.full(game.num_players, jnp.argmax(by_seat))
        assassination, _, _ = act(round_keys[6], after, memory, target)
        after = _choose(after.phase == ASSASSINATION, assassination, after)
        return _Table(table.number, after, memory, belief)

    def advance(carry: tuple[jax.Array, _Table, Result]) -> tuple[jax.Array, _Table, Result]:
        following, table, results = carry
        table = jax.vmap(one_round)(table)
        over = table.state.terminated
        rows = jnp.where(over, table.number, count)
        ended = Result(table.state.good_victory, table.belief, table.state)
        results = jax.tree.map(lambda old, one: old.at[rows].set(one, mode="drop"), results, ended)
        number = jnp.where(over, jnp.minimum(following + jnp.cumsum(over) - 1, count), table.number)
        return following + jnp.sum(over), jax.vmap(_choose)(over, jax.vmap(seat)(number), table), results

    lanes = min(lanes, count)
    first = jax.vmap(seat)(jnp.arange(lanes))
    empty = jax.eval_shape(jax.vmap(lambda table: Result(table.state.good_victory, table.belief, table.state)), first)
    results = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape[1:]), leaf.dtype), empty)
    start = (jnp.int32(lanes), first, results)
    return jax.lax.while_loop(lambda carry: jnp.any(carry[1].number < count), advance, start)[2]


def _modelled(
    game: Avalon, model: VotesAndProposals, state: AvalonState, team: jax.Array, pattern: jax.Array, fails: jax.Array
) -> jax.Array:
    """float32[2 + P, K]: by the model, how likely the proposal, each player's vote, and the fails are."""
    proposal = _exp(model.proposal(game, (), Proposal(state.quest, state.leader, team)))
    chances = model.approvals(game, team)
    approves = ((pattern >> jnp.arange(game.num_players)) & 1)[:, None] == 1
    votes = jnp.where(approves, chances, 1 - chances)
    votes = jnp.where(state.round == MAX_ROUNDS - 1, 1.0, votes)
    quest = _exp(model.quest(game, (), Quest(state.quest, team, fails)))
    accepted = (jax.lax.population_count(pattern) > 2) | (state.round == MAX_ROUNDS - 1)
    return jnp.concatenate([proposal[None], votes, jnp.where(accepted, quest, 1.0)[None]])


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
