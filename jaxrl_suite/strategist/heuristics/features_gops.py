"""Features of GOPS: numbers that change sign when the two players swap seats.

Some tell much about how the game will end, some tell nothing, and some mislead: a search over strategies has to find
out which. `pot` is the prize with what was carried to it. Sources are cut out and pasted into the text of strategies,
so each function stands alone.

Shapes: `P` = 2 players, `N` cards.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.strategist.heuristics.features import FeatureLibrary
from jaxrl_suite.strategist.heuristics.views import GopsView


def gops_library(game: Gops) -> FeatureLibrary:
    """The features of GOPS with `game.num_cards` cards. The seed counts the points won so far, as published."""
    return FeatureLibrary(
        game,
        functions=(
            score_difference,
            hand_sum_difference,
            hand_power_difference,
            pairwise_advantage,
            best_card_advantage,
            lowest_card_advantage,
            cards_above_prize,
            pot_advantage,
            pot_best_card,
            remaining_value_advantage,
            ranked_prizes,
            ranked_matches,
            sure_wins,
            top_prize_control,
            wasted_strength,
            hand_spread,
            middle_cards,
            even_cards,
            lead_when_long,
            lead_sign,
        ),
        seed=(("score_difference", 1.0),),
        values=(
            "points = jnp.sum(view.cards)",
            "values = jnp.stack([(points + total) / 2, (points - total) / 2])",
        ),
        of_total=final_scores,
    )


def final_scores(total: jax.Array, view: GopsView) -> jax.Array:
    """float32[P]: scores at the end that differ by `total` and add up to all points in the game."""
    points = jnp.sum(view.cards)
    return jnp.stack([(points + total) / 2, (points - total) / 2])


def score_difference(view):
    """Points won so far, less the other's."""
    return view.scores[0] - view.scores[1]


def hand_sum_difference(view):
    """Sum of the cards held, less the other's."""
    return jnp.sum((view.hands[0] - view.hands[1]) * view.cards)


def hand_power_difference(view):
    """Sum of the squares of the cards held, less the other's, in units of the highest card."""
    return jnp.sum((view.hands[0] - view.hands[1]) * view.cards**2) / jnp.max(view.cards)


def pairwise_advantage(view):
    """Of all pairs of an own card and one of the other's: the share that is higher, less the share that is lower."""
    above = jnp.cumsum(view.hands, axis=1) - view.hands
    wins = jnp.sum(view.hands[0] * above[1]) - jnp.sum(view.hands[1] * above[0])
    return wins / jnp.maximum(view.rounds_left**2, 1.0)


def best_card_advantage(view):
    """Highest card held, less the other's."""
    best = jnp.max(view.hands * view.cards[None], axis=1)
    return best[0] - best[1]


def lowest_card_advantage(view):
    """Lowest card held, less the other's."""
    top = jnp.max(view.cards) + 1.0
    lowest = jnp.min(jnp.where(view.hands > 0, view.cards[None], top), axis=1)
    return lowest[0] - lowest[1]


def cards_above_prize(view):
    """Number of cards held above the prize bid for now, less the other's; 0 while none is revealed."""
    above = jnp.sum(view.hands * (view.cards > view.prize)[None], axis=1)
    return jnp.where(view.prize > 0, above[0] - above[1], 0.0)


def pot_advantage(view):
    """The pot, times the advantage over all pairs of cards; 0 while no prize is revealed."""
    above = jnp.cumsum(view.hands, axis=1) - view.hands
    wins = jnp.sum(view.hands[0] * above[1]) - jnp.sum(view.hands[1] * above[0])
    share = wins / jnp.maximum(view.rounds_left**2, 1.0)
    return jnp.where(view.prize > 0, (view.prize + view.carry) * share, 0.0)


def pot_best_card(view):
    """The pot for the one with the higher best card; what is carried counts before a prize is revealed too."""
    best = jnp.max(view.hands * view.cards[None], axis=1)
    return (view.prize + view.carry) * jnp.sign(best[0] - best[1])


