"""A game of Avalon in words for a language model: the rules, what all know, and what one player knows.

On the host, from concrete states. Nothing hidden from a player gets into its text: permuting the roles that it cannot
tell apart leaves every word as it is.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import NUM_QUESTS, ROLE_NAMES, mask_to_seats
from jaxrl_suite.envs.avalon.state import ASSASSINATION, QUEST, TEAM, VOTE, AvalonState
from jaxrl_suite.llm.parsing import fill

PROMPTS = "jaxrl_suite.avalonbench.dialogue"  # the package whose prompts are filled in


def rules_text(game: Avalon) -> str:
    """The rules in words, with the roles that are in the game."""
    counts = collections.Counter(ROLE_NAMES[role].capitalize() for role in game.roles)
    roles = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items())
    return fill(PROMPTS, "rules", players=str(game.num_players), last=str(game.num_players - 1), roles=roles)


def public_text(game: Avalon, state: AvalonState) -> str:
    """Quests, votes on every team so far, and what happens now."""
    state = jax.device_get(state)
    lines = [f"Quest {quest + 1}: {_result(game, state, quest)}" for quest in range(NUM_QUESTS)]
    for number in range(int(state.num_proposals)):
        team, votes = int(state.proposal_team[number]), int(state.proposal_votes[number])
        verdict = "accepted" if bool(state.proposal_accepted[number]) else "rejected"
        lines.append(
            f"Proposal {number + 1}, for quest {int(state.proposal_quest[number]) + 1}: player "
            f"{int(state.proposal_leader[number])} named {players(mask_to_seats(team))}; approved by "
            f"{players(mask_to_seats(votes))}; {verdict}"
        )
    return "\n".join([*lines, _now(game, state)])


def private_text(game: Avalon, state: AvalonState, seat: int) -> str:
    """Role of the player on `seat`, and what the rules told it of the others."""
    state = jax.device_get(state)
    sides, merlin = (np.asarray(part) for part in _told(game, state, jnp.int32(seat)))
    lines = [f"You are player {seat}. Your role is {ROLE_NAMES[int(state.roles[seat])].capitalize()}."]
    for side, word in ((0, "evil"), (1, "good")):
        known = [other for other in np.flatnonzero(sides == side).tolist() if other != seat]
        if known:
            lines.append(f"You know to be {word}: {players(known)}.")
    candidates = mask_to_seats(int(merlin))
    if candidates:
        lines.append(f"One of these is Merlin, the other, if there is one, Morgana: {players(candidates)}.")
    if len(lines) == 1:
        lines.append("You know nothing of the others' sides.")
    return "\n".join(lines)


@functools.partial(jax.jit, static_argnums=0)
def _told(game: Avalon, state: AvalonState, seat: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The private knowledge of `seat`: int32[P] sides, and a mask of those of whom one is Merlin."""
    return game.knowledge(state)[seat], game.merlin_candidates(state, seat)


def dialogue_text(dialogue: Iterable[tuple[int, str]]) -> str:
    """The dialogue so far, a line for each speech."""
    lines = [f"Player {seat}: {_one_line(speech) or '(says nothing)'}" for seat, speech in dialogue]
    return "\n".join(lines) if lines else "(nothing yet)"


def players(seats: Iterable[int]) -> str:
    """The seats as words, like "players 0 and 3"."""
    names = [str(seat) for seat in seats]
    if not names:
        return "nobody"
    if len(names) == 1:
        return f"player {names[0]}"
    return f"players {', '.join(names[:-1])} and {names[-1]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _result(game: Avalon, state: AvalonState, quest: int) -> str:
    size, needed = game.team_sizes[quest], game.fails_needed[quest]
    result = int(state.results[quest])
    if result < 0:
        return f"team of {size}, not played" + (f", fails with {needed} fail votes" if needed > 1 else "")
    return f"{'succeeded' if result else 'failed'} with {int(state.fails[quest])} of {size} votes to fail"


def _now(game: Avalon, state: AvalonState) -> str:
    if bool(state.terminated):
        return f"The game is over: {'good' if bool(state.good_victory) else 'evil'} has won."
    quest, phase = int(state.quest), int(state.phase)
    if phase == TEAM:
        return (
            f"Now: player {int(state.leader)} is the leader and will propose {game.team_sizes[quest]} players for "
            f"quest {quest + 1}; proposals for it that were rejected: {int(state.round)}."
        )
    team = players(mask_to_seats(state.team))
    if phase == VOTE:
        leader = (int(state.leader) - 1) % game.num_players
        return f"Now: all vote on {team} for quest {quest + 1}, proposed by player {leader}."
    if phase == QUEST:
        return f"Now: {team} decide on quest {quest + 1}."
    assert phase == ASSASSINATION
    return "Now: the Assassin names a player."
