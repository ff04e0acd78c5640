"""The reachable states of GOPS, numbered: what backward induction runs over and what tables are looked up by.

The host lists the chance states (see `keys`) from the first to the last round. A bit set with counts numbers them,
so that a look-up is two gathers, on the host as on a device.

Shapes: `S` chance states, `m` prizes that may be drawn next, `k` cards left in a hand, `W` words of the bit set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.gops.game import Gops, GopsState
from jaxrl_suite.envs.rules import popcount
from jaxrl_suite.search.gops.keys import Detail, StateSpace, state_key, subset_ranks, subsets

_SUCCESSORS = 1 << 20  # held at a time on the host, in some ten arrays


class StateIndex(NamedTuple):
    """The numbers of keys: state `i` has the i-th smallest key. Arrays of numpy or of JAX."""

    words: Any  # uint32[W], bit b of word w is set if key 32 w + b is that of a state
    before: Any  # int32[W], states in earlier words

    def find(self, key: Any) -> tuple[Any, Any]:
        """The number of `key` int32[...] and whether there is such a state; without one the number is meaningless."""
        xp, count = (np, np.bitwise_count) if isinstance(self.words, np.ndarray) else (jnp, jax.lax.population_count)
        word, bit = key >> 5, (key & 31).astype(xp.uint32)
        bits = self.words[word]
        lower = bits & ((xp.uint32(1) << bit) - xp.uint32(1))
        return self.before[word] + count(lower).astype(xp.int32), (bits >> bit) & xp.uint32(1) == 1


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """The reachable states of a game, by cards left, on the host."""

    space: StateSpace
    keys: tuple[np.ndarray, ...]  # by k from 0 to N: int32[S], ascending; keys[0] is empty
    index: StateIndex

    @property
    def counts(self) -> tuple[int, ...]:
        """S by k from 0 to N."""
        return tuple(map(len, self.keys))


def enumerate_states(game: Gops, detail: Detail, root: GopsState | None = None) -> Layout:
    """All states that can be reached from `root`, the start of the game by default.

    Raises:
      UserError: if the keys of the game do not fit into an int32, or the root is over or no state of the game.
    """
    space = StateSpace(game, detail)
    start, key = state_key(space, game.start() if root is None else root)
    keys = [np.zeros(0, np.int32)] * (game.num_cards + 1)
    keys[start] = np.array([key], np.int32)
    for k in range(start, 1, -1):
        base = space.bases[k - 1]
        reached = np.zeros(space.bases[k] - base, bool)
        for part in slices(space, k, len(keys[k])):
            after = successors(space, k, keys[k][part])
            wanted = after.keys[~after.decided] if detail == "win_loss" else after.keys
            reached[wanted.ravel() - base] = True
        keys[k - 1] = (np.flatnonzero(reached) + base).astype(np.int32)
    words = np.zeros(space.bases[-1] // 32 + 1, np.uint32)
    for layer in keys:
        np.bitwise_or.at(words, layer >> 5, np.uint32(1) << (layer & 31).astype(np.uint32))
    counts = np.bitwise_count(words).astype(np.int32)
    return Layout(space, tuple(keys), StateIndex(words, np.cumsum(counts, dtype=np.int32) - counts))


def slices(space: StateSpace, k: int, count: int, decisions: int | None = None) -> Iterator[slice]:
    """Cuts `count` chance states into parts of at most `decisions` decision states, or with few enough successors."""
    m = space.num_prizes(k)
    size = max(1, decisions // m if decisions else _SUCCESSORS // (k * k * m))
    return (slice(i, min(i + size, count)) for i in range(0, count, size))


class Successors(NamedTuple):
    """Successors of bids of the i-th and j-th card held when the c-th prize is drawn: [k, k, m, S], by i, j, c."""

    gain: np.ndarray  # int32, points won by player 0, negative if by player 1
    diff: np.ndarray  # int32, difference of points afterwards
    decided: np.ndarray  # bool, whether `diff` is more than can still be won
    keys: np.ndarray  # int32, of the next chance state; meaningless at the end of the game


def successors(space: StateSpace, k: int, keys: np.ndarray) -> Successors:
    """Successors of chance states `keys` int32[S] with k cards left."""
    game = space.game
    hand0, hand1, deck, carry, diff = space.unpack(k, keys)
    hands = subsets(game.num_cards, k)
    if game.prize_order == "random":
        prize, deck_after = hands.cards[:, deck] + 1, hands.without[:, deck]
        left = hands.points[deck] - prize
    else:
        prize, deck_after = np.full((1, len(keys)), k, np.int32), np.zeros((1, len(keys)), np.int32)
        left = np.full((1, len(keys)), k * (k - 1) // 2, np.int32)
    pot = prize + carry if game.tie == "carry" else prize  # [m, S]
    bid0, bid1 = hands.cards[:, hand0][:, None, None], hands.cards[:, hand1][None, :, None]
    tied_pot = pot * (bid0 == bid1)
    gain = pot * np.sign(bid0 - bid1)
    if game.tie == "carry":
        carry, left = tied_pot, left + tied_pot
    elif space.detail == "history":
        carry = carry + tied_pot
    keys = space.bases[k - 1] + space.pack(
        hands.without[:, hand0][:, None, None],
        hands.without[:, hand1][None, :, None],
        deck_after,
        carry,
        diff + gain,
        space.num_hands(k - 1),
        space.num_decks(k - 1),
    )
    return Successors(gain, diff + gain, np.abs(diff + gain) > left, keys)


def state_number(space: StateSpace, index: StateIndex, state: GopsState) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Looks a state up on the device; it can be jitted and vmapped.

    Args:
      space: the states told apart; detail `points` or `win_loss`.
      index: of a layout of that space.
      state: any state, before or after its prize is revealed.

    Returns:
      The number of its chance state int32[], the position of its prize among those that might have been drawn
      int32[] (0 if none is revealed), and bool[] whether the layout holds the state.
    """
    n = space.game.num_cards
    k = popcount(state.hands[0], n)
    shown = jnp.where(state.prize > 0, 1 << jnp.maximum(state.prize - 1, 0), 0)
    deck = state.deck | shown
    ranks = jnp.asarray(subset_ranks(n))
    by_size = np.array([[space.num_hands(i), space.num_decks(i), space.bases[i]] for i in range(n + 1)], np.int32)
    num_hands, num_decks, base = jnp.asarray(by_size)[k]
    random = space.game.prize_order == "random"
    carry = state.carry if space.carry_size > 1 else jnp.zeros_like(state.carry)
    diff = state.score[0] - state.score[1]
    hand0, hand1 = ranks[state.hands]
    key = base + space.pack(hand0, hand1, ranks[deck] if random else 0, carry, diff, num_hands, num_decks)
    fits = (k > 0) & (popcount(state.hands[1], n) == k) & (popcount(deck, n) == k)
    fits &= (carry >= 0) & (carry < space.carry_size)
    if space.detail != "points":
        fits &= jnp.abs(diff) <= space.total
    if not random:
        fits &= deck == (1 << k) - 1
    number, found = index.find(jnp.where(fits, key, 0))
    position = popcount(deck & (jnp.maximum(shown, 1) - 1), n) if random else jnp.zeros_like(number)
    return number, position, fits & found
