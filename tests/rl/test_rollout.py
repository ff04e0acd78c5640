"""Rollouts beside plain loops: returns, common random numbers, masks, and the flat arrays of offline data."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Gops, Pendulum
from jaxrl_suite.rl import actors, rollout
from jaxrl_suite.rl.datasets import offline
from jaxrl_suite.rl.policies import mlp_policy

KEY = jax.random.key(0)


class _Walk(NamedTuple):
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    place: jax.Array
    turn: jax.Array


@dataclasses.dataclass(frozen=True)
class _Drunkard:
    """Left, or right with a gust at random; over at -3 with reward -1, at 3 with reward 1, or after `max_turns`."""

    max_turns: int = 12
    num_players: int = 1
    num_actions: int = 2

    def init(self, key):
        start = jax.random.randint(key, (), -1, 2)
        return _Walk(jnp.zeros(1), jnp.bool_(False), jnp.bool_(False), start, jnp.int32(0))

    def step(self, state, action, key):
        place = jnp.clip(state.place + 2 * action[0] - 1 + jax.random.bernoulli(key, 0.3), -3, 3)
        over = abs(place) >= 3
        reward = jnp.where(over, jnp.sign(place), 0.125 * place)
        late = (state.turn + 1 >= self.max_turns) & ~over
        after = _Walk(reward[None].astype(jnp.float32), over, late, place, state.turn + 1)
        old = state._replace(reward=jnp.zeros(1))
        return jax.tree.map(lambda a, b: jnp.where(state.terminated | state.truncated, a, b), old, after)

    def observe(self, state, player):
        return state.place[None].astype(jnp.float32)


def plain(env, actor, params, key, episodes, max_turns):
    """The same episodes one step at a time: for each, its list of (observation, action, reward, next, over)."""
    start_key, turn_key = jax.random.split(key)
    init, step, observe, act = jax.jit(env.init), jax.jit(env.step), jax.jit(env.observe), jax.jit(actor)
    played = []
    for start, turns in zip(jax.random.split(start_key, episodes), jax.random.split(turn_key, episodes), strict=True):
        state, rows = init(start), []
        for turn in range(max_turns):
            act_key, step_key = jax.random.split(jax.random.fold_in(turns, turn))
            seen = observe(state, 0)
            action = act(params, seen, act_key)
            state = step(state, rollout.as_action(env, action), step_key)
            rows.append((seen, action, float(state.reward[0]), observe(state, 0)))
            if state.terminated | state.truncated:
                break
        played.append((rows, bool(state.terminated)))
    return played


CASES = [
    (_Drunkard(), actors.Sampled(mlp_policy((1,), 2, discrete=True, widths=(4,)))),
    (Pendulum(max_turns=9), actors.Greedy(mlp_policy((3,), 1, widths=(4,)))),
    (Pendulum(max_turns=9), actors.Noisy(actors.Greedy(mlp_policy((3,), 1, widths=(4,))), Pendulum(), 0.4)),
]


def policy_of(actor):
    return actor.actor.policy if isinstance(actor, actors.Noisy) else actor.policy


@pytest.mark.parametrize(("env", "actor"), CASES, ids=["discrete", "continuous", "noisy"])
def test_agrees_with_a_plain_loop(env, actor):
    many = jax.vmap(policy_of(actor).init)(jax.random.split(KEY, 2))
    returns = rollout.evaluate(env, actor, many, jax.random.key(5), 6)
    assert returns.shape == (2, 6)
    for row in range(2):
        params = jax.tree.map(lambda leaf, row=row: leaf[row], many)
        played = plain(env, actor, params, jax.random.key(5), 6, env.max_turns)
        np.testing.assert_allclose(returns[row], [sum(r for _, _, r, _ in rows) for rows, _ in played], rtol=1e-4)
        found = rollout.collect(env, actor, params, jax.random.key(5), 6)
        for episode, (rows, terminated) in enumerate(played):
            length = len(rows)
            assert found.mask[episode].tolist() == [t < length for t in range(env.max_turns)]
            for name, column in (("observations", 0), ("actions", 1), ("rewards", 2), ("next_observations", 3)):
                values = np.asarray(getattr(found, name))[episode, :length]
                np.testing.assert_allclose(values, np.stack([r[column] for r in rows]), rtol=1e-4, atol=1e-5)
            ends = [t == length - 1 for t in range(env.max_turns)]
            assert found.terminated[episode].tolist() == [end and terminated for end in ends]
            assert found.truncated[episode].tolist() == [end and not terminated for end in ends]


def test_policies_share_the_episodes():
    env, actor = CASES[0]
    params = policy_of(actor).init(KEY)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    returns = rollout.evaluate(env, actor, twice, jax.random.key(1), 64)
    assert (returns[0] == returns[1]).all()
    assert len(np.unique(returns[0])) > 5
    other = rollout.evaluate(env, actor, twice, jax.random.key(2), 64)
    assert (returns != other).any()


def test_an_actor_without_parameters_is_one_policy():
    env = Pendulum()
    expert = rollout.evaluate(env, actors.Expert(env), None, KEY, 256)
    random = rollout.evaluate(env, actors.Uniform(env), None, KEY, 256)
    assert expert.shape == (1, 256)
    low, high = env.reference_scores
    assert abs(float(expert.mean()) - high) < 25
    assert abs(float(random.mean()) - low) < 75
    half = rollout.evaluate(env, actors.Noisy(actors.Expert(env), env, 0.5), None, KEY, 256)
    assert random.mean() < half.mean() < expert.mean()


def test_a_smaller_limit_cuts_and_says_so():
    env = _Drunkard()
    full = rollout.collect(env, actors.Uniform(env), None, KEY, 200)
    cut = rollout.collect(env, actors.Uniform(env), None, KEY, 200, max_turns=3)
    assert cut.rewards.shape == (200, 3)
    assert (cut.rewards == full.rewards[:, :3]).all()
    assert (cut.terminated | cut.truncated).sum(axis=1).tolist() == [1] * 200
    assert 0 < cut.terminated.sum() < 200
    assert not (cut.terminated & cut.truncated).any()
    returns = rollout.evaluate(env, actors.Uniform(env), None, KEY, 200, max_turns=3)
    np.testing.assert_allclose(returns[0], (cut.rewards * cut.mask).sum(axis=1), rtol=1e-6)


def test_flat_steps_are_offline_data():
    env = _Drunkard()
    data = offline.make_data(rollout.flatten(rollout.collect(env, actors.Uniform(env), None, KEY, 50)))
    assert (data.terminals | data.timeouts).sum() == 50
    assert data.terminals.any()
    assert data.timeouts.any()
    inside = ~(data.terminals | data.timeouts)[:-1]
    assert data.next_observations is not None
    assert (data.next_observations[:-1][inside] == data.observations[1:][inside]).all()


def test_uniform_actions_cover_their_range():
    draw = lambda key: actors.Uniform(Pendulum())(None, jnp.zeros(3), key)  # noqa: E731
    actions = jax.vmap(draw)(jax.random.split(KEY, 2000))
    counts = np.histogram(actions, bins=10, range=(-1, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 30


def test_rates_of_noise_as_parameters_are_those_of_actors_with_a_rate():
    env = Pendulum(max_turns=9)
    for rate in (0.0, 0.4):
        fixed = rollout.collect(env, actors.Noisy(actors.Expert(env), env, rate), None, KEY, 3)
        passed = rollout.collect(env, actors.Noisy(actors.Expert(env), env), (jnp.float32(rate), None), KEY, 3)
        assert (fixed.actions == passed.actions).all()


def test_spec_of_observations():
    assert rollout.observation_spec(Pendulum()) == jax.ShapeDtypeStruct((3,), jnp.float32)


def test_refuses_what_it_cannot_roll_out():
    with pytest.raises(ValueError, match="this environment has 2"):
        rollout.evaluate(Gops(2), actors.Uniform(Gops(2)), None, KEY, 2)
    with pytest.raises(ValueError, match="give max_turns"):
        rollout.collect(Pendulum(), actors.Uniform(Pendulum()), None, KEY, 2, max_turns=0)
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        rollout.evaluate(Pendulum(), actors.Uniform(Pendulum()), None, KEY, 0)
    policy = mlp_policy((3,), 1, widths=(4,))
    with pytest.raises(ValueError, match="one leading axis of policies"):
        rollout.evaluate(Pendulum(), actors.Greedy(policy), policy.init(KEY), KEY, 2)
    for answer in (mlp_policy((3,), 4, True), mlp_policy((3,), 2)):
        with pytest.raises(ValueError, match=r"takes floats of shape \(1,\), the actor answers"):
            rollout.collect(Pendulum(), actors.Greedy(answer), answer.init(KEY), KEY, 1)
    vector = mlp_policy((1,), 1)
    with pytest.raises(ValueError, match=r"takes one whole number, the actor answers float32\[1\]"):
        rollout.collect(_Drunkard(), actors.Greedy(vector), vector.init(KEY), KEY, 1)
    with pytest.raises(ValueError, match="use Greedy"):
        actors.Sampled(mlp_policy((3,), 1))
    with pytest.raises(ValueError, match="rate"):
        actors.Noisy(actors.Uniform(Pendulum()), Pendulum(), 1.5)
    with pytest.raises(ValueError, match="no expert"):
        actors.Expert(Gops(2))
