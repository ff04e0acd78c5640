"""Actors, rollouts, collection and PPO keep to the legal actions; what does not is refused, and so is NaN."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite import envs
from jaxrl_suite.rl import actors, discrete, rollout
from jaxrl_suite.rl.datasets import collection
from jaxrl_suite.rl.datasets.scores import Reference
from jaxrl_suite.rl.learners.ppo import PPO, not_finite
from jaxrl_suite.rl.learners.ppo_config import PPOConfig
from jaxrl_suite.rl.policies import mlp_policy

N = 6
ENV = envs.make("data-selection", num_points=N)
POLICY = mlp_policy((N + 2,), N, discrete=True, widths=(8,))
KEY = jax.random.key(0)
CONFIG = PPOConfig(
    num_envs=16, unroll=6, iterations=4, chunk=2, epochs=1, minibatches=2, normalise=False, widths=(8,),
    eval_episodes=4,
)  # fmt: skip


def best_return():
    """The dynamic program over all sets."""
    masks = np.arange(1 << N)
    sets = (masks[:, None] >> np.arange(N) & 1).astype(bool)
    value = np.asarray(jax.jit(jax.vmap(ENV.value_of))(sets))
    best = np.zeros(1 << N)
    for mask in sorted(masks[:-1].tolist(), key=lambda mask: -mask.bit_count()):
        best[mask] = max(value[mask | 1 << i] + best[mask | 1 << i] for i in range(N) if not mask >> i & 1)
    return best[0]


def stacked(params):
    return jax.tree.map(lambda leaf: leaf[None], params)


def package_actors():
    params = POLICY.init(KEY)
    two = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, POLICY.init(jax.random.key(1)))
    scaled = actors.Scaled(params, jnp.zeros(N + 2), jnp.ones(N + 2))
    trained = [PPO(ENV, dataclasses.replace(CONFIG, greedy=greedy)) for greedy in (True, False)]
    return {
        "uniform": (actors.Uniform(ENV), None),
        "greedy": (actors.Greedy(POLICY), params),
        "sampled": (actors.Sampled(POLICY), params),
        "ensemble": (actors.Ensemble(POLICY), two),
        "sampled ensemble": (actors.Ensemble(POLICY, sample=True), two),
        "scaled": (actors.ScaledActor(actors.Greedy(POLICY)), scaled),
        "noisy": (actors.Noisy(actors.Greedy(POLICY), ENV, 0.5), params),
        "noisy, of a rate": (actors.Noisy(actors.Sampled(POLICY), ENV), (jnp.float32(0.5), params)),
        "trained": (trained[0].actor, trained[0].actor_params(trained[0].init(KEY))),
        "trained, drawn": (trained[1].actor, trained[1].actor_params(trained[1].init(KEY))),
    }


NAMES = (
    "uniform", "greedy", "sampled", "ensemble", "sampled ensemble", "scaled", "noisy", "noisy, of a rate", "trained",
    "trained, drawn",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_actor_of_the_package_takes_each_point_once(name):
    actor, params = package_actors()[name]
    played = rollout.collect(ENV, actor, params, KEY, 8)
    assert bool(played.mask.all())
    np.testing.assert_array_equal(np.sort(played.actions, axis=1), np.tile(np.arange(N), (8, 1)))
    assert bool(played.terminated[:, -1].all())
    returns = rollout.evaluate(ENV, actor, None if params is None else stacked(params), KEY, 8)
    np.testing.assert_allclose(returns[0], played.rewards.sum(1), rtol=1e-6)
    assert returns.max() <= best_return() + 1e-4


@dataclasses.dataclass(frozen=True)
class Stubborn:
    """Takes one and the same action, whatever its parameters."""

    action: int = 2

    def __call__(self, params, observation, key):
        return jnp.int32(self.action)


@dataclasses.dataclass(frozen=True)
class Unmasked:
    """The largest logit of all."""

    def __call__(self, params, observation, key):
        return jnp.argmax(POLICY.apply(params, observation)).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Diverges(envs.Pendulum):
    def step(self, state, action, key):
        return super().step(state, action, key)._replace(reward=jnp.full(1, jnp.nan))


def test_an_actor_that_picks_an_illegal_action_is_refused():
    for actor in (Stubborn(), Stubborn(-1), Stubborn(N)):
        with pytest.raises(ValueError, match=r"return of policy 0 in episode 0 is NaN.*illegal.*argument `legal`"):
            rollout.evaluate(ENV, actor, None, KEY, 3)
        with pytest.raises(ValueError, match=r"episode 0, step [01], action .*illegal"):
            rollout.collect(ENV, actor, None, KEY, 3)
        assert bool(jnp.isnan(jax.jit(lambda key, actor=actor: rollout.evaluate(ENV, actor, None, key, 3))(KEY)).all())
    behaviours = [collection.Behaviour("stubborn", Stubborn(), None, 2)]
    with pytest.raises(ValueError, match="action 2: the reward is NaN"):
        collection.collect_data(ENV, behaviours, KEY, name="x", reference=Reference(0, 1), batch=2)
    with pytest.raises(ValueError, match="DataSelection has legal actions: pass legal"):
        actors.Uniform(ENV)(None, jnp.zeros(N + 2), KEY)


def test_two_hundred_random_actors_are_refused_or_legal():
    many = jax.vmap(POLICY.init)(jax.random.split(KEY, 200))
    broken = jax.tree.map(lambda leaf: leaf.at[::4].set(jnp.nan), many)
    returns = rollout.evaluate(ENV, actors.Greedy(POLICY), many, KEY, 2)
    assert returns.max() <= best_return() + 1e-4
    with pytest.raises(ValueError, match="policy 0 in episode 0 is NaN"):
        rollout.evaluate(ENV, actors.Greedy(POLICY), broken, KEY, 2)
    for actor in (actors.Greedy(POLICY), actors.Sampled(POLICY)):
        found = np.asarray(jax.jit(lambda params, actor=actor: rollout.evaluate(ENV, actor, params, KEY, 2))(broken))
        np.testing.assert_array_equal(np.isnan(found), np.broadcast_to((np.arange(200) % 4 == 0)[:, None], (200, 2)))
    free = np.asarray(jax.jit(lambda params: rollout.evaluate(ENV, Unmasked(), params, KEY, 2))(many))
    assert np.isnan(free).mean() > 0.9  # hardly any network takes each point once without a mask
    assert not (free > best_return() + 1e-4).any()


def test_nan_in_continuous_actions_and_rewards_is_refused():
    policy = mlp_policy((3,), 1, widths=(4,))
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, policy.init(KEY))
    with pytest.raises(ValueError, match="an action was illegal or NaN"):
        rollout.evaluate(envs.Pendulum(), actors.Greedy(policy), stacked(broken), KEY, 2, max_turns=3)
    with pytest.raises(ValueError, match="a reward of the environment is NaN"):
        rollout.evaluate(Diverges(), actors.Uniform(Diverges()), None, KEY, 2, max_turns=3)


def test_choices_from_logits():
    legal = jnp.array([[True, False, True], [False, False, False], [True, True, True]])
    logits = jnp.array([[0.0, 9.0, 1.0], [0.0, 9.0, 1.0], [jnp.nan, 9.0, 1.0]])
    assert discrete.most_likely(logits, legal).tolist() == [2, 1, discrete.NO_ACTION]
    assert discrete.most_likely(logits).tolist() == [1, 1, discrete.NO_ACTION]
    assert discrete.most_likely(logits.at[2, 0].set(jnp.inf)).tolist() == [1, 1, discrete.NO_ACTION]
    drawn = np.asarray(jax.vmap(lambda key: discrete.draw(key, logits, legal))(jax.random.split(KEY, 500)))
    assert set(drawn[:, 0].tolist()) == {0, 2}
    assert set(drawn[:, 2].tolist()) == {discrete.NO_ACTION}
    assert discrete.most_likely(jnp.array([-jnp.inf, 0.0, 1.0])).tolist() == 2  # a mask of one's own


def test_ppo_keeps_no_parameters_with_nan():
    ppo = PPO(ENV, CONFIG)
    state = ppo.init(KEY)
    update = jax.jit(ppo.update)
    state, metrics = update(state)
    assert int(metrics.not_finite) == 0
    good = state.best
    broken = state._replace(params=jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan), state.params))
    after, metrics = update(broken)
    assert int(metrics.not_finite) == int(not_finite(after.params)) > 0
    assert not bool(metrics.score > -jnp.inf)
    jax.tree.map(np.testing.assert_array_equal, after.best, good)


@pytest.mark.tier2
def test_ppo_on_data_selection_never_exceeds_the_dynamic_program():
    config = PPOConfig(
        num_envs=64, unroll=12, iterations=60, chunk=20, epochs=4, minibatches=4, learning_rate=3e-3,
        entropy_weight=0.003, normalise=False, eval_episodes=4,
    )  # fmt: skip
    ppo = PPO(ENV, config)
    states = jax.vmap(ppo.init)(jax.random.split(KEY, 20))
    update = jax.jit(jax.vmap(ppo.update))
    most = best_return() + 1e-4
    for _ in range(config.updates):
        states, metrics = update(states)
        assert (metrics.score <= most).all()
        assert (metrics.episode_return <= most).all()
    assert (states.best.score <= most).all()
    assert states.best.score.mean() > 0.98 * most
