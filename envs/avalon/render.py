"""Pictures of Avalon: a table as text or SVG, and a whole game as SVG. On the host, from concrete states.

The SVG takes its colours from the page (`currentColor`), so that it reads on light and on dark. Sides are told apart by
shape as well as by colour: good is round, evil is square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import GOOD_ROLES, NUM_QUESTS, ROLE_NAMES, mask_to_seats
from jaxrl_suite.envs.avalon.state import ASSASSINATION, NO_TARGET, QUEST, TEAM, VOTE, AvalonState

_GOOD, _EVIL, _OPEN = "#3b82c4", "#d9782d", "currentColor"  # told apart by colour-blind readers, on light and on dark
_SIDE_COLOURS = {1: _GOOD, 0: _EVIL, -1: _OPEN}


def text(game: Avalon, state: AvalonState, player: int | None = None) -> str:
    """A few lines: what happens now, the quests, and a line for each player.

    Args:
      game: the rules.
      state: a concrete state.
      player: who looks; others' roles are then hidden, as far as it does not know them. By default all is shown.
    """
    state = jax.device_get(state)
    names, _ = _labels(game, state, player)
    lines = [f"Avalon, {game.num_players} players: {_now(game, state)}", "  quests  " + "  ".join(_quests(game, state))]
    last = _last_votes(state)
    for seat, name in enumerate(names):
        vote = "" if last is None else ("  approved" if last >> seat & 1 else "  rejected")
        marks = f"{_mark(game, state, seat):1}{'*' if int(state.team) >> seat & 1 else ' '}"
        lines.append(f"  {marks} player {seat}  {name:<16}{vote}".rstrip())
    return "\n".join(lines)


def svg(game: Avalon, state: AvalonState, player: int | None = None) -> str:
    """The round table: players by side, the leader (L), the team (ringed), the last votes, and the five quests.

    Args:
      game: the rules.
      state: a concrete state.
      player: who looks; others' roles are then hidden, as far as it does not know them. By default all is shown.
    """
    state = jax.device_get(state)
    names, sides = _labels(game, state, player)
    last, radius, middle = _last_votes(state), 128, (240, 192)
    parts = [f'<circle cx="{middle[0]}" cy="{middle[1]}" r="80" fill="none" stroke="currentColor" opacity="0.35"/>']
    parts += [_quest(game, state, quest, middle[0] + 30 * (quest - 2), middle[1]) for quest in range(NUM_QUESTS)]
    for seat, name in enumerate(names):
        angle = 2 * math.pi * seat / game.num_players - math.pi / 2
        x, y = middle[0] + 1.25 * radius * math.cos(angle), middle[1] + radius * math.sin(angle)
        parts.append(_seat(x, y, str(seat), sides[seat], ringed=int(state.team) >> seat & 1 == 1))
        parts.append(_words(x, y + 34, name, bold=seat == player))
        parts.append(_words(x - 34, y + 5, _mark(game, state, seat), bold=True))
        if last is not None:
            parts.append(_vote(x + 34, y, last >> seat & 1 == 1))
    parts.append(_words(240, 388, _now(game, state)))
    viewer = "" if player is None else f", seen by player {player}"
    return _page(480, 400, parts, f"Avalon, {game.num_players} players{viewer}: {_now(game, state)}")


def svg_game(game: Avalon, state: AvalonState, player: int | None = None) -> str:
    """A whole game, or what has been of it: a row for each proposal.

    A row shows the leader (L), the team (ringed), everybody's vote (filled: approved; empty: rejected), and, if the
    team was accepted, how its quest ended.

    Args:
      game: the rules.
      state: a concrete state, usually the last; it holds the history.
      player: who looks, as for `svg`.
    """
    state = jax.device_get(state)
    names, sides = _labels(game, state, player)
    step, top, left, row_height = max(70, 8 * max(len(name) for name in names)), 74, 96, 30
    parts = []
    for seat, name in enumerate(names):
        x = left + step * (seat + 0.5)
        parts += [_seat(x, 22, str(seat), sides[seat], ringed=False), _words(x, 54, name, bold=seat == player)]
    count, quest_before = int(state.num_proposals), -1
    for row in range(count):
        word = int(state.proposals[row])
        team, votes, leader, quest, accepted = (
            word & 1023,
            word >> 10 & 1023,
            word >> 20 & 15,
            word >> 24 & 7,
            word >> 27,
        )
        y = top + row_height * (row + 0.5)
        if quest != quest_before:
            line_y = y - row_height / 2
            parts.append(
                f'<path d="M8 {line_y}H{left + step * game.num_players + 150}" stroke="currentColor" opacity="0.3"/>'
            )
            parts.append(_words(8, y + 4, f"quest {quest + 1}", anchor="start"))
            quest_before = quest
        for seat in range(game.num_players):
            x = left + step * (seat + 0.5)
            if team >> seat & 1:
                parts.append(f'<circle cx="{x}" cy="{y}" r="12" fill="none" stroke="currentColor" stroke-width="1.5"/>')
            parts.append(_vote(x, y, votes >> seat & 1 == 1))
            if seat == leader:
                parts.append(_words(x - 22, y + 5, "L", bold=True))
        x = left + step * game.num_players + 12
        parts.append(_words(x, y + 4, f"{votes.bit_count()} of {game.num_players}", anchor="start"))
        if accepted and (int(state.won) | int(state.lost)) >> quest & 1:
            parts.append(_quest(game, state, quest, x + 68, y))
            fails = int(state.fail_votes) >> (4 * quest) & 15
            parts.append(_words(x + 86, y + 4, f"{fails} fail{'' if fails == 1 else 's'}", anchor="start"))
    height = top + row_height * count + 34
    parts.append(_words(8, height - 12, _now(game, state), anchor="start"))
    return _page(left + step * game.num_players + 160, height, parts, f"Avalon: {_now(game, state)}")


def _labels(game: Avalon, state: AvalonState, player: int | None) -> tuple[list[str], list[int]]:
    """Labels of the seats, and each one's side as far as it is known: 1 good, 0 evil, -1 unknown."""
    roles = np.asarray(state.roles)
    names = [ROLE_NAMES[role].capitalize() for role in roles]
    if player is None:
        return names, [int(role in GOOD_ROLES) for role in roles]
    sides = np.asarray(game.knowledge(state))[player].tolist()
    candidates = mask_to_seats(game.merlin_candidates(state, player))
    for seat in range(game.num_players):
        if seat in candidates:
            names[seat] = "Merlin?"
        elif seat != player:
            names[seat] = {1: "good", 0: "evil", -1: "?"}[sides[seat]]
    return names, sides


