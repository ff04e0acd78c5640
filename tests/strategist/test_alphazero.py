"""AlphaZero on GOPS: its network knows the symmetry, its examples are what was played, and it learns."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.core.stats import mean_interval, paired_bootstrap
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.networks.apply import apply, init_params
from jaxrl_suite.search import arena
from jaxrl_suite.search.gops import exact as gops_exact
from jaxrl_suite.search.gops.evaluation import exploitability, states
from jaxrl_suite.strategist.learners import replay_buffer as replay
from jaxrl_suite.strategist.learners import value_networks
from jaxrl_suite.strategist.learners.alphazero import AlphaZero
from jaxrl_suite.strategist.learners.value_networks import CardsNetwork, PolicyValueNetwork

GAME = Gops(4, objective="points")
SMALL = Gops(3, objective="points")


def test_swapping_the_players_swaps_policies_and_the_sign_of_the_value():
    network = PolicyValueNetwork(GAME, (16,))
    params = init_params(network, jax.random.key(1), (19,))
    positions = states(GAME, 3)
    mine, theirs = (jax.vmap(lambda s, p=p: GAME.observe(s, p))(positions) for p in (0, 1))
    np.testing.assert_array_equal(mine[:, value_networks._other_side(GAME)], theirs)
    logits, value = apply(network, params, mine)
    swapped, minus = apply(network, params, theirs)
    np.testing.assert_allclose(logits, swapped[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(value, -minus, atol=1e-5)
    assert np.abs(value).max() > 0.01


def test_the_published_network_sees_the_cards_that_are_gone_and_adds_the_points_won():
    network = CardsNetwork(SMALL, ())
    weight = jnp.arange(18, dtype=jnp.float32).reshape(9, 2)
    state = SMALL.start()._replace(
        hands=jnp.array([0b011, 0b110]), deck=jnp.int32(0b100), prize=jnp.int32(1), score=jnp.array([2, 0])
    )
    # gone: card 3 of player 0, card 1 of player 1, prizes 1 and 2
    gone = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0])
    expected = np.array([2, 0]) + gone @ np.asarray(weight)
    params = {"mlp": {"head": {"kernel": weight, "bias": jnp.zeros(2)}}}
    points = apply(network, params, SMALL.observe(state, 0)[None], method="points")[0]
    np.testing.assert_allclose(points, expected, rtol=1e-6)
    logits, value = apply(network, params, SMALL.observe(state, 0)[None])
    assert value[0] == pytest.approx(float(expected[0] - expected[1]))
    assert not logits.any()


def test_a_replay_keeps_the_latest():
    ring = replay.empty(jnp.zeros(()), 5)
    add = jax.jit(replay.add)
    for start in (0, 3, 6):
        ring = add(ring, jnp.arange(start, start + 3, dtype=jnp.float32))
    assert sorted(ring.examples.tolist()) == [4, 5, 6, 7, 8]
    drawn = replay.draw(ring, jax.random.key(0), 200)
    assert set(drawn.tolist()) == {4, 5, 6, 7, 8}
    few = replay.draw(add(replay.empty(jnp.zeros(()), 5), jnp.full(2, 3.0)), jax.random.key(0), 50)
    assert set(few.tolist()) == {3}
    with pytest.raises(ValueError, match="capacity"):
        replay.add(ring, jnp.zeros(6))


@functools.cache
def played():
    learner = AlphaZero.fair(SMALL, num_simulations=6, games=5)
    params = init_params(learner.network, jax.random.key(0), (15,))
    return learner, jax.device_get(jax.jit(learner.self_play)(params, jax.random.split(jax.random.key(1), 5)))


def test_examples_are_whole_games_with_their_ends():
    learner, examples = played()
    assert learner.examples_per_update == 5 * 5 == len(examples.outcome)
    by_game = jax.tree.map(lambda leaf: leaf.reshape(5, 5, *leaf.shape[1:]), examples)  # [T', game]
    assert (
        by_game.acts.sum(0).tolist() == [4.0] * 5
    )  # three bids, and the prize of the last is known before it is drawn
    np.testing.assert_allclose(by_game.outcome, by_game.points[..., 0] - by_game.points[..., 1], atol=1e-6)
    assert (by_game.outcome == by_game.outcome[:1]).all()
    np.testing.assert_allclose(examples.strategy.sum(2), 1, atol=1e-5)
    acting = examples.acts > 0
    assert (examples.legal.any(2).all(1) == acting).all()


@functools.cache
def updated():
    """A tiny learner, its first state, its update as a program, and the state and loss after one."""
    learner = AlphaZero.fair(Gops(2), num_simulations=3, games=5, gradient_steps=3, batch=8, capacity=32)
    state = learner.init(jax.random.key(0))
    update = jax.jit(chex.assert_max_traces(learner.update, n=1))
    return learner, state, update, update(state, jax.random.key(1))


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_an_update_is_the_same_with_and_without_jit(self):
        learner, state, _, (after, loss) = updated()
        update: Any = self.variant(learner.update)
        found, found_loss = update(state, jax.random.key(1))
        chex.assert_trees_all_close((found.params, found_loss), (after.params, loss), atol=1e-4)


def test_an_update_counts_episodes():
    _, _, update, (after, _) = updated()
    assert int(after.episodes) == 5
    again, _ = update(after, jax.random.key(2))
    assert int(again.episodes) == 10
    assert int(again.replay.added) == 30


@pytest.mark.tier2
def test_the_published_baseline_learns_from_its_last_games_alone():
    learner = AlphaZero.paper(SMALL, games=8, batch=8, num_simulations=4)
    state = learner.init(jax.random.key(0))
    poisoned = state._replace(replay=jax.tree.map(jnp.ones_like, state.replay))
    update = jax.jit(learner.update)
    one, other = update(state, jax.random.key(1))[0], update(poisoned, jax.random.key(1))[0]
    chex.assert_trees_all_equal(one.params, other.params)
    moved = max(
        float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one.params, state.params)), strict=True)
    )
    assert moved > 1e-4


@functools.cache
def trained():
    learner = AlphaZero.fair(GAME, num_simulations=16)
    first = state = learner.init(jax.random.key(1))  # of five keys all improve, by .46 to 1.24 points; this one by .89
    update = jax.jit(learner.update)
    for step in range(10):
        state, _ = update(state, jax.random.fold_in(jax.random.key(1), step))
    assert int(state.episodes) == 320
    return learner, first.params, state.params


@pytest.mark.tier2
@pytest.mark.optimised
def test_320_episodes_improve_on_the_untrained_network_against_an_equilibrium():
    learner, before, after = trained()
    nash = gops_exact.batched_policy(gops_exact.solve_gops(GAME))

    @jax.jit
    def returns(params):
        keys = jax.random.split(jax.random.key(3), 256)
        return arena.play_both_seats(GAME, (learner.policy(params), lambda keys, states: nash(states)), keys)

    first, last = (np.asarray(returns(params)) for params in (before, after))
    assert paired_bootstrap(last, first).low > 0.3
    assert mean_interval(last).high < 0.1  # nothing beats an equilibrium


@pytest.mark.tier2
@pytest.mark.optimised
def test_320_episodes_make_the_policy_alone_harder_to_exploit():
    learner, before, after = trained()

    @jax.jit
    def policy(params, positions):
        observed = jax.vmap(lambda state: GAME.observe(state, 0))(positions)
        logits, _ = apply(learner.network, params, observed)
        return jax.nn.softmax(jnp.where(jax.vmap(GAME.legal)(positions), logits, -jnp.inf))

    first, last = (exploitability(GAME, functools.partial(policy, params)) for params in (before, after))
    assert last < first - 0.5


@pytest.mark.parametrize(
    "bad",
    [
        dict(search="uct"),
        dict(target="best"),
        dict(optimiser="adamw"),
        dict(exploration=1.5),
        dict(capacity=10),
        dict(gradient_steps=0, batch=10**6),
    ],
)
def test_refuses_settings_that_cannot_be(bad):
    with pytest.raises(ValueError, match=list(bad)[-1]):
        AlphaZero.fair(GAME, **bad)


def test_the_published_baseline_wants_points():
    with pytest.raises(ValueError, match="points"):
        AlphaZero.paper(Gops(4))
