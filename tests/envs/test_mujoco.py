"""MuJoCo through Brax: the wrapper beside Brax itself, the ends of episodes, silence, and all that it lists."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import MuJoCo, check_env, list_envs, make
from jaxrl_suite.envs import mujoco as module

KEY = jax.random.key(0)
NOISE = """
import pathlib, sys
from jaxrl_suite import envs
assert "mujoco/hopper" in envs.list_envs() and "brax" not in sys.modules
env = envs.make("mujoco/halfcheetah")
import jax
state = jax.eval_shape(env.init, jax.random.key(0))
jax.eval_shape(env.step, state, jax.numpy.zeros((1, 6)), jax.random.key(0))
assert not list(pathlib.Path().iterdir()), "files appear in the working folder"
"""


SOME = {(name, "spring") for name in ("ant", "halfcheetah", "hopper", "inverted_pendulum")}  # in the first tier


@pytest.fixture(scope="module")
def env():
    return make("mujoco/inverted_pendulum", max_turns=60)


@pytest.fixture(scope="module")
def init(env):
    return jax.jit(env.init)


@pytest.fixture(scope="module")
def step(env):
    return jax.jit(env.step)


def test_keeps_the_contract(env):
    check_env(env, plain_steps=0)


def test_agrees_with_brax_step_by_step(env, init, step):
    theirs = module._brax_env("inverted_pendulum", "spring")

    @jax.jit
    def their_step(state, action):
        with module._quiet():
            return theirs.step(state, action)

    for seed in range(3):
        state, key = init(jax.random.key(seed)), jax.random.key(seed)
        with module._quiet():
            other = theirs.reset(key)
        other = other.replace(reward=jnp.float32(0), done=jnp.float32(0))
        for action in np.random.default_rng(seed).uniform(-1, 1, (60, 1)).astype(np.float32):
            state, other = step(state, jnp.asarray(action)[None], KEY), their_step(other, jnp.asarray(action))
            np.testing.assert_allclose(env.observe(state), other.obs, rtol=1e-4, atol=1e-5)
            assert float(state.reward[0]) == float(other.reward)
            assert bool(state.terminated) == bool(other.done)
            if state.terminated:
                break
        assert state.terminated
        assert 3 < state.turn < 60


def test_a_time_limit_truncates_and_a_fall_terminates(init):
    env = MuJoCo("inverted_pendulum", max_turns=2)
    start, step = init(KEY), jax.jit(env.step)
    still, state = jnp.zeros((1, 1)), start
    for _ in range(2):
        assert not state.truncated
        state = step(state, still, KEY)
    assert state.truncated
    assert not state.terminated
    assert state.turn == 2
    falling = start.physics.replace(q=start.physics.q.at[1].set(1.0))
    with module._quiet():
        physics = module._brax_env("inverted_pendulum", "spring").pipeline_init(falling.q, falling.qd)
    last = start._replace(physics=physics)
    fell = step(last._replace(turn=jnp.int32(1)), still, KEY)
    assert fell.terminated
    assert not fell.truncated


def test_actions_saturate(init, step):
    start = init(KEY)
    beyond, bound = (step(start, jnp.full((1, 1), value), KEY).observation for value in (3.0, 1.0))
    assert (beyond == bound).all()
    assert (beyond != step(start, jnp.full((1, 1), 0.5), KEY).observation).any()


def test_lists_what_brax_has():
    with module._quiet():
        from brax import envs
    assert set(module.NAMES) == set(envs._envs) - set(module._UNUSABLE)
    assert [f"mujoco/{name}" for name in module.NAMES] == [n for n in list_envs() if n.startswith("mujoco/")]


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param(name, backend, marks=[] if (name, backend) in SOME else pytest.mark.tier2)
        for backend in module.BACKENDS
        for name in module.NAMES
    ],
)
def test_every_environment_traces_on_every_engine(name, backend):
    env = make(f"mujoco/{name}", backend=backend)
    state = jax.eval_shape(env.init, KEY)
    after = jax.eval_shape(env.step, state, jnp.zeros((1, env.action_size)), KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(after)] == [(a.shape, a.dtype) for a in jax.tree.leaves(state)]
    assert state.observation.dtype == jnp.float32
    assert state.reward.shape == (1,)


def test_is_silent_and_leaves_no_file(tmp_path):
    done = subprocess.run([sys.executable, "-c", NOISE], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_can_be_made_inside_a_trace():
    module._brax_env.cache_clear()
    made = jax.eval_shape(lambda key: MuJoCo("reacher").init(key).observation, KEY)
    again = jax.eval_shape(MuJoCo("reacher").init, KEY)  # would fail if a tracer had been kept
    assert made.shape == again.observation.shape == (11,)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (dict(name="cheetah"), "it has ant, halfcheetah"),
        (dict(name="swimmer"), "which JAX has removed"),
        (dict(name="hopper", backend="bullet"), "backend must be one of spring"),
        (dict(name="hopper", max_turns=0), "max_turns"),
    ],
)
def test_refuses_what_does_not_run(options, remedy):
    with pytest.raises(ValueError, match=remedy):
        MuJoCo(**options)
    with pytest.raises(ValueError, match="did you mean 'mujoco/halfcheetah'"):
        make("mujoco/half_cheetah")
