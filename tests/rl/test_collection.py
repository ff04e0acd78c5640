"""Collection: episodes as they were played, noise as it was asked for, levels, references."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs.pendulum import Pendulum
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.actors import Expert, Greedy, Uniform
from jaxrl_suite.rl.datasets import collection, d4rl_file, scores
from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.policies import mlp_policy

KEY = jax.random.key(0)
OWN = scores.Reference(0.0, 1.0)


class Place(NamedTuple):
    at: jax.Array
    turn: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


@dataclasses.dataclass(frozen=True)
class Corridor:
    """Steps right (1) until place 3 ends the episode with reward 1, or left (0); cut off after 6 steps."""

    num_players = 1
    num_actions = 2
    max_turns = 6
    backend = "hand"

    def init(self, key):
        return Place(jnp.int32(0), jnp.int32(0), jnp.zeros(1), jnp.bool_(False), jnp.bool_(False))

    def step(self, state, action, key):
        over = state.terminated | state.truncated
        at = jnp.clip(state.at + jnp.where(action[0] == 1, 1, -1), 0, 3)
        done = at == 3
        after = Place(
            at, state.turn + 1, jnp.where(done, 1.0, 0.0)[None], done, ~done & (state.turn + 1 >= self.max_turns)
        )
        return jax.tree.map(lambda a, b: jnp.where(over, a, b), state._replace(reward=jnp.zeros(1)), after)

    def observe(self, state, player):
        return state.at.astype(jnp.float32)[None]

    def expert(self, observation):
        return jnp.int32(1)


@pytest.fixture(scope="module")
def pendulum():
    return collection.noisy_expert_data(Pendulum(), KEY, name="pendulum")


def test_the_pendulum_data_have_the_size_and_the_quality_that_distillation_is_tried_on(pendulum):
    bounds = ep.episodes(pendulum)
    assert len(pendulum) == 12_800
    assert bounds.lengths.tolist() == [200] * 64
    assert not pendulum.terminals.any()
    assert np.abs(pendulum.actions).max() <= 1
    returns = ep.episode_returns(pendulum)
    assert -320 < returns.mean() < -180
    assert pendulum.metadata.ref_min_score < -1000
    assert pendulum.metadata.ref_max_score > -200
    assert scores.normalised_score(returns.mean(), pendulum.metadata) > 80
    assert pendulum.metadata.teacher == "64 expert with 0% to 50% random actions"


def test_transitions_are_those_of_the_environment(pendulum):
    rows = np.flatnonzero(~pendulum.timeouts)
    np.testing.assert_array_equal(pendulum.next_observations[rows], pendulum.observations[rows + 1])
    env = Pendulum()
    sample = np.arange(0, len(pendulum), 97)
    for row in sample:
        cosine, sine, speed = pendulum.observations[row]
        state = env.init(KEY)._replace(angle=jnp.arctan2(sine, cosine), speed=jnp.float32(speed))
        after = env.step(state, jnp.asarray(pendulum.actions[row])[None], KEY)
        np.testing.assert_allclose(env.observe(after), pendulum.next_observations[row], atol=2e-5)
        np.testing.assert_allclose(after.reward[0], pendulum.rewards[row], rtol=1e-4, atol=1e-4)


def test_noise_rises_from_episode_to_episode_as_asked(pendulum):
    noise = pendulum.extra["episodes/noise"]
    np.testing.assert_allclose(noise, np.linspace(0, 0.5, 64), rtol=1e-6)
    expert = np.asarray(jax.vmap(Pendulum().expert)(pendulum.observations))
    other = (np.abs(pendulum.actions - expert) > 1e-5)[:, 0].reshape(64, 200)
    assert not other[0].any()
    shares = other.mean(axis=1)
    assert np.abs(shares - noise).max() < 0.15  # 4 deviations of 200 draws
    assert shares[32:].mean() == pytest.approx(noise[32:].mean(), abs=0.03)
    random = pendulum.actions.reshape(64, 200)[other]
    assert abs(random.mean()) < 0.05
    assert random.var() == pytest.approx(1 / 3, abs=0.04)


def test_batches_of_any_size_play_the_same_episodes():
    behaviours = [collection.Behaviour("expert", Expert(Corridor()), None, 5, (0.2, 0.6))]
    whole = collection.collect_data(Corridor(), behaviours, KEY, name="corridor", reference=OWN)
    parts = collection.collect_data(Corridor(), behaviours, KEY, name="corridor", reference=OWN, batch=2)
    for name in ("observations", "actions", "rewards", "terminals", "timeouts"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_discrete_episodes_end_where_they_end(tmp_path):
    env = Corridor()
    behaviours = [
        collection.Behaviour("expert", Expert(env), None, 2),
        collection.Behaviour("random", Uniform(env), None, 30),
    ]
    data = collection.collect_data(env, behaviours, KEY, name="corridor", reference=OWN)
    bounds = ep.episodes(data)
    assert bounds.lengths[:2].tolist() == [3, 3]
    assert data.observations[:3, 0].tolist() == [0, 1, 2]
    following = np.asarray(data.next_observations)
    assert following[:3, 0].tolist() == [1, 2, 3]
    assert data.terminals[[2, 5]].all()
    assert (data.num_actions, data.actions.dtype, data.metadata.backend) == (2, np.int32, "hand")
    assert data.extra["episodes/behaviour"].tolist() == [0] * 2 + [1] * 30
    assert bounds.lengths.max() == 6
    ends = bounds.ends - 1
    np.testing.assert_array_equal(data.terminals[ends], following[ends, 0] == 3)
    np.testing.assert_array_equal(data.timeouts[ends], following[ends, 0] != 3)
    assert data.timeouts.any()
    np.testing.assert_array_equal(ep.episode_returns(data), data.terminals[ends])
    d4rl_file.write_d4rl(tmp_path / "a.hdf5", data)
    again = d4rl_file.read_d4rl(tmp_path / "a.hdf5")
    assert again.metadata == data.metadata
    np.testing.assert_array_equal(again.extra["episodes/noise"], data.extra["episodes/noise"])
    short = collection.collect_data(env, behaviours, KEY, name="corridor", reference=OWN, max_turns=2)
    assert ep.episodes(short).lengths.tolist() == [2] * 32
    assert short.timeouts.sum() == 32


def test_levels_are_made_of_the_policies_given():
    env, policy = Pendulum(), mlp_policy((3,), 1)
    checkpoints = jax.vmap(policy.init)(jax.random.split(KEY, 4))
    take = lambda c: jax.tree.map(lambda leaf: leaf[c], checkpoints)  # noqa: E731
    teachers = collection.Teachers(Greedy(policy), expert=take(3), medium=take(2), checkpoints=checkpoints)
    names = {
        level: [(b.name, b.episodes) for b in collection.level_behaviours(level, teachers, env, 10)]
        for level in collection.LEVELS
    }
    assert names == {
        "random": [("random", 10)],
        "medium": [("medium", 10)],
        "medium-replay": [("checkpoint 0", 3), ("checkpoint 1", 3), ("checkpoint 2", 2), ("checkpoint 3", 2)],
        "medium-expert": [("medium", 5), ("expert", 5)],
        "expert": [("expert", 10)],
    }
    few = collection.level_behaviours("medium-replay", teachers, env, 2)
    assert [b.name for b in few] == ["checkpoint 0", "checkpoint 3"]
    for name, leaf in few[1].params["head"].items():
        np.testing.assert_array_equal(leaf, checkpoints["head"][name][3])
    bare = collection.Teachers(Greedy(policy), expert=take(3))
    for level, message in [
        ("medium", "needs a medium policy"),
        ("medium-expert", "needs a medium policy"),
        ("medium-replay", "needs checkpoints"),
        ("full", "level must be one of random"),
    ]:
        with pytest.raises(ValueError, match=message):
            collection.level_behaviours(level, bare, env, 10)
    with pytest.raises(ValueError, match="1 episodes cannot be shared by 2"):
        collection.level_behaviours("medium-expert", teachers, env, 1)


def test_the_medium_checkpoint_is_the_first_that_is_a_third_of_the_way():
    reference = scores.Reference(-100.0, 200.0)
    assert collection.medium_checkpoint(np.array([-100.0, -1.0, 0.0, 150.0]), reference) == 2
    assert collection.medium_checkpoint(np.array([-100.0, 0.0, 149.0]), reference, 0.5) == 2
    with pytest.raises(ValueError, match="no checkpoint reaches 33%"):
        collection.medium_checkpoint(np.array([-100.0]), reference)


def test_references_are_the_environments_own_or_measured():
    assert collection.references(Pendulum(), KEY) == Pendulum().reference_scores
    low, high = collection.references(Corridor(), KEY)
    assert high == 1
    random = rollout.evaluate(Corridor(), Uniform(Corridor()), None, KEY, 256)
    assert low == pytest.approx(float(random.mean()))
    assert 0.1 < low < 0.6
    measured = collection.references(Pendulum(), KEY, actor=Expert(Pendulum()))
    assert measured.ref_max_score == pytest.approx(-151.5, abs=20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(episodes=0), "episodes must be at least 1"),
        (dict(noise=(0.5, 0.1)), r"noise rise within \[0, 1\]"),
        (dict(noise=(0.0, 1.5)), r"noise rise within \[0, 1\]"),
    ],
)
def test_refuses_what_cannot_be_collected(change, message):
    behaviour = collection.Behaviour("expert", Expert(Corridor()), None, 3)._replace(**change)
    with pytest.raises(ValueError, match=message):
        collection.collect_data(Corridor(), [behaviour], KEY, name="corridor", reference=OWN)
    with pytest.raises(ValueError, match="at least one behaviour"):
        collection.collect_data(Corridor(), [], KEY, name="corridor", reference=OWN)
