"""Constant tables for the naive bots: sets of teams and sets of evil sides, as bit sets in 32-bit words.

The teams of one size are numbered as the game's actions are; the sets of evil seats lexicographically. Tables are
flat, so that one look-up with one computed index finds a word.

Shapes: `P` players, `T` teams, `E` sets of evil seats, W and V words for sets of those two, L distinct team sizes.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from jaxrl_suite.envs.avalon import roles as avalon_roles

LEVELS = 3  # fails needed on a quest are at most 2
MAX_TABLED_SIDES = 15  # with so many sets of evil seats (5 and 6 players), every set of them has a row in `preferred`


class BotTables(NamedTuple):
    """Tables of int32; the first axis, where there is one, is the word."""

    slot_of_quest: int  # the size of each quest's team, as an index below L; 4 bits a quest
    team_words: int  # W
    side_words: int  # V
    teams: np.ndarray  # [L * T], bit masks of seats, 0 where there is none
    index: np.ndarray  # [L * 2^P], the number of a team given its bit mask
    every: np.ndarray  # [W, L], all teams of a size
    containing: np.ndarray  # [W, L * P], those that a seat is in
    exactly: np.ndarray  # [W, LEVELS * L * 2^P], those with 0, 1 or 2 members in a set of seats
    supersets: np.ndarray  # [W, L * 2^P], those that contain a set of seats
    sides: np.ndarray  # [E], bit masks of evil seats
    without: np.ndarray  # [V, P], the sides in which a seat is good
    at_least: np.ndarray  # [V, (P + 1) * 2^P], those with 0 to P members in a set of seats
    clean_sides: np.ndarray  # [L, T, V], those without a member in a team
    preferred: np.ndarray  # [L * 2^E] with few sides: the teams that are all good in most of a set of them; else empty
    first_preferred: np.ndarray  # [W, P], those of a Servant before the first quest


@functools.lru_cache(maxsize=8)
def bot_tables(num_players: int) -> BotTables:
    """The tables for a number of players; they depend on nothing else."""
    sizes = avalon_roles.TEAM_SIZES[num_players]
    slots = sorted(set(sizes))
    seats, masks = np.arange(num_players), np.arange(1 << num_players)
    sides = np.array(
        [sum(1 << s for s in c) for c in itertools.combinations(range(num_players), avalon_roles.NUM_EVIL[num_players])]
    )
    width = max(math.comb(num_players, size) for size in slots)
    rows = np.zeros((len(slots), width), np.int64)
    for slot, size in enumerate(slots):
        row = avalon_roles.team_table(num_players)[sizes.index(size)]
        rows[slot, : np.count_nonzero(row)] = row[row > 0]
    real = rows > 0  # [L, T]
    members = np.bitwise_count(rows[:, None, :] & masks[None, :, None])  # [L, 2^P, T]
    size_of = np.bitwise_count(masks)[None, :, None]
    exactly = np.stack([(members == level) & real[:, None] for level in range(LEVELS)])
    evil_in = np.bitwise_count(sides[None] & masks[:, None])  # [2^P, E]
    disjoint = (rows[:, :, None] & sides[None, None]) == 0  # [L, T, E]
    good = (sides[None] >> seats[:, None] & 1) == 0  # [P, E]
    few = len(sides) <= MAX_TABLED_SIDES
    supports = (np.arange(1 << len(sides))[:, None] >> np.arange(len(sides)) & 1) if few else np.zeros((0, len(sides)))
    index = np.zeros((len(slots), 1 << num_players), np.int32)
    for slot in range(len(slots)):
        index[slot, rows[slot][real[slot]]] = np.arange(width)[real[slot]]
    tables = BotTables(
        slot_of_quest=sum(slots.index(size) << (4 * quest) for quest, size in enumerate(sizes)),
        team_words=-(-width // 32),
        side_words=-(-len(sides) // 32),
        teams=rows.ravel().astype(np.int32),
        index=index.ravel(),
        every=_by_word(real),
        containing=_by_word((rows[:, None, :] >> seats[None, :, None] & 1) == 1),
        exactly=_by_word(exactly),
        supersets=_by_word((members == size_of) & real[:, None]),
        sides=sides.astype(np.int32),
        without=_by_word(good),
        at_least=_by_word(np.stack([evil_in >= count for count in range(num_players + 1)])),
        clean_sides=_words(disjoint & real[:, :, None]),
        preferred=_words(best_teams(supports, disjoint, real)).ravel() if few else np.zeros(0, np.int32),
        first_preferred=_by_word(best_teams(good, disjoint, real)[slots.index(sizes[0])]),
    )
    for table in tables:
        if isinstance(table, np.ndarray):
            table.setflags(write=False)
    return tables


def best_teams(supports: np.ndarray, disjoint: np.ndarray, real: np.ndarray) -> np.ndarray:
    """bool[L, S, T]: for each of S sets of sides, the teams that have no evil member in the greatest number of them."""
    counts = np.einsum("se,lte->lst", supports.astype(np.float32), disjoint.astype(np.float32))
    counts = np.where(real[:, None], counts, -1)
    return counts == counts.max(-1, keepdims=True, initial=0)


def _words(sets: np.ndarray) -> np.ndarray:
    """int32[..., W] from bool[..., T]: element t is bit t % 32 of word t // 32."""
    width = sets.shape[-1]
    padded = np.zeros((*sets.shape[:-1], -(-width // 32) * 32), np.uint64)
    padded[..., :width] = sets
    words = (padded.reshape(*sets.shape[:-1], -1, 32) << np.arange(32, dtype=np.uint64)).sum(-1)
    return words.astype(np.uint32).view(np.int32)


def _by_word(sets: np.ndarray) -> np.ndarray:
    """int32[W, N] from bool[..., T]: all axes but the last made one, the words in front."""
    words = _words(sets)
    return np.ascontiguousarray(words.reshape(-1, words.shape[-1]).T)
