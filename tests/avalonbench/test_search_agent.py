"""The searching player: it uses what it may know and nothing else, and it beats the bots whose seats it takes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.avalonbench import beliefs
from jaxrl_suite.avalonbench.bot_model import BotPolicies
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.matches import play_side
from jaxrl_suite.avalonbench.search_agent import SearchAgent, most_possible
from jaxrl_suite.envs import Avalon
from jaxrl_suite.envs.avalon.state import ASSASSINATION, TEAM, VOTE

GAME = Avalon(5)
BOTS = Bots(GAME)
AGENT = SearchAgent(BOTS, BotPolicies(0.05), num_simulations=12)
VALUES = jax.jit(AGENT.values)


@functools.cache
def positions(batch=24):
    """States of naive bots' games after 0, 1, 2 ... phases, all from different deals."""
    keys = jax.random.split(jax.random.key(0), batch)

    def one(key, phases):
        first, rest = jax.random.split(key)

        def turn(index, carry):
            state, memory = carry
            after = GAME.apply(state, BOTS.act(jax.random.fold_in(rest, index), state, memory))
            going = (index < phases) & ~after.terminated
            moved = after, BOTS.observe(memory, state, after)
            return jax.tree.map(lambda new, old: jnp.where(going, new, old), moved, carry)

        return jax.lax.fori_loop(0, 14, turn, (GAME.init(first), BOTS.init()))[0]

    return jax.jit(jax.vmap(one))(keys, jnp.arange(batch) % 14)


def acting_seat(states):
    masks = jax.vmap(GAME.acting)(states)
    return jax.lax.population_count((masks & -masks) - 1)


def test_what_a_player_cannot_know_does_not_change_its_choice():
    states, seats = positions(), acting_seat(positions())
    keys = jax.random.split(jax.random.key(1), len(seats))
    seen = VALUES(keys, states, seats)
    for seed in range(2):
        other_keys = jax.random.split(jax.random.key(10 + seed), len(seats))
        others = jax.jit(jax.vmap(GAME.scramble))(states, seats, other_keys)
        assert (np.asarray(others.deal) != np.asarray(states.deal)).sum() > 5
        np.testing.assert_array_equal(VALUES(keys, others, seats), seen)


def test_only_legal_actions_have_a_value():
    states, seats = positions(), acting_seat(positions())
    values = np.asarray(VALUES(jax.random.split(jax.random.key(2), len(seats)), states, seats))
    legal = np.asarray(jax.vmap(GAME.legal)(states))[np.arange(len(seats)), np.asarray(seats)]
    np.testing.assert_array_equal(np.isfinite(values), legal)
    assert np.abs(values[legal]).max() <= 1 + 1e-6


def test_a_decision_does_not_depend_on_the_batch_around_it():
    states, seats = positions(), acting_seat(positions())
    keys = jax.random.split(jax.random.key(3), len(seats))
    together = VALUES(keys, states, seats)
    alone = VALUES(keys[3:4], jax.tree.map(lambda leaf: leaf[3:4], states), seats[3:4])
    np.testing.assert_allclose(alone[0], together[3], atol=1e-6)


def test_the_assassin_aims_as_the_exact_posterior_says():
    """A target's value to evil is 2 P(it is Merlin) - 1, whatever is sampled."""
    state = GAME.start([0, 5, 7, 5, 6], leader=0)
    for team in (0b00011, 0b01011, 0b00011):
        state = GAME.vote(GAME.propose(state, jnp.int32(team)), jnp.int32(0b01011))
        state = GAME.go_on_quest(state, jnp.int32(0b11111))
    assert int(state.phase) == ASSASSINATION
    states = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype)[None], state, positions())
    values = VALUES(jax.random.split(jax.random.key(0), 1), states, acting_seat(states))[0]

    @jax.jit
    def merlin(state):
        return beliefs.p_merlin(GAME, beliefs.posterior(beliefs.from_state(GAME, state, 2, BotPolicies(0.05))))

    exact = 2 * merlin(state) - 1
    np.testing.assert_allclose(values[:5], exact, atol=1e-5)


@pytest.mark.tier2
def test_sampled_assignments_estimate_the_same_values():
    """The means over 48 searches agree within five standard errors."""
    states, seats = positions(), acting_seat(positions())
    early = np.flatnonzero(np.isin(np.asarray(states.phase), (TEAM, VOTE)))[:2]
    states, seats = jax.tree.map(lambda leaf: jnp.repeat(leaf[early], 48, axis=0), (states, seats))
    keys = jax.random.split(jax.random.key(4), len(seats))
    drawn = jax.jit(SearchAgent(BOTS, BotPolicies(0.05), num_simulations=12, num_assignments=24).values)

    def searched(values):
        """In batches of the size that other tests have compiled."""

        def batch(start):
            return jax.tree.map(lambda leaf: leaf[start : start + 24], (keys, states, seats))

        return np.concatenate([values(*batch(start)) for start in range(0, 96, 24)]).reshape(2, 48, -1)

    found = [searched(VALUES), searched(drawn)]
    for position in range(2):
        legal = np.isfinite(found[0][position, 0])
        exact, sampled = (values[position][:, legal] for values in found)
        error = np.hypot(exact.std(0), sampled.std(0)) / 48**0.5
        assert (np.abs(exact.mean(0) - sampled.mean(0)) <= 5 * error + 0.02).all()


@pytest.mark.tier2
@pytest.mark.optimised
@pytest.mark.parametrize(("side", "at_least"), [("good", 0.40), ("evil", 0.80)])
def test_a_searching_side_beats_the_bots(side, at_least):
    """32 games; at more, good wins about 0.60 (bots 0.38) and evil 0.99 (bots 0.62)."""
    keys = jax.random.split(jax.random.key(7), 32)
    outcome = jax.jit(functools.partial(play_side, AGENT, side, BOTS))(keys)
    good = np.asarray(outcome.good_wins)
    assert (good if side == "good" else ~good).mean() >= at_least
    ends = np.stack([outcome.good_wins, outcome.by_missions, outcome.by_assassination])
    np.testing.assert_array_equal(ends.sum(0), 1)
    assert bool(outcome.final.terminated.all())


def test_how_many_assignments_a_player_may_face():
    assert most_possible(Avalon(5)) == 24
    assert most_possible(Avalon(6)) == 60  # of a Servant: C(5, 2) evil pairs, 2 Assassins, 3 seats for Merlin


@pytest.mark.parametrize(
    "bad", [dict(num_simulations=0), dict(num_assignments=0), dict(exploration=-1.0)], ids=lambda bad: next(iter(bad))
)
def test_refuses_impossible_searches(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SearchAgent(BOTS, BotPolicies(), **bad)


def test_refuses_matches_that_do_not_fit():
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match="same game"):
        play_side(AGENT, "good", Bots(Avalon(6)), keys)
    with pytest.raises(ValueError, match="side must be"):
        play_side(AGENT, "neither", BOTS, keys)
