"""A channel of claims in Avalon, without language: who says what, and what follows for the exact posterior.

Before each proposal every player in turn, from the leader on, makes one public claim (see `policies`). A
listener knows how each role talks and updates the weight of every assignment of roles by Bayes' rule. All that is
private is what a player was told at the start, so one public belief serves everybody: a player's own belief is that
one, restricted to what it was told.

    belief = beliefs.prior(game, roles, OUTSIDER, model)
    belief, claims = talk(game, speaking, hearing, belief, roles, leader, key)
    good = beliefs.p_good(game, in_the_eyes_of(game, belief, roles, viewer))

Pure functions of one game, for `jax.vmap`, but for `play_and_talk`.

Shapes: `B` games, `K` assignments of roles, `P` players, `C` = 2 P + 1 claims, `T` phases.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.avalonbench import belief_metrics, beliefs, log_pair
from jaxrl_suite.avalonbench.assignments import OUTSIDER, index_of, possible, tables
from jaxrl_suite.avalonbench.beliefs import Belief
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.cheap_talk.policies import ClaimPolicy, claim_distribution, mix_in
from jaxrl_suite.avalonbench.driver import play
from jaxrl_suite.avalonbench.game_records import GameRecorder, Turn
from jaxrl_suite.avalonbench.information_sets import conditional, information_sets
from jaxrl_suite.avalonbench.observation_models import ObservationModel, Proposal, Quest, Vote
from jaxrl_suite.avalonbench.player import BotPlayer
from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.roles import ASSASSIN, SERVANT
from jaxrl_suite.envs.avalon.state import QUEST, TEAM, VOTE
from jaxrl_suite.envs.rules import has_bit
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.tree_search import split_rows

LOSS_FLOOR = 1e-3  # least probability that a log loss counts, so that one mistaken certainty does not decide a mean


class Deduction(NamedTuple):
    """Measures of the players' beliefs about each other."""

    accuracy: jax.Array  # float32[], of the Servants' judgements on sides, their own seats included
    log_loss: jax.Array  # float32[], of the Servants' beliefs on sides, nats a seat
    merlin_found: jax.Array  # float32[], the Assassin's belief in the true Merlin


class Talked(NamedTuple):
    """Games of bots, at each phase; entries count where `asked`."""

    asked: jax.Array  # bool[B, T], the players have just talked, before a proposal
    silent: Deduction  # float32[B, T], with the public events alone
    talked: Deduction  # float32[B, T], with the claims too


def claim_probabilities(game: Avalon, policy: ClaimPolicy, weights: jax.Array, speaker: jax.Array | int) -> jax.Array:
    """float32[K, C]: how likely the claims of `speaker` are under each assignment.

    Args:
      game: with a Servant in it.
      policy: how each role talks.
      weights: float32[K], the public belief, which decides what the speaker believes.
      speaker: int32[], a seat.
    """
    if SERVANT not in game.roles:
        raise UserError("players who hide speak as a Servant would: choose roles with at least one")
    table, sets = tables(game), information_sets(game)
    seats = jnp.arange(game.num_players)
    evil = has_bit(jnp.asarray(table.evil)[:, None], seats[None]).astype(jnp.float32)
    suspicion = conditional(jnp.asarray(sets.member)[speaker], weights, evil)  # [I, P]
    roles = jnp.asarray(sets.role)[speaker]
    own = jax.vmap(claim_distribution, (None, 0, 0, None))(policy, jnp.maximum(roles, 0), suspicion, speaker)
    servant = jnp.argmax(roles == SERVANT)  # the one information set of a Servant in this seat
    mixed = jax.vmap(mix_in, (None, 0, 0, None))(policy, jnp.maximum(roles, 0), own, own[servant])
    return mixed[jnp.asarray(sets.index)[speaker]]


def hear(game: Avalon, policy: ClaimPolicy, belief: Belief, speaker: jax.Array | int, claim: jax.Array | int) -> Belief:
    """The public belief after `claim`, for listeners who take the speaker to talk by `policy`.

    Where all assignments make the claim equally likely, the belief stays what it was, bit for bit.
    """
    likelihood = jnp.log(claim_probabilities(game, policy, beliefs.posterior(belief), speaker)[:, claim])
    top = jnp.max(jnp.where(jnp.isfinite(belief.log_weight.high), likelihood, -jnp.inf))
    relative = jnp.where(jnp.isfinite(top), likelihood - top, 0.0)
    return belief._replace(log_weight=log_pair.add(belief.log_weight, log_pair.single(relative)))


def in_the_eyes_of(game: Avalon, belief: Belief, roles: jax.Array, viewer: jax.Array | int) -> jax.Array:
    """float32[K]: the posterior of `viewer`, the public one restricted to what it was told.

    Args:
      game: the rules.
      belief: the public one.
      roles: int32[P], the true roles; only what the viewer was told of them is used.
      viewer: int32[], a seat.
    """
    weights = jnp.where(possible(game, roles, viewer), beliefs.posterior(belief), 0.0)
    total = jnp.sum(weights)
    return weights / jnp.where(total > 0, total, 1.0)


