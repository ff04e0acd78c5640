"""PPO: problems whose best policy and values are known, seeds side by side, and the choice of the best checkpoint."""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import GridMaze, make
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.learners import actor_critic, ppo_config
from jaxrl_suite.rl.learners import ppo as module
from jaxrl_suite.rl.learners.ppo import PPO
from jaxrl_suite.rl.learners.ppo_config import PPOConfig
from jaxrl_suite.rl.policies import ConvPolicy, MLPPolicy

KEY = jax.random.key(0)
TINY = PPOConfig(
    num_envs=32,
    unroll=8,
    iterations=60,
    chunk=20,
    minibatches=2,
    learning_rate=5e-3,
    discount=0.5,
    widths=(16,),
    eval_episodes=8,
)


class _Sign(NamedTuple):
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    sign: jax.Array
    turn: jax.Array


@dataclasses.dataclass(frozen=True)
class _Shown:
    """Shows -1 or 1 at random, anew in each step."""

    max_turns: int = 5
    terminates: bool = False
    num_players: int = 1

    def init(self, key):
        sign = 2.0 * jax.random.bernoulli(key).astype(jnp.float32) - 1
        return _Sign(jnp.zeros(1), jnp.bool_(False), jnp.bool_(False), sign, jnp.int32(0))

    def reward(self, state, action):
        raise NotImplementedError

    def step(self, state, action, key):
        late = state.turn + 1 >= self.max_turns
        after = _Sign(
            self.reward(state, action)[None],
            late & self.terminates,
            late & (not self.terminates),
            self.init(key).sign,
            state.turn + 1,
        )
        old = state._replace(reward=jnp.zeros(1))
        return jax.tree.map(lambda a, b: jnp.where(state.terminated | state.truncated, a, b), old, after)

    def observe(self, state, player):
        return state.sign[None]


class _Signs(_Shown):
    """The reward is 1 for action (sign + 1) / 2. The best return is `max_turns`."""

    num_actions = 2

    def reward(self, state, action):
        return (action[0] == (state.sign > 0)).astype(jnp.float32)


class _Targets(_Shown):
    """Continuous: the reward is -(action - sign / 2)^2. The best return is 0."""

    action_size = 1

    def reward(self, state, action):
        return -((jnp.clip(action[0, 0], -1, 1) - 0.5 * state.sign) ** 2)


class _Ones(_Signs):
    """Every action earns 1."""

    def reward(self, state, action):
        return jnp.float32(1)


def train(env, config, seed=0):
    ppo = PPO(env, config)
    state = jax.jit(ppo.init)(jax.random.key(seed))
    update = jax.jit(chex.assert_max_traces(ppo.update, n=1))  # else it would change the types of the state
    rows = []
    for _ in range(config.updates):
        state, metrics = update(state)
        rows.append(metrics)
    return ppo, state, jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def test_learns_the_best_discrete_policy():
    ppo, state, _ = train(_Signs(), TINY)
    assert state.best.score == 5
    returns = rollout.evaluate(ppo.env, ppo.actor, ppo.stack(state.best.params), jax.random.key(9), 100)
    assert returns.tolist() == [[5.0] * 100]


def test_learns_the_best_continuous_policy():
    ppo, state, metrics = train(_Targets(), TINY)
    assert metrics.episode_return[0] < -0.3
    for sign in (-1.0, 1.0):
        action = ppo.actor(state.best.params, jnp.array([sign]), KEY)
        assert abs(float(action[0]) - 0.5 * sign) < 0.1


@pytest.mark.parametrize("terminates", [False, True])
def test_values_bootstrap_through_a_time_limit_and_not_through_an_end(terminates):
    """With reward 1 and gamma 1/2: 2 if what follows a cut counts, and 1 if an episode of one step ends."""
    ppo, state, _ = train(_Ones(max_turns=1, terminates=terminates), TINY)
    seen = module.statistics.normalise(state.statistics, jnp.array([[-1.0], [1.0]]))
    np.testing.assert_allclose(
        actor_critic.ask(ppo.policy, state.params, seen).values, 1.0 if terminates else 2.0, atol=0.1
    )


