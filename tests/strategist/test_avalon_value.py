"""The value network for Avalon: positions rebuilt from the end are those played, seats do not matter, it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.avalonbench.bot_model import BotPolicies
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.matches import play_side
from jaxrl_suite.core.stats import paired_bootstrap
from jaxrl_suite.envs import Avalon
from jaxrl_suite.strategist.learners.avalon_positions import draw_positions, positions
from jaxrl_suite.strategist.learners.avalon_value import AvalonValueLearner, features, num_features

GAME = Avalon(5)
BOTS = Bots(GAME)
LEARNER = AvalonValueLearner(BOTS)


@functools.cache
def played(games=12):
    """All states [T, game] of games between bots, the last ones repeated."""

    def one(key):
        def turn(carry, index):
            state, memory = carry
            after = GAME.apply(state, BOTS.act(jax.random.fold_in(key, index), state, memory))
            return (after, BOTS.observe(memory, state, after)), after

        first = GAME.init(key)
        _, after = jax.lax.scan(turn, (first, BOTS.init()), jnp.arange(GAME.max_turns))
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, after)

    return jax.device_get(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), games)))


def as_set(states, rows):
    leaves = [np.asarray(leaf).reshape(len(rows), -1)[rows] for leaf in states]
    return {tuple(np.concatenate(parts).tolist()) for parts in zip(*leaves, strict=True)}


def test_positions_from_the_end_are_the_states_that_were_played():
    states = played()
    rebuild = jax.jit(functools.partial(positions, GAME))
    hunted = 0
    for game in range(12):
        path = jax.tree.map(lambda leaf, game=game: leaf[game], states)
        quiet = path._replace(reward=np.zeros_like(path.reward))
        expected = as_set(quiet, ~path.terminated)
        rebuilt, valid = jax.device_get(rebuild(jax.tree.map(lambda leaf: leaf[-1], path)))
        assert as_set(rebuilt, valid) == expected
        assert valid.sum() == len(expected)
        hunted += bool(valid[-1])
    assert 0 < hunted < 12


def test_only_positions_of_the_game_are_drawn():
    final = jax.tree.map(lambda leaf: leaf[3, -1], played())
    rebuilt, valid = jax.device_get(positions(GAME, final))
    drawn = jax.device_get(draw_positions(GAME, final, jax.random.key(1), 64))
    everyone = np.ones(64, bool)
    assert as_set(drawn, everyone) <= as_set(rebuilt, valid)
    assert len(as_set(drawn, everyone)) > 0.8 * valid.sum()


def test_moving_everybody_around_the_table_changes_no_feature():
    states = jax.tree.map(lambda leaf: leaf[:, 6], played())
    see = jax.jit(jax.vmap(functools.partial(features, GAME)))
    here = np.asarray(see(states))
    assert here.shape == (12, num_features(GAME))

    def moved(mask, seats=5):
        return ((mask << 1) | (mask >> (seats - 1))) & 31

    proposals = states.proposals
    team, votes, leader, rest = proposals & 1023, (proposals >> 10) & 1023, (proposals >> 20) & 15, proposals >> 24
    turned = moved(team) | moved(votes) << 10 | ((leader + 1) % 5) << 20 | rest << 24
    there = states._replace(
        leader=(states.leader + 1) % 5, team=moved(states.team), proposals=np.where(proposals, turned, 0)
    )
    there = jax.vmap(GAME.with_roles)(there, jnp.roll(states.roles, 1, axis=1))
    np.testing.assert_allclose(see(there), here, atol=1e-6)


@functools.cache
def trained():
    first = state = LEARNER.init(jax.random.key(4))  # of ten keys all make good win more often, by .07 to .42
    update = jax.jit(LEARNER.update)
    for step in range(10):
        state, _ = update(state, jax.random.fold_in(jax.random.key(1), step))
    assert int(state.episodes) == 160
    return first.params, state.params


@pytest.mark.tier2
@pytest.mark.optimised
def test_160_episodes_predict_games_that_were_not_seen():
    before, after = trained()
    final = jax.jit(LEARNER.finals)((), jax.random.split(jax.random.key(7), 200))
    unseen = LEARNER.examples(final, jax.random.split(jax.random.key(8), 200))
    constant = float(jnp.var(unseen.good_won))
    assert float(LEARNER.loss(after, unseen)) < 0.9 * constant
    assert float(LEARNER.loss(before, unseen)) > 0.95 * constant


@pytest.mark.optimised
@pytest.mark.tier2
def test_160_episodes_make_good_win_more_often_than_the_untrained_network_does():
    @jax.jit
    def wins(params):
        agent = LEARNER.agent(params, BotPolicies(0.05), 12)
        return play_side(agent, "good", BOTS, jax.random.split(jax.random.key(5), 60)).good_wins

    before, after = (np.asarray(wins(params), np.float64) for params in trained())
    assert paired_bootstrap(after, before).low > 0.1


@pytest.mark.optimised
@pytest.mark.tier2
def test_learns_from_players_who_search_with_the_network():
    learner = AvalonValueLearner(BOTS, play="search", model=BotPolicies(0.05), games=8, num_simulations=4)
    state, loss = jax.jit(learner.update)(learner.init(jax.random.key(0)), jax.random.key(1))
    assert int(state.episodes) == 8
    assert np.isfinite(float(loss))


@pytest.mark.parametrize("bad", [dict(play="nobody"), dict(play="search"), dict(capacity=5), dict(games=0)])
def test_refuses_settings_that_cannot_be(bad):
    with pytest.raises(ValueError, match=r"play|model|capacity|games"):
        AvalonValueLearner(BOTS, **bad)
