"""States of GOPS as int32 keys, and back.

A key stands for a state just before a prize is drawn (a "chance state"): the hands, the prizes still to come, the
points carried and the difference of points. With m possible prizes it stands for m decision states, in which the prize
is revealed.

Shapes: `S` chance states, `m` prizes that may be drawn next (k, or 1 in descending order), `k` cards left in a hand,
`N` cards, `C` sets of k cards.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.gops.game import Gops, GopsState
from jaxrl_suite.errors import UserError

Detail = Literal["points", "win_loss", "history"]


@dataclasses.dataclass(frozen=True)
class StateSpace:
    """The states of a game that are told apart, and how they are packed.

    Args:
      game: the rules.
      detail: what a key holds beside hands, prizes and the carried points. `points`: nothing, as differences of points
        add up. `win_loss`: the difference of points, and no states in which the winner is already decided. `history`:
        the scores of both players, decided or not, which is all that a policy can depend on; under `discard` the
        points discarded stand where the carried ones would.

    Raises:
      UserError: if the keys do not fit into an int32.
    """

    game: Gops
    detail: Detail

    def __post_init__(self):
        if self.bases[-1] >= 2**31:
            raise UserError(
                f"the states of GOPS with {self.game.num_cards} cards do not fit into int32 keys; use fewer cards, "
                "descending prizes or objective='points'"
            )

    @property
    def total(self) -> int:
        """Points in the game."""
        return self.game.num_cards * (self.game.num_cards + 1) // 2

    @property
    def carry_size(self) -> int:
        return self.total + 1 if self.game.tie == "carry" or self.detail == "history" else 1

    @property
    def diff_size(self) -> int:
        return 1 if self.detail == "points" else 2 * self.total + 1

    def num_hands(self, k: int) -> int:
        return math.comb(self.game.num_cards, k)

    def num_decks(self, k: int) -> int:
        return self.num_hands(k) if self.game.prize_order == "random" else 1

    def num_prizes(self, k: int) -> int:
        return k if self.game.prize_order == "random" else 1

    @functools.cached_property
    def bases(self) -> tuple[int, ...]:
        """The first key of the states with k cards left, by k from 0 to N + 1; there are none with k = 0."""
        sizes = [
            self.num_hands(k) ** 2 * self.num_decks(k) * self.carry_size * self.diff_size
            for k in range(1, self.game.num_cards + 1)
        ]
        return (0, *itertools.accumulate(sizes, initial=0))

    def pack(self, hand0: Any, hand1: Any, deck: Any, carry: Any, diff: Any, num_hands: Any, num_decks: Any) -> Any:
        """The key above the base of k, from the ranks of both hands and of the deck among the sets of k cards.

        All may be integers or integer arrays that broadcast, of numpy or of JAX.
        """
        key = ((hand0 * num_hands + hand1) * num_decks + deck) * self.carry_size + carry
        return key * self.diff_size + (0 if self.detail == "points" else diff + self.total)

    def unpack(self, k: int, keys: np.ndarray) -> tuple[np.ndarray, ...]:
        """Ranks of both hands and of the deck, carry and difference, each int32[S], of keys with k cards left."""
        rest, diff = np.divmod(keys - self.bases[k], self.diff_size)
        rest, carry = np.divmod(rest, self.carry_size)
        rest, deck = np.divmod(rest, self.num_decks(k))
        hand0, hand1 = np.divmod(rest, self.num_hands(k))
        return hand0, hand1, deck, carry, diff - (0 if self.detail == "points" else self.total)


class Subsets(NamedTuple):
    """The sets of k of the cards 0 to N - 1, in the order of their bit masks."""

    masks: np.ndarray  # int32[C]
    cards: np.ndarray  # int32[k, C], ascending
    without: np.ndarray  # int32[k, C], rank among the sets of k - 1 cards once `cards` is taken out
    points: np.ndarray  # int32[C], sum of card + 1


@functools.lru_cache
def subset_ranks(num_cards: int) -> np.ndarray:
    """int32[2^N]: the rank of each bit mask among the masks with equally many bits."""
    sizes = np.bitwise_count(np.arange(1 << num_cards))
    ranks = np.zeros(1 << num_cards, np.int32)
    for k in range(num_cards + 1):
        ranks[sizes == k] = np.arange(math.comb(num_cards, k))
    return ranks


@functools.lru_cache
def subsets(num_cards: int, k: int) -> Subsets:
    masks = np.arange(1 << num_cards, dtype=np.int32)
    masks = masks[np.bitwise_count(masks) == k]
    held = (masks[:, None] >> np.arange(num_cards)) & 1
    cards = np.nonzero(held)[1].reshape(-1, k).T.astype(np.int32)
    without = subset_ranks(num_cards)[masks & ~(1 << cards)]
    return Subsets(masks, cards, without, cards.sum(0, dtype=np.int32) + k)


def state_key(space: StateSpace, state: GopsState) -> tuple[int, int]:
    """The number of cards left and the key of the chance state that `state` is, or that its prize was drawn in.

    Raises:
      UserError: if the state is over or cannot be one of the game.
    """
    game = space.game
    hand0, hand1 = np.asarray(state.hands).tolist()
    score0, score1 = np.asarray(state.score).tolist()
    carry, deck = int(state.carry), int(state.deck) | ((1 << int(state.prize)) >> 1)
    k = hand0.bit_count()
    left = sum(card + 1 for card in range(game.num_cards) if deck >> card & 1)
    unclaimed = space.total - left - score0 - score1  # carried or discarded
    carries, exact = game.tie == "carry", space.detail == "history"
    demands = {
        "hands and prizes to come must hold equally many cards, at least one": 0
        < k
        == hand1.bit_count()
        == deck.bit_count(),
        f"cards must be 1 to {game.num_cards}": max(hand0, hand1, deck) < 1 << game.num_cards,
        "descending prizes to come must be the smallest ones": game.prize_order == "random" or deck == (1 << k) - 1,
        f"the carry must be 0 to {space.total}, and 0 if ties are discarded": 0 <= carry <= space.total * carries,
        f"the scores must differ by at most {space.total}": abs(score0 - score1) <= space.total,
        "scores, carry and prizes must add up": not exact or unclaimed == carry or (not carries and unclaimed >= 0),
    }
    for demand, met in demands.items():
        if not met:
            raise UserError(f"no state of {game} to play on from: {demand}; got {state}")
    ranks = subset_ranks(game.num_cards).tolist()
    deck_rank = ranks[deck] if game.prize_order == "random" else 0
    held = unclaimed if exact else carry
    sizes = space.num_hands(k), space.num_decks(k)
    return k, space.bases[k] + space.pack(ranks[hand0], ranks[hand1], deck_rank, held, score0 - score1, *sizes)


def decision_states(space: StateSpace, k: int, keys: np.ndarray) -> GopsState:
    """The decision states of chance states `keys` int32[S] with k cards left, batched: [S * m], prizes ascending.

    Under detail `history` the scores are those of the state; otherwise they only have its difference.
    """
    game = space.game
    hand0, hand1, deck, carry, diff = space.unpack(k, keys)
    hands = subsets(game.num_cards, k)
    if game.prize_order == "random":
        masks, left, drawn = hands.masks[deck], hands.points[deck], hands.cards[:, deck].T
    else:
        masks = np.full(len(keys), (1 << k) - 1, np.int32)
        left, drawn = k * (k + 1) // 2, np.full((len(keys), 1), k - 1, np.int32)
    claimed = space.total - left - carry
    score = np.stack([claimed + diff, claimed - diff], axis=-1) // 2

    def by_prize(x):
        return jnp.asarray(np.repeat(x, drawn.shape[1], axis=0), jnp.int32)

    return GopsState(
        hands=by_prize(np.stack([hands.masks[hand0], hands.masks[hand1]], axis=-1)),
        deck=jnp.asarray((masks[:, None] & ~(1 << drawn)).ravel(), jnp.int32),
        prize=jnp.asarray(drawn.ravel() + 1, jnp.int32),
        carry=by_prize(carry if game.tie == "carry" else np.zeros_like(carry)),
        score=by_prize(score),
        reward=jnp.zeros((drawn.size, 2), jnp.float32),
        terminated=jnp.zeros(drawn.size, bool),
        truncated=jnp.zeros(drawn.size, bool),
    )


def state_from_cards(
    game: Gops,
    hand0: list[int],
    hand1: list[int],
    prize: int,
    carry: int,
    prizes_remaining: list[int],
    score_diff: int,
) -> GopsState:
    """A state in the middle of a game, from lists of cards.

    Args:
      game: the rules.
      hand0: cards player 0 holds, of 1 to N.
      hand1: cards player 1 holds; equally many.
      prize: the prize that is bid for, or 0 if it is still to be drawn.
      carry: points carried from tied rounds; 0 where ties are discarded.
      prizes_remaining: prizes not yet revealed, without `prize`.
      score_diff: player 0's points less player 1's.

    Returns:
      The state. Its scores are the largest ones with that difference that the prizes played allow.

    Raises:
      UserError: if the arguments describe no state of the game.
    """

    def mask(cards):
        if len(set(cards)) != len(cards) or not all(1 <= card <= game.num_cards for card in cards):
            raise UserError(f"cards must be different numbers of 1 to {game.num_cards}, got {cards}")
        return sum(1 << (card - 1) for card in cards)

    prizes = [*prizes_remaining, prize] if prize else prizes_remaining
    mask(prizes)  # `prize` must not be among the others
    space = StateSpace(game, "points")
    played = space.total - sum(prizes) - carry
    claimed = max(played - (played - score_diff) % 2, abs(score_diff))
    state = GopsState(
        hands=jnp.array([mask(hand0), mask(hand1)], jnp.int32),
        deck=jnp.int32(mask(prizes_remaining)),
        prize=jnp.int32(prize),
        carry=jnp.int32(carry),
        score=jnp.array([(claimed + score_diff) // 2, (claimed - score_diff) // 2], jnp.int32),
        reward=jnp.zeros(2, jnp.float32),
        terminated=jnp.bool_(False),
        truncated=jnp.bool_(False),
    )
    state_key(space, state)
    return state
