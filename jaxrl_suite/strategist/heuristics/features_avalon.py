"""Features of Avalon, for log-odds that good wins: seen with the roles that a search assumes.

Some tell much about who will win, some tell nothing, and some mislead: a search over strategies has to find out which.
None depends on how seats are numbered, but for `leader_in_even_seat`. Sources are cut out and pasted into the text of
strategies, so each function stands alone.

Shapes: `P` players, Q = 5 quests, H proposals.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.strategist.heuristics.features import FeatureLibrary
from jaxrl_suite.strategist.heuristics.views import AvalonView


def avalon_library(game: Avalon) -> FeatureLibrary:
    """The features of Avalon. The seed counts quests won and lost."""
    return FeatureLibrary(
        game,
        functions=(
            base_rate,
            quests_won,
            quests_lost,
            one_quest_from_winning,
            one_quest_from_losing,
            evil_on_team,
            clean_team,
            clean_quest,
            spoiled_quest,
            evil_leader_next,
            rejected_proposals,
            last_proposal,
            fails_seen,
            evil_exposed,
            good_suspected,
            evil_unseen,
            merlin_votes_right,
            good_votes_right,
            merlin_stands_out,
            evil_votes_right,
            assassination_open,
            merlin_on_team,
            team_size,
            leader_in_even_seat,
            proposals_made,
        ),
        seed=(("quests_won", 1.0), ("quests_lost", -1.0)),
        values=(
            "good_wins = nn.sigmoid(total)",
            "values = jnp.where(view.evil > 0, 1.0 - good_wins, good_wins)",
        ),
        of_total=win_chances,
    )


def win_chances(total: jax.Array, view: AvalonView) -> jax.Array:
    """float32[P]: each player's chance of winning, where good wins with log-odds `total`."""
    good_wins = jax.nn.sigmoid(total)
    return jnp.where(view.evil > 0, 1.0 - good_wins, good_wins)


def base_rate(view):
    """Always 1: how the game stands before anything has happened."""
    return jnp.ones(())


def quests_won(view):
    """Number of quests that succeeded."""
    return jnp.sum(view.won)


def quests_lost(view):
    """Number of quests that failed."""
    return jnp.sum(view.lost)


def one_quest_from_winning(view):
    """1 where one more success leads to the assassination."""
    return jnp.where(jnp.sum(view.won) == 2, 1.0, 0.0)


def one_quest_from_losing(view):
    """1 where one more failure wins the game for evil."""
    return jnp.where(jnp.sum(view.lost) == 2, 1.0, 0.0)


def evil_on_team(view):
    """Number of evil players on the team voted on or on the quest."""
    return jnp.sum(view.team * view.evil)


def clean_team(view):
    """1 where a team without evil is voted on."""
    clean = (jnp.sum(view.team * view.evil) == 0) & (view.phase[1] > 0)
    return jnp.where(clean, 1.0, 0.0)


def clean_quest(view):
    """1 where a team without evil is on the quest, so that it is bound to succeed."""
    clean = (jnp.sum(view.team * view.evil) == 0) & (view.phase[2] > 0)
    return jnp.where(clean, 1.0, 0.0)


def spoiled_quest(view):
    """1 where as many evil players are on the quest as fails are needed."""
    here = jnp.arange(5) == view.quest
    spoiled = jnp.sum(view.team * view.evil) >= jnp.sum(view.fails_needed * here)
    return jnp.where(spoiled & (view.phase[2] > 0), 1.0, 0.0)


def evil_leader_next(view):
    """1 where an evil player proposes next, unless a quest is on."""
    return jnp.sum(view.leader * view.evil) * (1.0 - view.phase[2] - view.phase[3])


def rejected_proposals(view):
    """Proposals that were rejected for this quest."""
    return view.round


def last_proposal(view):
    """1 where the team that is voted on is the fifth proposal for the quest."""
    return jnp.where((view.round == 4) & (view.phase[1] > 0), 1.0, 0.0)


