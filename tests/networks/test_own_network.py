"""A module of a user's own, that of examples/own_network.py: PPO trains it, it is distilled, cloned, and searches."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite import envs, rl, search
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.transitions import Transitions
from jaxrl_suite.rl.learners import actor_critic, cloning
from jaxrl_suite.rl.learners.ppo_config import PENDULUM

PATH = Path(__file__).parents[2] / "examples" / "own_network.py"
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("own_network", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_network"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["own_network"]


@pytest.mark.tier2
@pytest.mark.optimised
def test_it_swings_the_pendulum_up_and_so_do_students_of_sixteen_pairs(example):
    ppo, best = example.train(PENDULUM)
    returns = rl.evaluate(ppo.env, ppo.actor, ppo.stack(best), jax.random.key(9), 64)
    assert np.mean(returns) > -300  # random actions earn -1229, the expert -151
    distilled, real = example.distil(ppo, best)
    assert distilled > 10  # seen: 25, and -14 from as many real pairs; PPO is 100, random actions are 0
    assert distilled > real + 20


def test_ppo_moves_every_part_of_it(example):
    config = rl.PPOConfig(num_envs=8, unroll=4, iterations=2, chunk=2, minibatches=2, eval_episodes=2)
    ppo = rl.PPO(envs.make("pendulum", max_turns=4), config, example.ActorCritic(1, 8))
    state = jax.jit(ppo.init)(KEY)
    after, metrics = jax.jit(chex.assert_max_traces(ppo.update, n=1))(state)
    chex.assert_tree_all_finite((after.params, metrics))
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, after.params)
    assert all(jax.tree.leaves(moved))
    action = ppo.actor(after.best.params, jnp.ones(3), KEY)
    assert action.shape == (1,)


def test_it_can_be_cloned_and_learn_offline(example):
    policy = rl.Policy(example.ActorCritic(1, 8), (3,), 1)
    x = jax.random.normal(KEY, (64, 3))
    y = jnp.tanh(x[:, :1])
    params = policy.init(KEY)
    trained, losses = cloning.fit_recipe(policy, params, x, y, None, cloning.Recipe("adam", 1e-2, 100), KEY)
    assert losses[-1] < 0.2 * losses[0]
    assert policy.act(trained, x[0]).shape == (1,)
    rows = Transitions(*(np.asarray(part) for part in (x, y, x[:, 0], x, np.zeros(64, np.float32))))
    for learner in (
        rl.IQL((3,), 1, widths=(8,), batch=8, network=policy.module),
        rl.TD3BC((3,), 1, widths=(8,), batch=8, network=policy.module),
    ):
        batch = Transitions(
            *(leaf[: int(np.prod(learner.rows))].reshape(*learner.rows, *leaf.shape[1:]) for leaf in rows)
        )
        state = learner.init(KEY)
        after, metrics = jax.jit(learner.update)(state, batch, KEY)
        chex.assert_tree_all_finite(metrics)
        assert jax.tree.structure(after.actor) == jax.tree.structure(params)


def test_it_evaluates_leaves(example):
    strategies = np.asarray(example.look_ahead(2))
    assert strategies.shape == (2, 2, 4)
    np.testing.assert_allclose(strategies.sum(axis=-1), 1, atol=1e-5)


class Pair(nn.Module):
    """Answers (logits, value), as for discrete actions."""

    actions: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.actions)(x), nn.Dense(1)(x)[..., 0]


def test_answers_that_do_not_fit_are_refused(example):
    pendulum, game = envs.make("pendulum"), envs.make("gops-3")
    config = rl.PPOConfig(num_envs=2, unroll=2, iterations=1, chunk=1, minibatches=1, eval_episodes=1)
    ppo = rl.PPO(pendulum, config, Pair(1))
    with pytest.raises(UserError, match=r"PPO needs \(mean \[N, A\], log_std \[A\], value \[N\]\) of Pair"):
        jax.eval_shape(ppo.update, jax.eval_shape(ppo.init, KEY))
    wide = rl.Policy(example.ActorCritic(2), (3,), 1)
    with pytest.raises(UserError, match=r"ActorCritic answers \(2,\) where \[..., 1\] is needed"):
        wide.apply(wide.init(KEY), jnp.zeros(3))
    with pytest.raises(UserError, match="has no method `features`"):
        rl.Policy(Pair(2), (3,), 2, True).features({}, jnp.zeros(3))
    with pytest.raises(UserError, match="must be a flax"):
        rl.Policy(lambda x: x, (3,), 1)  # pyright: ignore[reportArgumentType]
    state = game.init(KEY)
    network = Pair(5)
    params = network.init(KEY, game.observe(state, 0)[None])["params"]
    with pytest.raises(UserError, match=r"a search needs \(prior logits \[2, 3\], value\)"):
        search.Network(game, network)(params, KEY, state)


def test_an_actor_critic_for_discrete_actions():
    policy = rl.Policy(Pair(4), (3,), 4, True)
    found = actor_critic.ask(policy, policy.init(KEY), jnp.zeros((2, 5, 3)))
    assert found.log_std is None
    assert found.output.shape == (2, 5, 4)
    assert found.values.shape == (2, 5)
    assert dataclasses.replace(policy, module=Pair(4)) == policy  # one program for equal settings