def _now(game: Avalon, state: AvalonState) -> str:
    team = ", ".join(map(str, mask_to_seats(state.team)))
    if state.terminated:
        target = int(state.target)
        if target != NO_TARGET:
            return f"the Assassin names player {target}; {'good' if state.good_victory else 'evil'} wins"
        lost = int(state.lost).bit_count()
        return "evil wins with three failed quests" if lost == 3 else "evil wins with five rejected proposals"
    if int(state.phase) == TEAM:
        return (
            f"player {int(state.leader)} chooses {game.team_sizes[int(state.quest)]} for quest {int(state.quest) + 1}"
        )
    if int(state.phase) == QUEST:
        return f"players {team} are on quest {int(state.quest) + 1}"
    if int(state.phase) == ASSASSINATION:
        return "the Assassin chooses a player"
    return f"all vote on players {team} for quest {int(state.quest) + 1}"


def _quests(game: Avalon, state: AvalonState) -> list[str]:
    """For each quest its size and result: `2+`, `3-`, `2`, and `4*` if two fails are needed."""
    marks = []
    for quest in range(NUM_QUESTS):
        result = "+" if int(state.won) >> quest & 1 else "-" if int(state.lost) >> quest & 1 else ""
        marks.append(f"{game.team_sizes[quest]}{'*' if game.fails_needed[quest] == 2 else ''}{result}")
    return marks


def _mark(game: Avalon, state: AvalonState, seat: int) -> str:
    """L for the player whose proposal is being made, voted on or carried out, † for the one that the Assassin named."""
    if state.terminated or int(state.phase) == ASSASSINATION:
        return "†" if seat == int(state.target) else ""
    moved_on = int(state.phase) != TEAM  # the state names the next leader from the proposal on
    return "L" if seat == (int(state.leader) - moved_on) % game.num_players else ""


def _last_votes(state: AvalonState) -> int | None:
    count = int(state.num_proposals)
    hidden = count == 0 or (int(state.phase) == VOTE and not state.terminated)  # those of the proposal before
    return None if hidden else int(state.proposals[count - 1]) >> 10 & 1023


def _seat(x: float, y: float, label: str, side: int, *, ringed: bool) -> str:
    colour, ink = _SIDE_COLOURS[side], "currentColor" if side < 0 else "#ffffff"
    fill = "none" if side < 0 else colour
    corner = 3 if side == 0 else 16
    ring = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="23" fill="none" stroke="currentColor" stroke-width="2"/>'
        if ringed
        else ""
    )
    return (
        f'{ring}<rect x="{x - 16:.1f}" y="{y - 16:.1f}" width="32" height="32" rx="{corner}" fill="{fill}" '
        f'stroke="{colour}" stroke-width="1.5"/>' + _words(x, y + 5, label, ink=ink, bold=True)
    )


def _vote(x: float, y: float, approved: bool) -> str:
    fill = "currentColor" if approved else "none"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="currentColor" stroke-width="1.5"/>'


def _quest(game: Avalon, state: AvalonState, quest: int, x: float, y: float) -> str:
    result = 1 if int(state.won) >> quest & 1 else 0 if int(state.lost) >> quest & 1 else -1
    label = f"{game.team_sizes[quest]}{'*' if game.fails_needed[quest] == 2 else ''}"
    colour, ink = _SIDE_COLOURS[result], "currentColor" if result < 0 else "#ffffff"
    fill = "none" if result < 0 else colour
    return (
        f'<rect x="{x - 12:.1f}" y="{y - 12:.1f}" width="24" height="24" rx="{2 if result == 0 else 12}" fill="{fill}" '
        f'stroke="{colour}" stroke-width="1.5"/>' + _words(x, y + 4, label, ink=ink)
    )


def _words(x: float, y: float, words: str, *, anchor: str = "middle", bold: bool = False, ink: str = _OPEN) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="{ink}"{weight}>{words}</text>'


def _page(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{title}</title>{"".join(parts)}</svg>'
    )