def fails_seen(view):
    """Number of fail votes so far: each tells the good players something."""
    return jnp.sum(view.fails)


def evil_exposed(view):
    """Share of the evil players who were on a quest that failed."""
    on_failed = jnp.max(view.quest_teams * view.lost[:, None], axis=0)
    return jnp.sum(on_failed * view.evil) / jnp.sum(view.evil)


def good_suspected(view):
    """Share of the good players who were on a quest that failed."""
    on_failed = jnp.max(view.quest_teams * view.lost[:, None], axis=0)
    good = 1.0 - view.evil
    return jnp.sum(on_failed * good) / jnp.sum(good)


def evil_unseen(view):
    """Number of evil players who were on a quest that succeeded, and on none that failed."""
    on_failed = jnp.max(view.quest_teams * view.lost[:, None], axis=0)
    on_won = jnp.max(view.quest_teams * view.won[:, None], axis=0)
    return jnp.sum(on_won * (1.0 - on_failed) * view.evil)


def merlin_votes_right(view):
    """Share of the votes in which Merlin approved a team without evil or rejected one with it; 0 before any vote."""
    clean = (jnp.sum(view.proposals * view.evil[None], axis=1) == 0) & (view.voted > 0)
    right = view.approvals * clean[:, None] + (1.0 - view.approvals) * ((view.voted > 0) & ~clean)[:, None]
    return jnp.sum(right * view.merlin[None]) / jnp.maximum(jnp.sum(view.voted), 1.0)


def good_votes_right(view):
    """The same share over all good players but Merlin."""
    clean = (jnp.sum(view.proposals * view.evil[None], axis=1) == 0) & (view.voted > 0)
    right = view.approvals * clean[:, None] + (1.0 - view.approvals) * ((view.voted > 0) & ~clean)[:, None]
    others = 1.0 - view.evil - view.merlin
    return jnp.sum(right * others[None]) / jnp.maximum(jnp.sum(view.voted) * jnp.sum(others), 1.0)


def merlin_stands_out(view):
    """How much more often Merlin's votes were right than those of the other good players: what gives Merlin away."""
    clean = (jnp.sum(view.proposals * view.evil[None], axis=1) == 0) & (view.voted > 0)
    right = view.approvals * clean[:, None] + (1.0 - view.approvals) * ((view.voted > 0) & ~clean)[:, None]
    others = 1.0 - view.evil - view.merlin
    share = jnp.sum(right, axis=0) / jnp.maximum(jnp.sum(view.voted), 1.0)
    return jnp.sum(share * view.merlin) - jnp.sum(share * others) / jnp.maximum(jnp.sum(others), 1.0)


def evil_votes_right(view):
    """Share of the votes in which evil players voted as a good player should; 0 before any vote."""
    clean = (jnp.sum(view.proposals * view.evil[None], axis=1) == 0) & (view.voted > 0)
    right = view.approvals * clean[:, None] + (1.0 - view.approvals) * ((view.voted > 0) & ~clean)[:, None]
    return jnp.sum(right * view.evil[None]) / jnp.maximum(jnp.sum(view.voted) * jnp.sum(view.evil), 1.0)


def assassination_open(view):
    """1 in the assassination: good has three quests, and Merlin may still be found."""
    return view.phase[3]


def merlin_on_team(view):
    """1 where Merlin is on the team voted on or on the quest."""
    return jnp.sum(view.team * view.merlin)


def team_size(view):
    """Number of players on the team voted on or on the quest."""
    return jnp.sum(view.team)


def leader_in_even_seat(view):
    """1 where the next leader sits on an even seat."""
    seats = jnp.arange(view.leader.shape[0])
    return jnp.sum(view.leader * (seats % 2 == 0))


def proposals_made(view):
    """Number of proposals voted on so far, in fives."""
    return jnp.sum(view.voted) / 5.0
