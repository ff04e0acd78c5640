"""The exact posterior over who is who: a log-weight for every assignment, updated with every public event.

    belief = prior(game, roles, viewer, model)
    belief = update_proposal(game, model, belief, Proposal(quest, leader, team))
    belief = update_vote(game, model, belief, Vote(quest, team, votes))
    belief = update_quest(game, model, belief, Quest(quest, team, fails))
    good = p_good(game, posterior(belief))

`from_history` does the same for all events of a game at once, `from_state` for the state that a game is in. All are
pure and can be jitted and vmapped, over viewers too; `game` and `model` are static.

Shapes: `K` assignments, `P` players, H proposals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench import log_pair
from jaxrl_suite.avalonbench.assignments import possible, tables
from jaxrl_suite.avalonbench.log_pair import LogPair
from jaxrl_suite.avalonbench.observation_models import ObservationModel, Proposal, Quest, Vote
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import MAX_PROPOSALS, NUM_QUESTS, seats_to_mask
from jaxrl_suite.envs.avalon.state import VOTE, AvalonState
from jaxrl_suite.errors import UserError


class Belief(NamedTuple):
    """Not normalised: its sum is the evidence, the probability of the events so far in the viewer's eyes."""

    log_weight: LogPair  # float32[K] each
    memory: Any  # what the observation model remembers


class History(NamedTuple):
    """The public events of one game."""

    quest: jax.Array | np.ndarray  # int32[H], of each proposal
    leader: jax.Array | np.ndarray  # int32[H]
    team: jax.Array | np.ndarray  # int32[H], bit mask
    votes: jax.Array | np.ndarray  # int32[H], bit mask of the seats that approved
    accepted: jax.Array | np.ndarray  # bool[H]
    num_proposals: jax.Array | np.ndarray  # int32[], how many of the H there are
    num_votes: jax.Array | np.ndarray  # int32[], how many of them were voted on: all, or all but the last
    fails: jax.Array | np.ndarray  # int32[5], fails on each quest, -1 where it was not played


def prior(game: Avalon, roles: jax.Array, viewer: jax.Array | int, model: ObservationModel) -> Belief:
    """A uniform distribution over the assignments that `viewer` considers possible at the start.

    Args:
      game: its `rules` say what each role is shown.
      roles: int32[P], the true roles; only what the viewer was told of them is used.
      viewer: int32[], a seat, or -1 for an outsider who knows nothing.
      model: only its memory is set up here.
    """
    allowed = possible(game, roles, viewer)
    by_count = log_pair.constant(-np.log(np.maximum(np.arange(len(allowed) + 1), 1.0)))
    each = log_pair.take(by_count, jnp.sum(allowed, dtype=jnp.int32))
    return Belief(
        LogPair(jnp.where(allowed, each.high, -jnp.inf), jnp.where(allowed, each.low, 0.0)),
        model.init(game),
    )


def update_proposal(game: Avalon, model: ObservationModel, belief: Belief, event: Proposal) -> Belief:
    """The belief after a leader named a team."""
    likelihood = model.proposal(game, belief.memory, event)
    return belief._replace(log_weight=log_pair.add(belief.log_weight, likelihood))


def update_vote(game: Avalon, model: ObservationModel, belief: Belief, event: Vote) -> Belief:
    """The belief after the votes on a team were shown."""
    likelihood = model.vote(game, belief.memory, event)
    return belief._replace(log_weight=log_pair.add(belief.log_weight, likelihood))


def update_quest(game: Avalon, model: ObservationModel, belief: Belief, event: Quest) -> Belief:
    """The belief after the fails on a quest were shown."""
    likelihood = model.quest(game, belief.memory, event)
    return Belief(log_pair.add(belief.log_weight, likelihood), model.update(game, belief.memory, event))


def from_history(
    game: Avalon, history: History, roles: jax.Array, viewer: jax.Array | int, model: ObservationModel
) -> Belief:
    """The belief after all events of `history`, the same as one update after the other.

    Args:
      game: the rules.
      history: the events.
      roles: int32[P], the true roles; only what the viewer was told of them is used.
      viewer: int32[], a seat, or -1 for an outsider.
      model: how likely each event is.
    """
    history = History(*(jnp.asarray(field) for field in history))

    def turn(index: jax.Array, belief: Belief) -> Belief:
        quest, team = history.quest[index], history.team[index]
        belief = update_proposal(game, model, belief, Proposal(quest, history.leader[index], team))
        voted = update_vote(game, model, belief, Vote(quest, team, history.votes[index]))
        belief = _choose(index < history.num_votes, voted, belief)
        played = history.accepted[index] & (index < history.num_votes) & (history.fails[quest] >= 0)
        done = update_quest(game, model, belief, Quest(quest, team, jnp.maximum(history.fails[quest], 0)))
        return _choose(played, done, belief)

    return jax.lax.fori_loop(0, history.num_proposals, turn, prior(game, roles, viewer, model))


def from_state(game: Avalon, state: AvalonState, viewer: jax.Array | int, model: ObservationModel) -> Belief:
    """The belief of `viewer` in the middle of a game, or at its end, from its public history and what it was told."""
    return from_history(game, history_of(game, state), state.roles, viewer, model)


