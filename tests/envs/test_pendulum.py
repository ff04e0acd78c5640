"""Pendulum: beside Gymnasium step by step, the physics of a rod without torque, and the reference scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Pendulum, check_env, make, pendulum
from jaxrl_suite.rl import Expert, Uniform, evaluate

KEY = jax.random.key(0)


def test_keeps_the_contract():
    check_env(Pendulum(), plain_steps=20)
    check_env(make("pendulum", max_turns=7))


def test_agrees_with_gymnasium_step_by_step():
    gymnasium = pytest.importorskip("gymnasium", exc_type=ImportError)
    theirs = gymnasium.make("Pendulum-v1").unwrapped
    env = Pendulum()
    step = jax.jit(env.step)
    rng = np.random.default_rng(0)
    for episode in range(4):
        state = env.init(jax.random.key(episode))
        theirs.reset()
        theirs.state = np.array([state.angle, state.speed], np.float64)
        for _ in range(env.max_turns):
            action = rng.uniform(-1.3, 1.3, size=1).astype(np.float32)  # some of it beyond the motor
            seen, reward, *_ = theirs.step(2 * action)
            state = step(state, jnp.asarray(action)[None], KEY)
            np.testing.assert_allclose(env.observe(state), seen, atol=2e-3)  # float32 against float64, 200 steps
            np.testing.assert_allclose(state.reward[0], reward, atol=2e-2)
            theirs.state = np.array([state.angle, state.speed], np.float64)
        assert not state.terminated
        assert state.truncated


def test_start_states_are_uniform():
    states = jax.vmap(Pendulum().init)(jax.random.split(KEY, 20_000))
    for values, bound in ((states.angle, np.pi), (states.speed, 1.0)):
        assert abs(values).max() <= bound
        counts = np.histogram(values, bins=20, range=(-bound, bound))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-squared with 19 degrees of freedom, p = 0.0007
    assert abs(np.corrcoef(states.angle, states.speed)[0, 1]) < 0.03


def test_without_torque_the_energy_is_kept_to_the_order_of_the_time_step(monkeypatch):
    drifts = []
    for steps, time_step in ((40, 0.05), (400, 0.005), (4000, 0.0005)):
        monkeypatch.setattr(pendulum, "TIME_STEP", time_step)
        env = Pendulum(max_turns=steps)
        first = env.init(jax.random.key(3))._replace(angle=jnp.float32(2.0), speed=jnp.float32(0.5))
        still = jnp.zeros((1, 1))

        def step(state, _, env=env, still=still):
            after = env.step(state, still, KEY)
            return after, pendulum.energy(after.angle, after.speed)

        energies = jax.lax.scan(step, first, None, steps)[1]
        drifts.append(float(abs(energies - pendulum.energy(first.angle, first.speed)).max()))
    assert drifts[1] < drifts[0] / 5
    assert drifts[2] < drifts[1] / 5
    assert drifts[2] < 0.01


def test_reference_scores_hold():
    env = Pendulum()
    for actor, stated in zip((Uniform(env), Expert(env)), env.reference_scores, strict=True):
        measured = evaluate(env, actor, None, jax.random.key(1), 16_384)
        error = float(measured.std()) / np.sqrt(measured.size)
        assert abs(float(measured.mean()) - stated) < 4 * error + 1
    assert not hasattr(Pendulum(max_turns=100), "reference_scores")  # they would be others


def test_the_expert_ends_upright_and_is_symmetric():
    env = Pendulum()

    @jax.jit
    def end(state):
        def step(state, _):
            return env.step(state, env.expert(env.observe(state))[None], KEY), None

        return jax.lax.scan(step, state, None, env.max_turns)[0]

    ends = jax.vmap(end)(jax.vmap(env.init)(jax.random.split(KEY, 256)))
    assert jnp.cos(ends.angle).min() > 0.99
    assert abs(ends.speed).max() < 0.1
    seen = jnp.array([0.3, jnp.sqrt(1 - 0.09), 1.7])
    np.testing.assert_allclose(env.expert(seen * jnp.array([1, -1, -1])), -env.expert(seen), rtol=1e-6)


@pytest.mark.parametrize("turns", [0, 2.5, "3", float("nan"), None])
def test_refuses_an_episode_without_steps(turns):
    with pytest.raises(ValueError, match="max_turns must be a whole number of at least 1"):
        Pendulum(max_turns=turns)
