"""Avalon between heuristics: values against enumeration, what a player may not know, deals, sides, and the judge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.beliefs import from_state, p_merlin, posterior
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.envs import Avalon, Gops
from jaxrl_suite.envs.avalon.state import ASSASSINATION, QUEST, VOTE
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.strategist.heuristics.libraries import library
from jaxrl_suite.strategist.heuristics.pool import Choice, Pool, compact_choices
from jaxrl_suite.strategist.heuristics.views import example_states, view_of
from jaxrl_suite.strategist.judge.avalon import AvalonJudge
from jaxrl_suite.strategist.judge.base import JudgeConfig
from jaxrl_suite.strategist.play.avalon import AvalonPlayer

GAME = Avalon(5)
LIB = library(GAME)


def weights(**named):
    return tuple(float(named.get(name, 0.0)) for name in LIB.names)


SEED = LIB.seed_weights
GOOD = weights(
    quests_won=1,
    quests_lost=-1,
    clean_quest=1,
    spoiled_quest=-1.5,
    clean_team=0.5,
    evil_on_team=-0.3,
    evil_exposed=0.5,
    merlin_stands_out=-0.5,
)
BAD = tuple(-weight for weight in GOOD)
ONE = Choice(jnp.int32(0), jnp.asarray(GOOD, jnp.float32))


@pytest.fixture(scope="module")
def player():
    return AvalonPlayer(Pool(LIB), 20)


@pytest.fixture(scope="module")
def states():
    return jax.jit(lambda key: example_states(GAME, key, 96))(jax.random.key(1))


@pytest.fixture(scope="module")
def values(player):
    return jax.jit(jax.vmap(lambda key, state, seat: player.values(ONE, key, state, seat)))


def repeated(state, states):
    """One state as a batch like `states`, in the same types: nothing is compiled again."""
    return jax.tree.map(lambda leaf, like: np.broadcast_to(np.asarray(leaf, like.dtype), like.shape), state, states)


def seats_of(states):
    masks = np.asarray(jax.vmap(GAME.acting)(states))
    return np.array([int(mask & -mask).bit_length() - 1 for mask in masks], np.int32)


def test_only_legal_actions_have_a_value(values, states):
    seats = seats_of(states)
    found = np.asarray(values(jax.random.split(jax.random.key(0), 96), states, seats))
    legal = np.asarray(jax.vmap(GAME.legal)(states))[np.arange(96), np.asarray(seats)]
    np.testing.assert_array_equal(np.isfinite(found), legal)
    assert np.abs(found[legal]).max() <= 1 + 1e-6


def test_what_a_player_cannot_know_does_not_change_its_values(values, states):
    seats = seats_of(states)
    keys = jax.random.split(jax.random.key(0), 96)
    others = jax.jit(jax.vmap(GAME.scramble))(states, seats, jax.random.split(jax.random.key(5), 96))
    assert (np.asarray(others.deal) != np.asarray(states.deal)).sum() > 20
    np.testing.assert_array_equal(values(keys, others, seats), values(keys, states, seats))


def test_an_assassination_is_worth_what_the_posterior_says(values, player, states):
    row = int(np.flatnonzero(np.asarray(states.phase) == ASSASSINATION)[0])
    found = values(jax.random.split(jax.random.key(0), 96), states, seats_of(states))[row]
    state = jax.tree.map(lambda leaf: leaf[row], states)
    chances = posterior(from_state(GAME, state, seats_of(states)[row], player.model))
    np.testing.assert_allclose(found[:5], 1 - 2 * p_merlin(GAME, chances), atol=1e-5)


def test_evil_members_see_through_a_quest(values, states):
    """They know who is evil: failing is worth what the heuristic says of a quest lost by this team, in every world."""
    state = GAME.start([0, 5, 7, 5, 6], leader=3)
    state = GAME.vote(GAME.propose(state, jnp.int32(0b00110)), jnp.int32(0b11111))
    assert int(state.phase) == QUEST
    found = np.asarray(
        values(jax.random.split(jax.random.key(0), 96), repeated(state, states), np.full(96, 2, np.int32))
    )
    total = -1 + 0.5 * 0.5  # a quest lost, one evil player of two exposed; all approved, so nobody stands out
    np.testing.assert_allclose(found[:, 0], 2 / (1 + np.exp(-total)) - 1, atol=1e-4)
    total = 1.0  # if it passes, the quest is won
    np.testing.assert_allclose(found[:, 1], 2 / (1 + np.exp(-total)) - 1, atol=1e-4)


def test_more_worlds_come_to_the_mean_over_all(values, player, states):
    """A Servant's vote, against all worlds weighed by the posterior, the others' votes drawn 32 times in each."""
    rows = np.flatnonzero((np.asarray(states.phase) == VOTE) & (np.asarray(states.num_proposals) == 0))
    row = int(rows[0])
    state = jax.tree.map(lambda leaf: leaf[row], states)
    seat = int(np.flatnonzero(np.asarray(state.roles) == 5)[0])  # a Servant
    seats = np.full(96, seat, np.int32)
    found = np.asarray(values(jax.random.split(jax.random.key(1), 96), repeated(state, states), seats))[:, :2]
    bots, view = Bots(GAME), view_of(GAME)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, None, 0))
    @functools.partial(jax.vmap, in_axes=(0, None, None))
    @functools.partial(jax.vmap, in_axes=(None, 0, None))
    def good_wins(roles, action, key):
        before = GAME.with_roles(state, roles)
        others = bots.act(key, before, bots.memory_of(state))
        after = view(GAME.apply(before, jnp.where(jnp.arange(5) == seat, action, others)))
        return jnp.max(LIB.evaluate(ONE.weights, after) * (1 - after.evil))

    chances = np.asarray(posterior(from_state(GAME, state, jnp.int32(seat), player.model)))
    draws = good_wins(jnp.asarray(tables(GAME).roles), jnp.arange(2), jax.random.split(jax.random.key(2), 32))
    expected = 2 * np.asarray(draws).mean(0).T @ chances - 1
    error = found.std(0) / np.sqrt(96)
    np.testing.assert_array_less(np.abs(found.mean(0) - expected), 4 * error + 0.02)


@pytest.fixture(scope="module")
def judge():
    with AvalonJudge(GAME, JudgeConfig(deals=12, num_simulations=20, key_states=3, batch_size=36)) as made:
        yield made


def strategy(number, row, parent=None):
    return Strategy(number, "heuristic", LIB.render(row), parent, weights=row)


ROUND = [strategy(0, SEED), strategy(1, GOOD, 0), strategy(2, BAD, 1)]


@pytest.fixture(scope="module")
def said(judge):
    return judge.judge(ROUND, (4,))


@pytest.mark.tier2
def test_a_judgement_ranks_and_repeats(judge, said):
    assert said == judge.judge(ROUND, (4,))
    alone = judge.judge(ROUND[:2], (4,))
    assert alone.scores[1] > 0.5 > alone.scores[0]
    assert sum(said.scores) == pytest.approx(1.5)
    assert said.games == (48, 48, 48)
    assert said.improvements == (
        None,
        pytest.approx(said.scores[1] - said.scores[0]),
        pytest.approx(said.scores[2] - said.scores[1]),
    )


def test_key_states_of_avalon(said):
    gaps = [np.linalg.norm(np.subtract(state.search, state.heuristic)) for state in said.key_states]
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == 9
    for state in said.key_states:
        assert "Avalon, 5 players" in state.state
        assert sorted(set(state.outcome)) == [0, 1]
        assert min(*state.search, *state.heuristic) >= -1e-6
        assert max(*state.search, *state.heuristic) <= 1 + 1e-6
        evil = [chance < 0.5 for chance in state.heuristic] if state.heuristic[0] != 0.5 else []
        assert sum(evil) in (0, 2, 3)
        named = dict(zip(LIB.names, state.features, strict=True))
        total = float(np.dot(ROUND[state.strategy].weights, state.features))
        good = 1 / (1 + np.exp(-total))
        assert min(abs(state.heuristic[0] - good), abs(state.heuristic[0] - 1 + good)) < 1e-4
        assert set(state.named) <= set(named)


@pytest.mark.tier2
def test_a_critic_looks_at_random_states():
    """Without a heuristic a search sees little more; one that says the opposite of what it finds scores less."""
    config = JudgeConfig("critic", num_simulations=20, key_states=2, batch_size=32, critic_states=32)
    with AvalonJudge(GAME, config) as judge:
        said = judge.judge([strategy(0, weights()), strategy(1, GOOD), strategy(2, tuple(9 * w for w in BAD))], (0,))
        alone = judge.judge([strategy(1, GOOD)], (0,))
    assert said.games == (0, 0, 0)
    assert 0 >= said.scores[0] > said.scores[2]
    assert alone.scores[0] == pytest.approx(said.scores[1], abs=1e-6)
    assert [state.strategy for state in alone.key_states] == [1, 1]
    assert "Avalon, 5 players" in said.key_states[0].state


def test_weights_are_data(judge):
    """A round with other strategies compiles nothing."""
    before = len(judge.programs.compiled)
    judge.judge([strategy(0, GOOD), strategy(7, SEED)], (1,))
    assert len(judge.programs.compiled) == before
    assert all(program._cache_size() == 1 for key, program in judge.programs.compiled.items() if key[0] == "compile")


def test_refuses_what_does_not_fit():
    with pytest.raises(UserError, match="at least 10"):
        AvalonPlayer(Pool(LIB), 5)
    with pytest.raises(UserError, match="not for Avalon"):
        AvalonPlayer(Pool(library(Gops(3, objective="points"))))
    assert compact_choices([GOOD]).weights.shape == (1, LIB.size)