def history_of(game: Avalon, state: AvalonState) -> History:
    """The public events of a game so far, a proposal that is still to be voted on among them."""
    pending = (state.phase == VOTE) & ~state.terminated
    here = pending & (jnp.arange(MAX_PROPOSALS) == state.num_proposals)
    results = state.results
    return History(
        quest=jnp.where(here, state.quest, state.proposal_quest),
        leader=jnp.where(here, (state.leader - 1) % game.num_players, state.proposal_leader),
        team=jnp.where(here, state.team, state.proposal_team),
        votes=state.proposal_votes,
        accepted=state.proposal_accepted,
        num_proposals=state.num_proposals + pending,
        num_votes=state.num_proposals,
        fails=jnp.where(results >= 0, state.fails, -1),
    )


def history_from_events(events: Sequence[Mapping[str, Any]]) -> History:
    """A history from the event records of the reference data, on the host.

    Args:
      events: in order; `propose_vote` with quest, leader, team (seats), votes (0 or 1 a seat) and accepted, or
        `quest` with quest and num_fails.

    Raises:
      UserError: if an event is of another type or there are more proposals than a game can have.
    """
    columns = {name: np.zeros(MAX_PROPOSALS, np.int32) for name in ("quest", "leader", "team", "votes", "accepted")}
    fails, count = np.full(NUM_QUESTS, -1, np.int32), 0
    for event in events:
        if event["type"] == "quest":
            fails[event["quest"]] = event["num_fails"]
            continue
        if event["type"] != "propose_vote":
            raise UserError(f"an event is of type propose_vote or quest, got {event['type']!r}")
        if count == MAX_PROPOSALS:
            raise UserError(f"a game has at most {MAX_PROPOSALS} proposals; give the events of one game only")
        record = dict(event, team=seats_to_mask(event["team"]), votes=seats_to_mask(np.flatnonzero(event["votes"])))
        for name, column in columns.items():
            column[count] = record[name]
        count += 1
    columns["accepted"] = columns["accepted"].astype(bool)
    return History(**columns, num_proposals=np.array(count, np.int32), num_votes=np.array(count, np.int32), fails=fails)


def posterior(belief: Belief) -> jax.Array:
    """float32[K]: probabilities; all 0 if the events are impossible in the viewer's eyes under the model."""
    weights, _ = log_pair.relative(belief.log_weight)
    total = jnp.sum(weights)
    return weights / jnp.where(total > 0, total, 1.0)


def log_evidence(belief: Belief) -> LogPair:
    """The log-probability of the events, the mean over the assignments that were possible at the start.

    Its parts added in float64 give it to about 1e-7; a probability below 1e-38 has no float32.
    """
    return log_pair.log_sum(belief.log_weight)


def p_good(game: Avalon, probabilities: jax.Array) -> jax.Array:
    """float32[P]: the probability that each player is good, from `posterior` float32[K]."""
    return _marginal(game, probabilities, ~tables(game).evil)


def p_merlin(game: Avalon, probabilities: jax.Array) -> jax.Array:
    """float32[P]: the probability that each player is Merlin."""
    return _marginal(game, probabilities, tables(game).merlin)


def p_assassin(game: Avalon, probabilities: jax.Array) -> jax.Array:
    """float32[P]: the probability that each player is the Assassin."""
    return _marginal(game, probabilities, tables(game).assassin)


def p_role(game: Avalon, probabilities: jax.Array) -> jax.Array:
    """float32[P, 8]: the probability of each role id on each seat."""
    held = tables(game).roles[:, :, None] == np.arange(8)
    return jnp.einsum("k,kpr->pr", probabilities, held.astype(np.float32), precision=jax.lax.Precision.HIGHEST)


def tilt(
    game: Avalon,
    belief: Belief,
    good: jax.Array,
    merlin: jax.Array,
    scale_good: jax.Array | float = 1.0,
    scale_merlin: jax.Array | float = 1.0,
) -> Belief:
    """Evidence about single players, from what was said for instance, applied to the joint distribution.

    The weight of an assignment is multiplied by the exponential of `scale_good` times the sum of `good` over its good
    seats, plus `scale_merlin` times `merlin` on Merlin's seat. The number of holders of each role stays what it is,
    and so does what the viewer knew for certain.

    Args:
      game: the rules.
      belief: before.
      good: float32[P], evidence that each player is good; negative if it speaks against it.
      merlin: float32[P], evidence that each player is Merlin.
      scale_good: weight of the first kind of evidence, in units of log-odds.
      scale_merlin: weight of the second kind.
    """
    roles = tables(game)
    is_good = _bits(~roles.evil, game.num_players)
    is_merlin = _bits(roles.merlin, game.num_players)
    evidence = jnp.stack([jnp.asarray(good) * scale_good, jnp.asarray(merlin) * scale_merlin])
    score = jnp.einsum("skp,sp->k", np.stack([is_good, is_merlin]), evidence, precision=jax.lax.Precision.HIGHEST)
    return belief._replace(log_weight=log_pair.add(belief.log_weight, log_pair.single(score)))


def _marginal(game: Avalon, probabilities: jax.Array, masks: np.ndarray) -> jax.Array:
    return jnp.matmul(probabilities, _bits(masks, game.num_players), precision=jax.lax.Precision.HIGHEST)


def _bits(masks: np.ndarray, num_players: int) -> np.ndarray:
    """float32[K, P]: the bit masks spelled out."""
    return (masks[:, None] >> np.arange(num_players) & 1).astype(np.float32)


def _choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
