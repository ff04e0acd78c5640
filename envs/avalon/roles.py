"""The tables of Avalon: players, teams, roles, who sees whom. On the host; the bit masks also work on JAX arrays.

Shapes: `P` players (seats), `K` assignments of roles to seats, `A` teams of the largest choice.

Reference: Eskridge, "The Resistance: Avalon" (2012), rule book; role ids as in Light et al., "AvalonBench"
(arXiv 2310.05036).
"""

from __future__ import annotations

import difflib
import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxrl_suite.errors import UserError

MIN_PLAYERS, MAX_PLAYERS = 5, 10
NUM_QUESTS = 5
MAX_ROUNDS = 5  # proposals for one quest
MAX_PROPOSALS = NUM_QUESTS * MAX_ROUNDS
QUESTS_TO_WIN = 3

ROLE_NAMES = ("merlin", "percival", "morgana", "mordred", "oberon", "servant", "minion", "assassin")
MERLIN, PERCIVAL, MORGANA, MORDRED, OBERON, SERVANT, MINION, ASSASSIN = range(8)
GOOD_ROLES = (MERLIN, PERCIVAL, SERVANT)
EVIL_ROLES = (MORGANA, MORDRED, OBERON, MINION, ASSASSIN)
OPTIONAL_ROLES = ("merlin", "percival", "morgana", "mordred", "oberon")  # the Assassin is in every game

NUM_EVIL = {5: 2, 6: 2, 7: 3, 8: 3, 9: 3, 10: 4}
TEAM_SIZES = {
    5: (2, 3, 2, 3, 3),
    6: (2, 3, 4, 3, 4),
    7: (2, 3, 3, 4, 4),
    8: (3, 4, 4, 5, 5),
    9: (3, 4, 4, 5, 5),
    10: (3, 4, 4, 5, 5),
}
FAILS_NEEDED = {players: (1, 1, 1, 2 if players >= 7 else 1, 1) for players in TEAM_SIZES}

PRESETS: dict[str, tuple[str, ...]] = {
    "base": ("merlin",),
    "percival": ("merlin", "percival"),
    "percival_morgana": ("merlin", "percival", "morgana"),
    "mordred": ("merlin", "mordred"),
    "oberon": ("merlin", "oberon"),
    "percival_morgana_mordred": ("merlin", "percival", "morgana", "mordred"),
    "percival_morgana_oberon": ("merlin", "percival", "morgana", "oberon"),
    "all": ("merlin", "percival", "morgana", "mordred", "oberon"),
    "no_merlin": (),
}
"""Optional roles by the names that are usual for them; Assassin, Minions and Servants fill the other seats."""