def remaining_value_advantage(view):
    """All points still to be won, times the difference of the hands' shares of their joint sum."""
    held = jnp.sum(view.hands * view.cards[None], axis=1)
    left = jnp.sum(view.deck * view.cards) + view.prize + view.carry
    return left * (held[0] - held[1]) / jnp.maximum(held[0] + held[1], 1.0)


def ranked_prizes(view):
    """If best cards meet for the best prize, second for second and so on: the points won, less the other's."""
    left = view.deck + (view.cards == view.prize)
    place = jnp.arange(view.cards.shape[0])
    above = jnp.flip(jnp.cumsum(jnp.flip(view.hands, 1), axis=1), 1) - view.hands
    rows = view.hands[:, :, None] * (above[:, :, None] == place[None, None])
    sorted_hands = jnp.sum(rows * view.cards[None, :, None], axis=1)
    over = jnp.flip(jnp.cumsum(jnp.flip(left))) - left
    sorted_prizes = jnp.sum((left * view.cards)[:, None] * (over[:, None] == place[None]), axis=0)
    return jnp.sum(sorted_prizes * jnp.sign(sorted_hands[0] - sorted_hands[1]))


def ranked_matches(view):
    """If best cards meet, second for second and so on: the number of rounds won, less the other's."""
    place = jnp.arange(view.cards.shape[0])
    above = jnp.flip(jnp.cumsum(jnp.flip(view.hands, 1), axis=1), 1) - view.hands
    rows = view.hands[:, :, None] * (above[:, :, None] == place[None, None])
    sorted_hands = jnp.sum(rows * view.cards[None, :, None], axis=1)
    return jnp.sum(jnp.sign(sorted_hands[0] - sorted_hands[1]))


def sure_wins(view):
    """Number of cards held that beat every card of the other, less the other's."""
    best = jnp.max(view.hands * view.cards[None], axis=1)
    sure = jnp.sum(view.hands * (view.cards[None] > jnp.flip(best)[:, None]), axis=1)
    return sure[0] - sure[1]


def top_prize_control(view):
    """The highest prize still to be won, for the one with the higher best card."""
    best = jnp.max(view.hands * view.cards[None], axis=1)
    top = jnp.maximum(jnp.max(view.deck * view.cards), view.prize)
    return top * jnp.sign(best[0] - best[1])


def wasted_strength(view):
    """How far the best card lies above the best prize still to be won, less the other's: strength for nothing."""
    best = jnp.max(view.hands * view.cards[None], axis=1)
    top = jnp.maximum(jnp.max(view.deck * view.cards), view.prize)
    waste = jnp.maximum(best - top, 0.0)
    return waste[0] - waste[1]


def hand_spread(view):
    """Variance of the cards held, less the other's."""
    count = jnp.maximum(view.rounds_left, 1.0)
    mean = jnp.sum(view.hands * view.cards[None], axis=1) / count
    spread = jnp.sum(view.hands * (view.cards[None] - mean[:, None]) ** 2, axis=1) / count
    return spread[0] - spread[1]


def middle_cards(view):
    """Number of cards held from the middle third of all cards, less the other's."""
    high = jnp.max(view.cards)
    middle = (3 * view.cards > high) & (3 * view.cards <= 2 * high)
    return jnp.sum((view.hands[0] - view.hands[1]) * middle)


def even_cards(view):
    """Number of even cards held, less the other's."""
    return jnp.sum((view.hands[0] - view.hands[1]) * (view.cards % 2 == 0))


def lead_when_long(view):
    """The lead in points, times the share of rounds still to be played."""
    return (view.scores[0] - view.scores[1]) * view.rounds_left / jnp.max(view.cards)


def lead_sign(view):
    """1 for the one who is ahead in points."""
    return jnp.sign(view.scores[0] - view.scores[1])
