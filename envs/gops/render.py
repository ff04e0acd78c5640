"""Pictures of GOPS: one state as text or SVG, and a whole game as SVG. On the host, from concrete states.

The SVG takes its colours from the page (`currentColor`), so that it reads on light and on dark.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from jaxrl_suite.envs.gops.game import Gops, GopsState

_CARD_W, _CARD_H, _GAP = 34, 46, 6
_SEATS = ("#3b82c4", "#d9782d")  # blue and orange: told apart by colour-blind readers, on light and on dark


def text(game: Gops, state: GopsState) -> str:
    """A few lines: score, prize, deck and hands."""
    hands, deck, prize, carry, score = _facts(game, state)
    carried = f" + {carry} carried" if carry else ""
    if state.terminated:
        middle = "over, " + _verdict(score) + (f"; {carry} carried points go to nobody" if carry else "")
    else:
        middle = f"prize {prize}{carried}" if prize else f"a prize is to be drawn{carried}"
    return "\n".join(
        [
            f"GOPS-{game.num_cards}  {middle}",
            f"  to come   {_cards(deck)}",
            f"  player 0  {_cards(hands[0])}  score {score[0]}",
            f"  player 1  {_cards(hands[1])}  score {score[1]}",
        ]
    )


def svg(game: Gops, state: GopsState) -> str:
    """The table: player 1's hand above, the prize and the deck between, player 0's hand below."""
    hands, deck, prize, carry, score = _facts(game, state)
    width = 96 + game.num_cards * (_CARD_W + _GAP)
    parts = []
    for row, (label, cards, colour) in enumerate(
        (
            (f"player 1: {score[1]}", hands[1], _SEATS[1]),
            ("to come", deck, "currentColor"),
            (f"player 0: {score[0]}", hands[0], _SEATS[0]),
        )
    ):
        y = 8 + row * (_CARD_H + 22)
        parts.append(_label(8, y + _CARD_H / 2 + 4, label))
        for card in range(1, game.num_cards + 1):
            x = 90 + (card - 1) * (_CARD_W + _GAP)
            shown = card in cards or (row == 1 and card == prize)
            parts.append(_card(x, y, card, colour, held=shown, bold=row == 1 and card == prize))
    if carry:
        parts.append(_label(8, 8 + _CARD_H + 22 + _CARD_H / 2 + 20, f"+{carry} carried"))
    return _page(width, 3 * (_CARD_H + 22), parts, text(game, state))


def svg_game(game: Gops, states: Sequence[GopsState]) -> str:
    """A whole game, a column a round: the prize, both bids (the winner's filled), and the running score.

    Args:
      game: the rules.
      states: the states of one game in order, the first with all cards in hand.
    """
    parts = [
        _label(8, y + _CARD_H / 2 + 4, name)
        for y, name in zip((8, 66, 124), ("prize", "player 0", "player 1"), strict=True)
    ]
    parts.append(_label(8, 196, "score"))
    for turn, (before, after) in enumerate(itertools.pairwise(states)):
        x = 80 + turn * (_CARD_W + 22)
        pot = int(before.prize) + int(before.carry)
        bids = [_only(int(before.hands[seat]) & ~int(after.hands[seat])) for seat in range(2)]
        parts.append(_card(x, 8, pot, "currentColor", held=True, bold=True))
        for seat, y in enumerate((66, 124)):
            parts.append(_card(x, y, bids[seat], _SEATS[seat], held=True, filled=bids[seat] > bids[1 - seat]))
        score = np.asarray(after.score)
        parts.append(_label(x + _CARD_W / 2, 196, f"{score[0]}:{score[1]}", anchor="middle"))
    title = f"GOPS-{game.num_cards}, {_verdict(np.asarray(states[-1].score))}"
    return _page(80 + (len(states) - 1) * (_CARD_W + 22), 208, parts, title)


def _facts(game: Gops, state: GopsState) -> tuple[list[list[int]], list[int], int, int, np.ndarray]:
    def cards(mask):
        return [card for card in range(1, game.num_cards + 1) if (int(mask) >> (card - 1)) & 1]

    return (
        [cards(mask) for mask in np.asarray(state.hands)],
        cards(state.deck),
        int(state.prize),
        int(state.carry),
        np.asarray(state.score),
    )


def _only(mask: int) -> int:
    return mask.bit_length()


def _cards(cards: list[int]) -> str:
    return " ".join(map(str, cards)) or "-"


def _verdict(score: np.ndarray) -> str:
    if score[0] == score[1]:
        return f"a draw at {score[0]}:{score[1]}"
    return f"player {int(score[1] > score[0])} wins {max(score)}:{min(score)}"


def _card(x: float, y: float, number: int, colour: str, *, held: bool, bold: bool = False, filled: bool = False) -> str:
    opacity = 1 if held else 0.22
    fill, ink = (colour, "#ffffff") if filled else ("none", "currentColor")
    return (
        f'<g opacity="{opacity}"><rect x="{x}" y="{y}" width="{_CARD_W}" height="{_CARD_H}" rx="5" fill="{fill}" '
        f'stroke="{colour}" stroke-width="{3 if bold else 1.5}"/>'
        f'<text x="{x + _CARD_W / 2}" y="{y + _CARD_H / 2 + 5}" text-anchor="middle" font-size="15" '
        f'font-weight="{700 if bold or filled else 400}" fill="{ink}">{number}</text></g>'
    )


def _label(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="12" text-anchor="{anchor}" fill="currentColor">{words}</text>'


def _page(width: float, height: float, parts: list[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{title}</title>{"".join(parts)}</svg>'
    )