def role_set(num_players: int, special: Iterable[str] = ("merlin", "assassin")) -> tuple[int, ...]:
    """The roles of a game, ascending: the special ones, and Servants and Minions on the seats that are left.

    Args:
      num_players: P, 5 to 10.
      special: names of the roles that are in play once each; the Assassin must be one of them.

    Returns:
      P role ids.

    Raises:
      UserError: if the number of players is impossible, a role unknown or twice there, the Assassin missing, or there
        are more special evil roles than evil seats.
    """
    check_players(num_players)
    names = tuple(special)
    for name in names:
        if name not in ROLE_NAMES:
            close = difflib.get_close_matches(str(name), ROLE_NAMES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the roles are {', '.join(ROLE_NAMES)}"
            raise UserError(f"no role is called {name!r}; {hint}")
    if {"servant", "minion"} & set(names):
        raise UserError("servant and minion fill the seats that are left; name only the special roles")
    if len(set(names)) < len(names):
        raise UserError(f"each special role is there at most once, got {', '.join(names)}")
    if "assassin" not in names:
        raise UserError(f"every game has an Assassin; add 'assassin' to {', '.join(names) or 'the roles'}")
    ids = [ROLE_NAMES.index(name) for name in names]
    evil = [role for role in ids if role in EVIL_ROLES]
    good = [role for role in ids if role in GOOD_ROLES]
    seats = NUM_EVIL[num_players]
    if len(evil) > seats:
        most = "no other evil role" if seats == 1 else f"at most {seats - 1} of morgana, mordred, oberon"
        raise UserError(
            f"{num_players} players have {seats} evil seats, but {len(evil)} evil roles are named "
            f"({', '.join(ROLE_NAMES[role] for role in sorted(evil))}); beside the Assassin take {most}"
        )
    servants = num_players - seats - len(good)
    return tuple(sorted([*good, *evil, *[SERVANT] * servants, *[MINION] * (seats - len(evil))]))


def special_roles(roles: Sequence[int | str]) -> tuple[str, ...]:
    """The names of the special roles in a complete deal, given one role id or name for each seat.

    Raises:
      UserError: if no game has just these roles; the message says what would be valid.
    """
    names = []
    for role in roles:
        known = role in ROLE_NAMES if isinstance(role, str) else 0 <= role < len(ROLE_NAMES)
        if not known:
            listed = ", ".join(f"{index} {name}" for index, name in enumerate(ROLE_NAMES))
            raise UserError(f"{role!r} is no role; the roles are {listed}")
        names.append(role if isinstance(role, str) else ROLE_NAMES[role])
    special = tuple(name for name in names if name not in ("servant", "minion"))
    expected = Counter(ROLE_NAMES[role] for role in role_set(len(names), special))
    if expected != Counter(names):
        wanted = ", ".join(f"{count} {name}" for name, count in expected.items())
        raise UserError(f"{len(names)} players with these special roles must be {wanted}; got {', '.join(names)}")
    return special


def check_players(num_players: int) -> None:
    """Refuses a number of players for which there are no rules, with a UserError."""
    if num_players not in TEAM_SIZES:
        raise UserError(f"num_players must be {MIN_PLAYERS} to {MAX_PLAYERS}, got {num_players!r}")


@functools.lru_cache(maxsize=64)
def assignments(roles: tuple[int, ...]) -> np.ndarray:
    """int8[K, P], read-only: every distinct assignment of the multiset `roles` to seats, in lexicographic order."""
    counts = tuple(sorted(Counter(roles).items()))

    @functools.cache
    def arrange(counts: tuple[tuple[int, int], ...]) -> np.ndarray:
        if not counts:
            return np.zeros((1, 0), np.int8)
        blocks = []
        for index, (role, count) in enumerate(counts):
            left = counts[:index] + (((role, count - 1),) if count > 1 else ()) + counts[index + 1 :]
            rest = arrange(left)
            blocks.append(np.concatenate([np.full((len(rest), 1), role, np.int8), rest], axis=1))
        return np.concatenate(blocks)

    table = arrange(counts)
    table.setflags(write=False)
    return table


@functools.lru_cache(maxsize=16)
def team_table(num_players: int) -> np.ndarray:
    """int32[5, A], read-only: row q lists the teams of quest q as bit masks.

    Teams are in the lexicographic order of their ascending seats, (0, 1), (0, 2), ...; rows are filled up with 0.
    """
    sizes = TEAM_SIZES[num_players]
    table = np.zeros((NUM_QUESTS, max(math.comb(num_players, size) for size in sizes)), np.int32)
    for quest, size in enumerate(sizes):
        for index, team in enumerate(itertools.combinations(range(num_players), size)):
            table[quest, index] = seats_to_mask(team)
    table.setflags(write=False)
    return table


def seats_to_mask(seats: Iterable[int]) -> int:
    """The bit mask of a set of seats."""
    return sum(1 << int(seat) for seat in set(seats))


def mask_to_seats(mask: Any) -> list[int]:
    """The seats in a concrete bit mask, ascending."""
    return [seat for seat in range(MAX_PLAYERS) if int(mask) >> seat & 1]


# A deal in one int32: bit `seat` of plane k (k = 0, 1, 2; ten bits each) is bit k of the role id on that seat. Sets of
# seats by role or side are then a few bit operations on scalars, which a batch of games runs in vector registers.


def encode_roles(roles: Any) -> Any:
    """int32[]: the deal of `roles` int[..., P], NumPy or JAX."""
    deal = roles[..., 0] * 0
    for seat in range(roles.shape[-1]):
        for plane in range(3):
            deal = deal | (((roles[..., seat] >> plane) & 1) << (plane * MAX_PLAYERS + seat))
    return deal


def seats_of(deal: Any, role: int, num_players: int) -> Any:
    """Bit mask of the seats that hold `role`."""
    mask = (1 << num_players) - 1
    for plane in range(3):
        bits = deal >> (plane * MAX_PLAYERS)
        mask = mask & (bits if role >> plane & 1 else ~bits)
    return mask


def evil_seats(deal: Any, num_players: int) -> Any:
    """Bit mask of the evil seats: role ids 2, 3, 6 and 7 have bit 1 set, and Oberon is 4."""
    low, middle, high = deal, deal >> MAX_PLAYERS, deal >> 2 * MAX_PLAYERS
    return (middle | (high & ~low)) & ((1 << num_players) - 1)


def role_at(deal: Any, seat: Any) -> Any:
    """The role id on `seat`."""
    bits = deal >> seat
    return (bits & 1) | (bits >> (MAX_PLAYERS - 1) & 2) | (bits >> (2 * MAX_PLAYERS - 2) & 4)


# Knowledge. What a role is told splits the other seats into those pointed out to it and the rest, and nothing more: so
# a player's information on roles is exactly "these roles, in any order, on these seats", twice.


def pointed_out(role: int, roles: Sequence[int], rules: str) -> tuple[int, ...]:
    """The roles, of those in play, whose holders are pointed out to the holder of `role`, as one unordered set."""
    if rules == "avalonbench":
        shown = EVIL_ROLES if role == MERLIN or role in EVIL_ROLES else ()
    elif role == MERLIN:
        shown = tuple(other for other in EVIL_ROLES if other != MORDRED)
    elif role == PERCIVAL:
        shown = (MERLIN, MORGANA)
    elif role in EVIL_ROLES and role != OBERON:
        shown = tuple(other for other in EVIL_ROLES if other != OBERON)
    else:
        shown = ()
    return tuple(sorted(set(shown) & set(roles)))


def known_sides(role: int, roles: Sequence[int], rules: str) -> tuple[int, int]:
    """The sides that the holder of `role` knows, of (the seats pointed out, the rest): 1 good, 0 evil, -1 unknown."""
    others = Counter(roles)
    others[role] -= 1
    shown = pointed_out(role, roles, rules)

    def side(group: list[int]) -> int:
        sides = {int(other in GOOD_ROLES) for other in group if others[other] > 0}
        return sides.pop() if len(sides) == 1 else -1

    return side([other for other in others if other in shown]), side([other for other in others if other not in shown])