def test_seeds_side_by_side_are_seeds_one_by_one():
    config = dataclasses.replace(TINY, iterations=2, chunk=2)
    ppo = PPO(_Targets(), config)
    keys = jax.random.split(KEY, 2)
    run = jax.jit(lambda key: ppo.update(ppo.init(key)))
    both = jax.jit(jax.vmap(run))(keys)
    for row in range(2):
        alone = run(keys[row])
        one = jax.tree.map(lambda leaf, row=row: leaf[row], both)
        raw = lambda tree: (tree[0]._replace(key=jax.random.key_data(tree[0].key)), tree[1])  # noqa: E731
        chex.assert_trees_all_close(raw(one), raw(alone), rtol=2e-3, atol=2e-4)


def test_the_best_evaluated_policy_is_kept():
    config = dataclasses.replace(TINY, learning_rate=0.5, iterations=8, chunk=1, greedy=False)
    ppo = PPO(_Signs(), config)
    update = jax.jit(ppo.update)
    state = jax.jit(ppo.init)(KEY)
    best, kept = -np.inf, None
    for _ in range(config.updates):
        state, metrics = update(state)
        if metrics.score > best:
            best, kept = float(metrics.score), ppo.actor_params(state)
        assert float(state.best.score) == best
    chex.assert_trees_all_equal(state.best.params, kept)


def test_starts_are_fresh_where_episodes_end():
    """Everyone begins a new episode in each step, and its sign is not that of the step before."""
    ppo = PPO(_Signs(max_turns=1), dataclasses.replace(TINY, num_envs=64))
    state = jax.jit(ppo.init)(KEY)
    _, batch, raw, ended = jax.jit(ppo._collect)(state, jax.random.key(1))
    assert int(ended[1].sum()) == 64 * 8
    assert 0.4 < float((raw[1:] == raw[:-1]).mean()) < 0.6
    assert abs(float(raw.mean())) < 0.15
    np.testing.assert_allclose(batch.advantages.shape, (8, 64))


@pytest.mark.optimised
@pytest.mark.tier2
def test_swings_a_pendulum_up():
    config = dataclasses.replace(ppo_config.PENDULUM, iterations=60)
    _, state, _ = train(make("pendulum"), config)
    assert state.best.score > -300  # random actions earn -1229, the expert -151


def test_walks_through_mazes():
    config = dataclasses.replace(
        TINY, num_envs=64, discount=0.9, iterations=40, normalise=False, channels=(), widths=(32,), greedy=False
    )
    ppo, state, metrics = train(GridMaze(cells=2, levels=(0, 4)), config)
    assert isinstance(ppo.policy.module.policy, MLPPolicy)
    assert metrics.episode_return[0] < 0.85
    assert state.best.score == 1


def test_images_can_be_convolved():
    config = dataclasses.replace(TINY, num_envs=4, channels=(2,), normalise=False)
    ppo = PPO(GridMaze(cells=2), config)
    assert ppo.policy.module.policy == ConvPolicy(4, (2,), (16,), "relu", "orthogonal", 0.01)
    state = jax.eval_shape(ppo.init, KEY)
    assert jax.tree.structure(jax.eval_shape(ppo.update, state)[0]) == jax.tree.structure(state)


@pytest.mark.optimised
@pytest.mark.tier2
def test_balances_the_inverted_pendulum():
    env, config = make("mujoco/inverted_pendulum"), ppo_config.INVERTED_PENDULUM
    ppo, state, _ = train(env, config)
    returns = rollout.evaluate(env, ppo.actor, ppo.stack(state.best.params), jax.random.key(9), 64)
    assert returns.mean() >= 950


@pytest.mark.parametrize(
    ("bad", "remedy"),
    [
        (dict(num_envs=10, unroll=1, minibatches=3), "minibatches"),
        (dict(iterations=25, chunk=20), "multiple of chunk"),
        (dict(discount=1.5), "discount"),
        (dict(epochs=0), "epochs"),
        (dict(value_clip=-1.0), "value_clip"),
        (dict(reward_scale=float("nan")), "reward_scale"),
        (dict(widths=(8, 0)), "each of widths"),
    ],
)
def test_refuses_settings_that_do_not_fit(bad, remedy):
    with pytest.raises(ValueError, match=remedy):
        PPOConfig(**bad)


def test_refuses_environments_that_it_cannot_play():
    with pytest.raises(ValueError, match="this environment has 2"):
        PPO(make("gops-4"), TINY)
    with pytest.raises(ValueError, match="no time limit of its own"):
        PPO(_Signs(max_turns=0), TINY)
