"""GOPS against the rules written another way, and against its own symmetries."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.envs import Gops, rules
from jaxrl_suite.envs.gops import render as gops_render

KEY = jax.random.key(0)
APPLY = jax.jit(lambda game, state, action: game.apply(state, action), static_argnums=0)
CHANCE = jax.jit(lambda game, state, outcome: game.step_chance(state, outcome), static_argnums=0)


def play_in_python(tie, prizes, bids0, bids1):
    """The rules once more, as plain arithmetic: final scores and what is still carried."""
    score, carry = [0, 0], 0
    for prize, a, b in zip(prizes, bids0, bids1, strict=True):
        pot, carry = prize + carry, 0
        if a != b:
            score[int(b > a)] += pot
        elif tie == "carry":
            carry = pot
    return score, carry


def play(game, prizes, bids0, bids1):
    """All states of a game with given prizes and bids."""
    state = game.start()
    states = []
    for prize, a, b in zip(prizes, bids0, bids1, strict=True):
        if game.chance_pending(state):
            state = CHANCE(game, state, jnp.int32(prize - 1))
        assert int(state.prize) == prize
        states.append(state)
        state = APPLY(game, state, jnp.array([a - 1, b - 1]))
    return [*states, state]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([2, 3, 5]), st.sampled_from(["carry", "discard"]), st.data())
def test_follows_the_rules(n, tie, data):
    prizes, bids0, bids1 = (data.draw(st.permutations(range(1, n + 1))) for _ in range(3))
    for objective in ("win_loss", "points"):
        end = play(Gops(n, tie, objective), prizes, bids0, bids1)[-1]
        score, carry = play_in_python(tie, prizes, bids0, bids1)
        assert (end.score.tolist(), int(end.carry)) == (score, carry)
        difference = score[0] - score[1]
        value = np.sign(difference) if objective == "win_loss" else difference
        assert end.reward.tolist() == [value, -value]
        assert end.terminated


def test_descending_prizes_leave_nothing_to_chance():
    game = Gops(4, prize_order="descending")
    states = play(game, [4, 3, 2, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert not any(game.chance_pending(state) for state in states)


def test_swapping_the_seats_swaps_the_game():
    game = Gops(4, objective="points")
    bids = ([1, 2, 3, 4], [2, 1, 4, 3])
    here, there = play(game, [3, 1, 4, 2], *bids), play(game, [3, 1, 4, 2], *bids[::-1])
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(game.observe(a, 0), game.observe(b, 1))
    np.testing.assert_array_equal(here[-1].reward, there[-1].reward[::-1])


@pytest.mark.parametrize("tie", ["carry", "discard"])
def test_random_returns_are_those_of_uniform_play(tie):
    """With N = 3 there are 6 ^ 3 = 216 equally likely deals, so that the distribution of returns can be enumerated."""
    game, batch = Gops(3, tie, objective="points"), 60_000
    start = game.start()
    returns = jax.jit(jax.vmap(game.random_return, (0, None)))(jax.random.split(KEY, batch), start)
    deals = list(itertools.product(itertools.permutations((1, 2, 3)), repeat=3))
    exact = [score[0] - score[1] for score, _ in (play_in_python(tie, *deal) for deal in deals)]
    for value in range(-6, 7):
        p = exact.count(value) / 216
        assert abs(float(jnp.mean(returns == value)) - p) <= 4.5 * (p * (1 - p) / batch) ** 0.5
    # from the middle of a game, with a prize on the table: what is certain already stays certain
    middle = play(game, [3, 1, 2], [3, 1, 2], [1, 3, 2])[-2]
    assert float(game.random_return(KEY, middle)) == middle.score[0] - middle.score[1]


@pytest.mark.parametrize(
    "bad", [dict(num_cards=1), dict(num_cards=14), dict(tie="split"), dict(objective="win"), dict(prize_order="up")]
)
def test_refuses_impossible_games(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Gops(**bad)


@given(st.integers(0, 2**13 - 1), st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_bit_masks_agree_with_lists(mask, n):
    ones = [bit for bit in range(13) if mask >> bit & 1]
    word = jnp.int32(mask)
    assert int(rules.popcount(word, 13)) == len(ones)
    assert int(rules.nth_bit(word, jnp.int32(n), 13)) == (ones[n] if n < len(ones) else 13)
    assert int(rules.lowest_bit(word, 13)) == (ones[0] if ones else 13)
    assert int(rules.top_bit(word, 13)) == (ones[-1] if ones else 0)


def test_pictures_show_the_facts():
    game = Gops(4)
    states = play(game, [3, 1, 4, 2], [1, 2, 3, 4], [1, 4, 2, 3])
    assert gops_render.text(game, states[1]).splitlines() == [
        "GOPS-4  prize 1 + 3 carried",
        "  to come   2 4",
        "  player 0  2 3 4  score 0",
        "  player 1  2 3 4  score 0",
    ]
    assert "player 0 wins 6:4" in gops_render.text(game, states[-1])
    picture = gops_render.svg_game(game, states)
    assert picture.count("<rect") == 12
    assert "6:4" in picture
    assert gops_render.svg(game, states[1]).count("<rect") == 12
