"""TD3+BC and IQL: losses against plain numpy, jit = no jit, and problems whose best action is known."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixtures.networks import dense_layers

from jaxrl_suite.rl.datasets.transitions import Scaling, Transitions
from jaxrl_suite.rl.learners import iql, offline_fit, q_functions, td3_bc

KEY = jax.random.key(0)


def relu_net(params, x):
    layers = dense_layers(params.get("twins", params))
    for layer in layers[:-1]:
        x = np.maximum(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    return x @ np.asarray(layers[-1]["kernel"]) + np.asarray(layers[-1]["bias"])


def pick(params, k):
    return jax.tree.map(lambda leaf: leaf[k], params)


def batch_of(count, observations=3, actions=2, *, discrete=False, seed=0):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, actions, count) if discrete else rng.uniform(-1, 1, (count, actions))
    return Transitions(
        rng.normal(size=(count, observations)).astype(np.float32),
        chosen.astype(np.int32 if discrete else np.float32),
        rng.normal(size=count).astype(np.float32),
        rng.normal(size=(count, observations)).astype(np.float32),
        (rng.uniform(size=count) < 0.3).astype(np.float32),
    )


def test_td3_bc_targets_and_losses_match_numpy():
    learner = td3_bc.TD3BC((3,), 2, widths=(8, 8), noise=0.4, noise_limit=0.3, discount=0.9)
    state, batch = learner.init(KEY), batch_of(16)
    other = learner.init(jax.random.key(1))
    state = state._replace(target_actor=other.actor, target_critic=other.critic)
    noise = np.clip(0.4 * np.asarray(jax.random.normal(KEY, (16, 2))), -0.3, 0.3)
    assert (np.abs(noise) == np.float32(0.3)).any()
    action = np.clip(np.tanh(relu_net(state.target_actor, batch.next_observations)) + noise, -1, 1)
    following = np.concatenate([batch.next_observations, action], axis=1)
    smaller = np.minimum(*[relu_net(pick(state.target_critic, k), following)[:, 0] for k in (0, 1)])
    targets = batch.rewards + 0.9 * (1 - batch.terminals) * smaller
    np.testing.assert_allclose(learner.targets(state, batch, KEY), targets, rtol=1e-4, atol=1e-5)

    pairs = np.concatenate([batch.observations, batch.actions], axis=1)
    errors = [np.mean((relu_net(pick(state.critic, k), pairs)[:, 0] - targets) ** 2) for k in (0, 1)]
    found = learner.critic_loss(state.critic, batch, jnp.asarray(targets))
    np.testing.assert_allclose(found, sum(errors), rtol=1e-4)

    mine = np.tanh(relu_net(state.actor, batch.observations))
    values = relu_net(pick(state.critic, 0), np.concatenate([batch.observations, mine], axis=1))[:, 0]
    expected = np.mean((mine - batch.actions) ** 2) - 2.5 * np.mean(values) / np.mean(np.abs(values))
    np.testing.assert_allclose(learner.actor_loss(state.actor, state.critic, batch)[0], expected, rtol=1e-4)


def test_td3_bc_takes_one_step_of_the_actor_after_the_steps_of_the_critics():
    learner = td3_bc.TD3BC((3,), 2, widths=(8,), batch=4, delay=3, tau=0.25)
    state = learner.init(KEY)
    batch = Transitions(*(leaf.reshape(3, 4, *leaf.shape[1:]) for leaf in batch_of(12)))
    after, _ = jax.jit(learner.update)(state, batch, KEY)
    adam, critic, opt_state = optax.adam(learner.learning_rate), state.critic, state.critic_opt_state
    for step, key in enumerate(jax.random.split(KEY, 3)):
        rows = Transitions(*(leaf[step] for leaf in batch))
        gradient = jax.jit(jax.grad(learner.critic_loss))(critic, rows, jax.jit(learner.targets)(state, rows, key))
        updates, opt_state = adam.update(gradient, opt_state)
        critic = optax.apply_updates(critic, updates)
    gradient = jax.jit(jax.grad(lambda actor: learner.actor_loss(actor, critic, rows)[0]))(state.actor)
    actor = optax.apply_updates(state.actor, adam.update(gradient, state.actor_opt_state)[0])
    for name, expected in [("critic", critic), ("actor", actor)]:
        moved = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, getattr(state, name), expected)
        chex.assert_trees_all_close(getattr(after, name), expected, atol=1e-6)
        chex.assert_trees_all_close(getattr(after, f"target_{name}"), moved, atol=1e-6)


@pytest.mark.parametrize("discrete", [False, True])
def test_iql_losses_match_numpy(discrete):
    learner = iql.IQL((3,), 2, discrete, widths=(8, 8), expectile=0.8, beta=2.0, limit=3.0, discount=0.9)
    state, batch = learner.init(KEY), batch_of(16, discrete=discrete)
    other = learner.init(jax.random.key(1))
    state = state._replace(
        target_critic=jax.tree.map(lambda leaf: 3 * leaf, other.critic), log_std=jnp.array([0.3, -9])
    )

    def critic(params):
        if discrete:
            both = [relu_net(pick(params, k), batch.observations) for k in (0, 1)]
            return [q[np.arange(16), batch.actions] for q in both]
        pairs = np.concatenate([batch.observations, batch.actions], axis=1)
        return [relu_net(pick(params, k), pairs)[:, 0] for k in (0, 1)]

    advantage = np.minimum(*critic(state.target_critic)) - relu_net(state.value, batch.observations)[:, 0]
    following = relu_net(state.value, batch.next_observations)[:, 0]
    goal = batch.rewards + 0.9 * (1 - batch.terminals) * following
    weights = np.minimum(np.exp(2 * advantage), 3)
    assert weights.max() == 3
    assert weights.min() < 1
    out = relu_net(state.actor, batch.observations)
    if discrete:
        logits = out - np.log(np.exp(out).sum(axis=1, keepdims=True))
        density = logits[np.arange(16), batch.actions]
    else:
        log_std = np.array([0.3, -5])  # bounded below
        density = -0.5 * (((batch.actions - np.tanh(out)) / np.exp(log_std)) ** 2 + 2 * log_std + np.log(2 * np.pi))
        density = density.sum(axis=1)
    _, found = jax.jit(learner.update)(state, batch, KEY)
    expected = {
        "value_loss": np.mean(np.where(advantage > 0, 0.8, 0.2) * advantage**2),
        "critic_loss": sum(np.mean((q - goal) ** 2) for q in critic(state.critic)),
        "actor_loss": -np.mean(weights * density),
    }
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_the_expectile_loss_is_least_at_the_expectile():
    x = np.array([-1.0, 0.0, 4.0])
    grid = np.linspace(-1, 4, 5001)
    for expectile in (0.5, 0.7, 0.95):
        best = grid[np.argmin([float(np.mean(iql.expectile_loss(x - v, expectile))) for v in grid[::50]]) * 50]
        above, below = np.maximum(x - best, 0).sum(), np.maximum(best - x, 0).sum()
        assert expectile * above == pytest.approx((1 - expectile) * below, abs=0.2)
    assert float(iql.expectile_loss(jnp.array(2.0), 0.7)) == pytest.approx(2.8)
    assert float(iql.expectile_loss(jnp.array(-2.0), 0.7)) == pytest.approx(1.2)


LEARNERS = [
    td3_bc.TD3BC((3,), 2, widths=(8,), batch=4),
    iql.IQL((3,), 2, widths=(8,), batch=4),
    iql.IQL((3,), 2, True, widths=(8,), batch=4),
]


@pytest.mark.parametrize("learner", LEARNERS, ids=["td3_bc", "iql", "iql discrete"])
def test_seeds_in_one_program_are_those_of_a_plain_loop(learner):
    data = batch_of(20, discrete=getattr(learner, "discrete", False))
    init_keys, keys = jax.random.split(KEY, 2), jax.random.split(jax.random.key(1), 2)
    states, metrics = offline_fit.fit(learner, offline_fit.init_seeds(learner, init_keys), data, keys, 3)
    assert all(value.shape == (2, 3) for value in metrics.values())
    update = jax.jit(learner.update)
    for seed in range(2):
        state = learner.init(init_keys[seed])
        for key in jax.random.split(keys[seed], 3):
            draw_key, noise_key = jax.random.split(key)
            rows = jax.random.randint(draw_key, (int(np.prod(learner.rows)),), 0, 20).reshape(learner.rows)
            state, _ = update(state, Transitions(*(leaf[rows] for leaf in data)), noise_key)
        one = pick(states, seed)
        chex.assert_trees_all_close((one.actor, one.critic), (state.actor, state.critic), rtol=2e-4, atol=2e-6)
    assert not np.allclose(*states.actor["hidden_0"]["kernel"])


def regulator(count=4000, seed=0):
    """A linear-quadratic problem of two steps: s' = s + a, cost s'^2, and the data's actions ignore s.

    From s the best action is -s (costs 0 from there on); behaviour cloning learns the mean action, about 0.3.
    """
    rng = np.random.default_rng(seed)
    s = rng.uniform(-0.8, 0.8, (count, 1)).astype(np.float32)
    a = np.clip(rng.uniform(-1.0, 1.0, (count, 1)) + 0.3 * (rng.uniform(size=(count, 1)) < 0.5), -1, 1)
    following = (s + a).astype(np.float32)
    return Transitions(
        s, a.astype(np.float32), -(following[:, 0] ** 2), following, (rng.uniform(size=count) < 0.5).astype(np.float32)
    )


@pytest.mark.tier2
@pytest.mark.parametrize(
    ("learner", "updates", "cloned"),
    [
        (
            td3_bc.TD3BC((1,), 1, (32, 32), alpha=20.0, discount=0.5, learning_rate=3e-3, batch=128, tau=0.05),
            500,
            "alpha",
        ),
        (
            iql.IQL((1,), 1, False, (32, 32), 0.9, beta=20.0, discount=0.5, learning_rate=3e-3, batch=128, tau=0.05),
            800,
            "beta",
        ),
    ],
    ids=["td3_bc", "iql"],
)
def test_the_best_action_is_recovered_from_data_that_cloning_learns_nothing_from(learner, updates, cloned):
    data, keys = regulator(), jax.random.split(KEY, 2)
    grid = np.linspace(-0.7, 0.7, 15, dtype=np.float32)[:, None]

    def worst(learner):
        states, metrics = offline_fit.fit(learner, offline_fit.init_seeds(learner, keys), data, keys, updates)
        assert all(np.isfinite(value).all() for value in metrics.values())
        acted = np.asarray(jax.vmap(learner.policy.apply, (0, None))(states.actor, grid))
        return np.abs(acted + grid).mean(axis=(1, 2))

    assert worst(learner).max() < 0.15  # the mean distance from the best action
    assert worst(dataclasses.replace(learner, **{cloned: 0.0})).min() > 0.3


@pytest.mark.tier2
def test_discrete_iql_waits_for_the_larger_reward():
    """In the first state action 0 (80 % of the data) ends with reward 0.5, action 1 leads to the second state, where
    action 1 (20 %) ends with reward 1 and action 0 with nothing: the best is 1, then 1. Cloning says 0, then 0."""
    rng, count = np.random.default_rng(0), 2000
    state = rng.integers(0, 2, count)
    action = (rng.uniform(size=count) < 0.2).astype(np.int32)
    reward = np.where(state == 0, np.where(action == 0, 0.5, 0.0), action)
    over = (state == 1) | (action == 0)
    one_hot = np.eye(2, dtype=np.float32)
    data = Transitions(
        one_hot[state], action, reward.astype(np.float32), one_hot[np.ones(count, int)], over.astype(np.float32)
    )
    learner = iql.IQL((2,), 2, True, (16,), 0.95, beta=10.0, discount=0.9, learning_rate=3e-3, batch=64, tau=0.05)
    keys = jax.random.split(KEY, 2)
    for beta, expected in [(10.0, [1, 1]), (0.0, [0, 0])]:
        tried = dataclasses.replace(learner, beta=beta)
        states, _ = offline_fit.fit(tried, offline_fit.init_seeds(tried, keys), data, keys, 1000)
        for seed in range(2):
            assert tried.policy.act(pick(states, seed).actor, jnp.asarray(one_hot)).tolist() == expected
    values = q_functions.apply_critic(learner.critic, pick(states, 0).critic, jnp.asarray(one_hot)).min(axis=0)
    np.testing.assert_allclose(values[1], [0, 1], atol=0.05)
    assert 0.5 < values[0, 1] <= 0.95  # discount times an expectile of the second state's values


def test_scaling_and_following():
    data = batch_of(5)
    moved = offline_fit.scaled(data, Scaling(np.float32([1, 2, 3]), np.float32([2, 2, 2])))
    np.testing.assert_allclose(moved.next_observations, (data.next_observations - [1, 2, 3]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(moved.actions, data.actions)
    np.testing.assert_array_equal(moved.rewards, data.rewards)
    larger = offline_fit.scaled(data, Scaling(np.float32(0), np.float32(1)), reward_scale=0.5)
    np.testing.assert_allclose(larger.rewards, data.rewards / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="reward_scale must be above 0"):
        offline_fit.scaled(data, Scaling(np.float32(0), np.float32(1)), reward_scale=0.0)
    assert float(q_functions.polyak_average({"a": jnp.zeros(())}, {"a": jnp.ones(())}, 0.25)["a"]) == 0.25
    np.testing.assert_allclose(
        q_functions.bootstrap(jnp.ones(2), jnp.array([0.0, 1.0]), jnp.full(2, 10.0), 0.5), [6.0, 1.0]
    )


def try_on(learner, data):
    offline_fit.fit(learner, None, data, jax.random.split(KEY, 1), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: td3_bc.TD3BC((3,), 2, alpha=-1.0), "alpha must be 0 to"),
        (lambda: td3_bc.TD3BC((3,), 2, delay=0), "delay must be 1 to"),
        (lambda: iql.IQL((3,), 2, expectile=1.5), "expectile must be 0 to 1"),
        (lambda: iql.IQL((3,), 2, batch=0), "batch must be 1 to"),
        (
            lambda: try_on(LEARNERS[0], batch_of(4, discrete=True)),
            r"float\[4, 2\], got int32\[4\]: TD3BC is for continuous actions only",
        ),
        (lambda: try_on(LEARNERS[0], batch_of(4, actions=1)), r"needs actions float\[4, 2\], got float32\[4, 1\]"),
        (lambda: try_on(LEARNERS[2], batch_of(4)), r"needs actions int\[4\], got float32\[4, 2\]"),
        (lambda: try_on(LEARNERS[2], batch_of(0, discrete=True)), r"needs actions int\[0\]"),
        (
            lambda: offline_fit.fit(LEARNERS[0], None, batch_of(4), jax.random.split(KEY, 1), 0),
            "updates must be at least 1",
        ),
    ],
)
def test_refuses_what_cannot_be_trained(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_training_that_is_no_number_stops_with_its_step():
    data = batch_of(4)
    broken = data._replace(rewards=data.rewards * jnp.nan)
    start = offline_fit.init_seeds(LEARNERS[0], jax.random.split(KEY, 2))
    with pytest.raises(ValueError, match=r"TD3BC's \w+ is not finite from step \d on"):
        offline_fit.fit(LEARNERS[0], start, broken, jax.random.split(KEY, 2), 3)