def talk(
    game: Avalon,
    speaking: ClaimPolicy,
    hearing: ClaimPolicy,
    belief: Belief,
    roles: jax.Array,
    leader: jax.Array,
    key: jax.Array,
) -> tuple[Belief, jax.Array]:
    """Everybody makes a claim, in turn from the leader on.

    Args:
      game: the rules.
      speaking: how the players talk.
      hearing: how they take each other to talk; the same, unless somebody deviates.
      belief: the public one, before.
      roles: int32[P], the true roles.
      leader: int32[], who speaks first.
      key: consumed.

    Returns:
      The public belief after the claims, and the claims int32[P] by seat.
    """
    truth = index_of(game, roles)

    def turn(index, carry):
        belief, claims = carry
        speaker = (leader + index) % game.num_players
        chances = claim_probabilities(game, speaking, beliefs.posterior(belief), speaker)[truth]
        claim = jax.random.categorical(jax.random.fold_in(key, index), jnp.log(chances)).astype(jnp.int32)
        return hear(game, hearing, belief, speaker, claim), claims.at[speaker].set(claim)

    return jax.lax.fori_loop(0, game.num_players, turn, (belief, jnp.zeros(game.num_players, jnp.int32)))


def deduction(game: Avalon, belief: Belief, roles: jax.Array) -> Deduction:
    """Quality of the beliefs of those who know nothing about the players of one game, and Merlin by the Assassin."""
    seats = jnp.arange(game.num_players)
    posteriors = jax.vmap(lambda viewer: in_the_eyes_of(game, belief, roles, viewer))(seats)
    good = jax.vmap(lambda chances: beliefs.p_good(game, chances))(posteriors)
    everyone = jnp.broadcast_to(roles, (game.num_players, game.num_players))
    servant = (roles == SERVANT) / jnp.sum(roles == SERVANT)
    assassin = jnp.argmax(roles == ASSASSIN)
    merlin = beliefs.p_merlin(game, posteriors[assassin])
    return Deduction(
        jnp.sum(servant * belief_metrics.deduction_accuracy(good, everyone)),
        jnp.sum(servant * belief_metrics.log_loss(good, everyone, LOSS_FLOOR)),
        belief_metrics.merlin_probability(merlin, roles),
    )


def play_and_talk(
    bots: Bots,
    model: ObservationModel,
    speaking: ClaimPolicy,
    hearing: ClaimPolicy,
    keys: jax.Array,
    num_phases: int = 30,
    scrambled: jax.Array | bool = False,
) -> Talked:
    """One game a key between bots, who do not listen; what players come to believe with and without the talk.

    Args:
      bots: of all seats.
      model: how listeners read proposals, votes and quests.
      speaking: how the players talk.
      hearing: how they take each other to talk.
      keys: key[B], consumed.
      num_phases: T; proposals, votes and quests that are played at most.
      scrambled: bool[], a negative control, in which the players talk about another deal than the one they play.
    """
    game, count = bots.game, len(keys)
    deal_keys, play_keys, talk_keys = split_rows(keys, 3)
    first = jax.vmap(game.init)(deal_keys)

    def phase(key, index, before, actions, after, silent, heard):
        other = game.init(jax.random.fold_in(key, num_phases)).roles
        asked = before.phase == TEAM
        told = jnp.where(scrambled, other, before.roles)
        fresh, _ = talk(game, speaking, hearing, heard, told, before.leader, jax.random.fold_in(key, index))
        heard = _choose(asked, fresh, heard)
        entry = Talked(asked, deduction(game, silent, before.roles), deduction(game, heard, before.roles))
        silent, heard = (_learn(game, model, belief, before, after, actions) for belief in (silent, heard))
        return entry, silent, heard

    def add(record: tuple[Talked, Belief, Belief], turn: Turn) -> tuple[Talked, Belief, Belief]:
        talked, *believed = record
        entry, *learned = jax.vmap(phase)(talk_keys, turn.index, turn.before, turn.actions, turn.after, *believed)
        at = jnp.where(turn.played, turn.index, num_phases)
        talked = jax.tree.map(lambda old, new: old.at[turn.game, at].set(new, mode="drop"), talked, entry)
        silent, heard = (jax.vmap(_choose)(turn.played, *both) for both in zip(learned, believed, strict=True))
        return talked, silent, heard

    belief = jax.vmap(lambda state: beliefs.prior(game, state.roles, OUTSIDER, model))(first)
    nothing = Deduction(*[jnp.zeros((count, num_phases))] * len(Deduction._fields))
    recorder = GameRecorder((Talked(jnp.zeros((count, num_phases), bool), nothing, nothing), belief, belief), add)
    seats = [BotPlayer(bots)] * game.num_players
    games = play(
        game, seats, keys, states=first, fresh=True, streams=[play_keys], recorder=recorder, max_turns=num_phases
    )
    return games.record[0]


def _learn(
    game: Avalon, model: ObservationModel, belief: Belief, before: AvalonState, after: AvalonState, action: jax.Array
) -> Belief:
    """The public belief after the phase between two states."""
    seats = jnp.arange(game.num_players)
    votes = jnp.sum(jnp.where(action > 0, 1 << seats, 0), dtype=jnp.int32)
    fails = (after.fail_votes >> (4 * before.quest)) & 15
    steps = (
        (TEAM, beliefs.update_proposal(game, model, belief, Proposal(before.quest, before.leader, after.team))),
        (VOTE, beliefs.update_vote(game, model, belief, Vote(before.quest, before.team, votes))),
        (QUEST, beliefs.update_quest(game, model, belief, Quest(before.quest, before.team, fails))),
    )
    learned = belief
    for phase, updated in steps:
        learned = _choose((before.phase == phase) & ~before.terminated, updated, learned)
    return learned


def _choose(condition: jax.Array, yes: Belief, no: Belief) -> Belief:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
