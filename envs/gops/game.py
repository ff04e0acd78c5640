"""GOPS, the Game of Pure Strategy (Goofspiel): two players bid cards for prizes that are revealed one at a time.

Rules as pure functions on a small state of bit masks; batching, auto-reset and rendering live elsewhere.

Shapes: `P` = 2 players, `N` cards, `A` = N actions (action `a` bids card `a + 1`), `C` = N chance outcomes (outcome `c`
reveals prize `c + 1`).

Reference: Ross, "Goofspiel, the game of pure strategy", Journal of Applied Probability 8 (1971). Ties: `carry` as in
Light et al., "Strategist" (arXiv 2408.10635); `discard` as in OpenSpiel.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.rules import has_bit, lowest_bit, nth_bit, popcount, refuse, top_bit
from jaxrl_suite.errors import UserError

MIN_CARDS, MAX_CARDS = 2, 13


class GopsState(NamedTuple):
    """One game. All of it is public: only the two bids of the current round are hidden, and they are made at once."""

    hands: jax.Array  # int32[P], bit mask: bit c is set while card c + 1 is held
    deck: jax.Array  # int32[], bit mask of the prizes that are still face down
    prize: jax.Array  # int32[], the prize bid for, 1 to N; 0 before it is revealed and after the end
    carry: jax.Array  # int32[], points of tied rounds that go to the next winner
    score: jax.Array  # int32[P], points won
    reward: jax.Array  # float32[P], received on the last step
    terminated: jax.Array  # bool[]
    truncated: jax.Array  # bool[], always False


@dataclasses.dataclass(frozen=True)
class Gops:
    """The game's rules.

    The higher bid takes the pot (the prize and what was carried); both bids are discarded. Points that are still
    carried after the last round go to nobody.

    Args:
      num_cards: N, 2 to 13; hands and prizes are the cards 1 to N.
      tie: after equal bids the pot is added to the next prize (`carry`) or nobody gets it (`discard`).
      objective: the reward at the end is +1, 0 or -1 (`win_loss`), or the difference of points (`points`).
      prize_order: prizes are drawn at `random` without replacement, or come in `descending` order.

    Raises:
      UserError: if an argument is out of range.
    """

    num_cards: int = 6
    tie: Literal["carry", "discard"] = "carry"
    objective: Literal["win_loss", "points"] = "win_loss"
    prize_order: Literal["random", "descending"] = "random"

    def __post_init__(self):
        if not MIN_CARDS <= self.num_cards <= MAX_CARDS:
            raise UserError(f"num_cards must be {MIN_CARDS} to {MAX_CARDS}, got {self.num_cards}")
        for name, allowed in (
            ("tie", ("carry", "discard")),
            ("objective", ("win_loss", "points")),
            ("prize_order", ("random", "descending")),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    @property
    def num_players(self) -> int:
        return 2

    @property
    def num_actions(self) -> int:
        return self.num_cards

    @property
    def num_chance_outcomes(self) -> int:
        return self.num_cards

    @property
    def max_turns(self) -> int:
        """Joint moves in a game."""
        return self.num_cards

    def start(self) -> GopsState:
        """Full hands, no prize revealed."""
        full = (1 << self.num_cards) - 1
        state = GopsState(
            hands=jnp.full((2,), full, jnp.int32),
            deck=jnp.int32(full),
            prize=jnp.int32(0),
            carry=jnp.int32(0),
            score=jnp.zeros((2,), jnp.int32),
            reward=jnp.zeros((2,), jnp.float32),
            terminated=jnp.bool_(False),
            truncated=jnp.bool_(False),
        )
        return self._reveal_if_certain(state)

    def init(self, key: jax.Array) -> GopsState:
        """The first round, its prize revealed. `key` is consumed."""
        return self._draw(self.start(), key)

    def legal(self, state: GopsState) -> jax.Array:
        """bool[P, A]: the cards each player may bid; all False while a prize is to be drawn and after the end."""
        held = has_bit(state.hands[:, None], jnp.arange(self.num_cards)[None])
        return held & (state.prize > 0)

    def apply(self, state: GopsState, action: jax.Array) -> GopsState:
        """Plays the two bids; the next prize is still to be drawn afterwards, unless only one can follow.

        Args:
          state: a state with a revealed prize; any other is returned unchanged, with reward 0.
          action: int32[P], legal bids: action `a` bids card `a + 1`. Any other is refused, see `envs.rules`.

        Returns:
          The state after the round.
        """
        pot = state.prize + state.carry
        tied = action[0] == action[1]
        won = jnp.stack([action[0] > action[1], action[1] > action[0]])
        score = state.score + pot * won
        over = state.deck == 0
        after = GopsState(
            hands=state.hands & ~(1 << action),
            deck=state.deck,
            prize=jnp.int32(0),
            carry=pot * tied if self.tie == "carry" else jnp.int32(0),
            score=score,
            reward=jnp.where(over, self.outcome(score[0] - score[1]), 0.0),
            terminated=over,
            truncated=jnp.bool_(False),
        )
        absorbed = state._replace(reward=jnp.zeros_like(state.reward))
        inside = (action >= 0) & (action < self.num_cards)
        held = jnp.all(inside & has_bit(state.hands, jnp.where(inside, action, 0)))
        played = refuse(held, self._reveal_if_certain(after), state._replace(prize=jnp.zeros_like(state.prize)))
        return jax.tree.map(lambda old, new: jnp.where(state.prize > 0, new, old), absorbed, played)

    def outcome(self, difference: jax.Array) -> jax.Array:
        """float32[P]: the reward of a game that ends with `difference` int32[], player 0's points minus player 1's."""
        value = jnp.sign(difference) if self.objective == "win_loss" else difference
        return jnp.stack([value, -value]).astype(jnp.float32)

    def step(self, state: GopsState, action: jax.Array, key: jax.Array) -> GopsState:
        """Plays one round and reveals the next prize. A terminal state is returned unchanged, with reward 0.

        Args:
          state: the current state.
          action: int32[P], legal bids of both players: action `a` bids card `a + 1`.
          key: consumed to draw the next prize.
        """
        return self._draw(self.apply(state, action), key)

    def chance_pending(self, state: GopsState) -> jax.Array:
        return (state.prize == 0) & ~state.terminated

    def chance_logits(self, state: GopsState) -> jax.Array:
        """float32[C]: 0 for each prize that may be revealed now, -inf for the others."""
        possible = has_bit(state.deck, jnp.arange(self.num_cards)) & self.chance_pending(state)
        return jnp.where(possible, 0.0, -jnp.inf)

    def step_chance(self, state: GopsState, outcome: jax.Array) -> GopsState:
        """Reveals prize `outcome + 1`; a state in which no prize is to be drawn is returned unchanged."""
        pending = self.chance_pending(state)
        return state._replace(
            prize=jnp.where(pending, outcome + 1, state.prize),
            deck=jnp.where(pending, state.deck & ~(1 << outcome), state.deck),
        )

    def observe(self, state: GopsState, player: jax.Array | int) -> jax.Array:
        """float32[4N + 3], from `player`'s side.

        Own hand, the other's hand, deck and prize as N zeros and ones each; then carry, own and other's score. Points
        are divided by the total N (N + 1) / 2.
        """
        cards = jnp.arange(self.num_cards)
        hands = has_bit(state.hands[:, None], cards[None])
        total = self.num_cards * (self.num_cards + 1) / 2
        points = jnp.stack([state.carry, state.score[player], state.score[1 - player]]) / total
        sets = [hands[player], hands[1 - player], has_bit(state.deck, cards), state.prize == cards + 1]
        return jnp.concatenate([*sets, points]).astype(jnp.float32)

    def random_return(self, key: jax.Array, state: GopsState) -> jax.Array:
        """float32[]: player 0's reward when both players play uniformly random legal bids from `state` to the end.

        The hot loop of rollouts: the same rules as `apply` and `step_chance`, on scalars alone so that a batch of games
        runs in vector registers, with one random word a round for its three draws. With k cards left, the deviation
        from uniform is below k^3 / 2^32. `key` is consumed.
        """
        width = self.num_cards
        words = jax.random.bits(key, (width,), jnp.uint32)

        def play_round(index, carry):
            hand0, hand1, deck, prize, carried, difference = carry
            held = popcount(hand0, width)  # both hands always hold equally many
            first, rest = _draw_below(words[index], held)
            second, rest = _draw_below(rest, held)
            bid0, bid1 = nth_bit(hand0, first, width), nth_bit(hand1, second, width)
            draw = prize == 0
            if self.prize_order == "descending":
                next_bit = top_bit(deck, width)
            else:
                third, _ = _draw_below(rest, popcount(deck, width))
                next_bit = nth_bit(deck, third, width)
            prize = jnp.where(draw, next_bit + 1, prize)
            deck = jnp.where(draw, deck & ~(1 << next_bit), deck)
            over = held == 0
            pot = jnp.where(over, 0, prize + carried)
            difference += jnp.sign(bid0 - bid1) * pot
            carried = jnp.where(bid0 == bid1, pot, 0) if self.tie == "carry" else carried
            return hand0 & ~(1 << bid0), hand1 & ~(1 << bid1), deck, jnp.zeros_like(prize), carried, difference

        start = (state.hands[0], state.hands[1], state.deck, state.prize, state.carry, state.score[0] - state.score[1])
        difference = jax.lax.fori_loop(0, width, play_round, start)[-1]
        return jnp.where(state.terminated, 0.0, self.outcome(difference)[0])

    def random_chance(self, state: GopsState, bits: jax.Array) -> jax.Array:
        """int32[]: a uniformly random prize still in the deck, as a chance outcome, from `bits` uint32[]."""
        index, _ = _draw_below(bits, popcount(state.deck, self.num_cards))
        return nth_bit(state.deck, index, self.num_cards)

    def _draw(self, state: GopsState, key: jax.Array) -> GopsState:
        return self.step_chance(state, self.random_chance(state, jax.random.bits(key, (), jnp.uint32)))

    def _reveal_if_certain(self, state: GopsState) -> GopsState:
        """Reveals the next prize where only one is possible: chance is pending only where there is a choice."""
        if self.prize_order == "descending":
            certain, next_bit = state.deck > 0, top_bit(state.deck, self.num_cards)
        else:
            certain = (state.deck > 0) & ((state.deck & (state.deck - 1)) == 0)
            next_bit = lowest_bit(state.deck, self.num_cards)
        certain &= state.prize == 0
        return state._replace(
            prize=jnp.where(certain, next_bit + 1, state.prize),
            deck=jnp.where(certain, state.deck & ~(1 << next_bit), state.deck),
        )


def _draw_below(bits: jax.Array, bound: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A number in [0, bound) from the high part of `bits` uint32[], and the fraction left over, for a further draw."""
    low, high = bits & 0xFFFF, bits >> 16
    bound = bound.astype(jnp.uint32)
    middle = high * bound + ((low * bound) >> 16)
    rest = (middle << 16) | ((low * bound) & 0xFFFF)
    return (middle >> 16).astype(jnp.int32), rest
