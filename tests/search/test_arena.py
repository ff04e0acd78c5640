"""Matches refuse a policy whose probabilities leave the legal actions; inside `jit` the result is NaN."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite import envs, search
from jaxrl_suite.envs.data_selection import DataSelectionState
from jaxrl_suite.envs.rules import FAULTS
from jaxrl_suite.search.arena import play, play_both_seats
from jaxrl_suite.search.evaluators import random_return

GAME = envs.Gops(4)
KEYS = jax.random.split(jax.random.key(0), 16)


def uniform(game):
    def policy(keys, states):
        legal = jax.vmap(game.legal)(states)
        return legal / jnp.maximum(jnp.sum(legal, axis=-1, keepdims=True), 1)

    return policy


WRONG = {
    "have weight on illegal actions": lambda keys, states: jnp.zeros((len(keys), 2, 4)).at[:, :, 3].set(1.0),
    "are negative": lambda keys, states: jnp.tile(jnp.array([-1.0, 0.5, 2.0, -0.5]), (len(keys), 2, 1)),
    "are NaN or infinite": lambda keys, states: jnp.full((len(keys), 2, 4), jnp.nan),
    "do not sum to 1": lambda keys, states: 0.5 * uniform(GAME)(keys, states),
}


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("seat", [0, 1])
def test_a_policy_that_leaves_the_legal_actions_is_refused(fault, seat):
    pair = (WRONG[fault], uniform(GAME)) if seat == 0 else (uniform(GAME), WRONG[fault])
    with pytest.raises(ValueError, match=rf"policy {seat} in game 0: its probabilities {fault}.*game.legal"):
        play_both_seats(GAME, pair, KEYS)
    returns = jax.jit(lambda keys: play_both_seats(GAME, pair, keys))(KEYS)
    assert bool(jnp.isnan(returns).all())


def test_a_policy_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"policy 1 must return probabilities \[B, P, A\], here \[16, 2, 4\]"):
        play(GAME, (uniform(GAME), lambda keys, states: jnp.ones((len(keys), 4)) / 4), KEYS)


def test_the_exact_evaluation_names_what_is_wrong_too():
    for fault, policy in WRONG.items():
        with pytest.raises(ValueError, match=rf"sum to 1 over the legal bids.*{fault}"):
            search.exploitability(GAME, lambda states, policy=policy: policy(states.prize, states))


KINDS = ("masked", "unmasked", "logits", "NaN", "one NaN", "twice")


def random_policy(game, kind, weights):
    """One of six kinds of policy with random weights [8, A]; the first alone is one."""

    def policy(keys, states):
        features = jax.vmap(lambda state: game.observe(state, 0))(states)
        flat = jnp.concatenate([leaf.reshape(len(keys), -1) for leaf in jax.tree.leaves(features)], axis=1)
        legal = jax.vmap(game.legal)(states)
        hidden = jnp.tanh(flat.astype(jnp.float32)[:, :8] @ weights[: min(8, flat.shape[1])])
        logits = jnp.broadcast_to(hidden[:, None], legal.shape)
        masked = jax.nn.softmax(jnp.where(legal, logits, -1e9)) * legal
        free = jax.nn.softmax(logits)
        options = (masked, free, logits, free * jnp.nan, masked.at[:, :, 0].set(jnp.nan), 2 * masked)
        return jnp.stack(options)[kind]

    return policy


@pytest.mark.parametrize("game", [GAME, envs.make("market")], ids=["gops", "market"])
def test_two_hundred_random_policies_are_refused_or_legal(game):
    other = uniform(game)

    @jax.jit
    @jax.vmap
    def matches(number):
        key = jax.random.fold_in(jax.random.key(7), number)
        policy = random_policy(game, number % len(KINDS), jax.random.normal(key, (8, game.num_actions)))
        return play(game, (policy, other), jax.random.split(key, 2))

    match = matches(jnp.arange(200))
    masked = np.arange(200) % len(KINDS) == 0
    assert np.isfinite(match.reward[masked]).all()
    assert not match.faults[masked].any()
    assert np.isnan(match.reward[~masked]).all()
    assert (match.faults[~masked, 0] > 0).all()
    assert not match.faults[:, 1].any()
    assert len(FAULTS) == 1 + match.faults.max()


@pytest.mark.tier2
def test_the_policies_of_the_package_are_legal():
    simulate = search.SimultaneousSearch(GAME, search.Rollout(GAME), search.RegretMatching(), num_simulations=8)
    exact = search.solve_gops(GAME)
    policies = [search.SearchPolicy(simulate, answer=answer) for answer in ("solve", "average", "best")]
    policies.append(lambda keys, states: jax.vmap(lambda state: search.policy(exact, state))(states))
    for policy in policies:
        assert np.isfinite(play_both_seats(GAME, (policy, uniform(GAME)), KEYS)).all()


@dataclasses.dataclass(frozen=True)
class _Slow:
    """A game with the methods of `Game` alone, and rewards that are paid before chance moves."""

    inner: envs.Gops
    num_players = 2

    def __getattr__(self, name):
        if name == "random_return" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)


def test_random_play_needs_no_method_beside_those_of_a_game():
    game, count = _Slow(envs.Gops(4, objective="points")), 2000
    state = game.init(jax.random.key(3))
    keys = jax.random.split(jax.random.key(4), count)
    ours = jax.jit(jax.vmap(lambda key: random_return(game, key, state)))(keys)
    theirs = jax.jit(jax.vmap(lambda key: game.inner.random_return(key, state)))(keys)
    error = np.sqrt((ours.var() + theirs.var()) / count)
    assert abs(float(ours.mean() - theirs.mean())) < 4 * error
    tree_search = search.SimultaneousSearch(game, search.Rollout(game, 2), search.RegretMatching(), num_simulations=8)
    assert np.isfinite(play_both_seats(game, (search.SearchPolicy(tree_search), uniform(game)), KEYS[:2])).all()
    assert float(random_return(game, keys[0], state._replace(terminated=jnp.bool_(True)))) == 0
    with pytest.raises(ValueError, match="random play needs apply, chance_logits"):
        search.Rollout(envs.Pendulum())


@dataclasses.dataclass(frozen=True)
class _Paying(envs.NoChance):
    """A coin that is worth nothing falls after each of two moves; a move pays its number."""

    num_players = 2
    num_actions = 2
    num_chance_outcomes = 2  # type: ignore[assignment]
    max_turns = 2

    def start(self):
        return DataSelectionState(
            chosen=jnp.zeros(2, bool), utility=jnp.float32(0), reward=jnp.zeros(2), terminated=jnp.bool_(False),
            truncated=jnp.bool_(False),
        )  # fmt: skip

    def init(self, key):
        return self.start()

    def chance_pending(self, state):
        return state.chosen[0]

    def chance_logits(self, state):
        return jnp.where(state.chosen[0], jnp.zeros(2), -jnp.inf)

    def legal(self, state):
        return jnp.broadcast_to(~state.terminated & ~state.chosen[0], (2, 2))

    def apply(self, state, action):
        paid = (action[0] - action[1]).astype(jnp.float32)
        after = state._replace(
            chosen=jnp.array([True, False]), utility=state.utility + 1, reward=jnp.stack([1 + paid, -1 - paid])
        )
        idle = state.terminated | state.chosen[0]
        return jax.tree.map(lambda a, b: jnp.where(idle, a, b), state._replace(reward=jnp.zeros(2)), after)

    def step_chance(self, state, outcome):
        after = state._replace(chosen=jnp.zeros(2, bool), terminated=state.utility >= 2)
        return jax.tree.map(lambda a, b: jnp.where(state.chosen[0], b, a), state, after)

    def step(self, state, action, key):
        return self.step_chance(self.apply(state, action), jnp.int32(0))

    def observe(self, state, player):
        return state.utility[None]


def test_a_reward_before_chance_is_counted_once():
    envs.check_env(_Paying())
    keys = jax.random.split(jax.random.key(0), 500)
    returns = jax.jit(jax.vmap(lambda key: random_return(_Paying(), key, _Paying().start())))(keys)
    assert float(returns.mean()) == pytest.approx(2, abs=0.2)
    worth = search.Heuristic(lambda state: 2 - state.utility)  # what is still to come, on average
    tree_search = search.SimultaneousSearch(_Paying(), worth, search.RegretMatching(), num_simulations=60)
    tree = jax.jit(tree_search.__call__)((), KEYS[:1], jax.tree.map(lambda leaf: leaf[None], _Paying().start()))
    assert float(tree.node_values[0, 0]) == pytest.approx(2, abs=0.5)
