"""Gradient matching beside plain numpy, finite differences in float64, and the solution of a linear problem."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.networks import dense_layers

from jaxrl_suite.distill.driver import Driver, distill
from jaxrl_suite.distill.gradient_matching import GradientMatching
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs, make_pairs, start_from, take
from jaxrl_suite.distill.sampling import Buckets, UniformBatches
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import mlp_policy

RNG = np.random.default_rng(0)
STEP = 1e-5


def differences(function, x):
    """Central differences of a scalar function of a float64 array."""
    slope = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += STEP
        down[place] -= STEP
        slope[place] = (function(up) - function(down)) / (2 * STEP)
    return slope


def numpy_gradient(w1, b1, w2, b2, x, y):
    """Gradient of the mean squared error of tanh(tanh(x w1 + b1) w2 + b2), by hand."""
    hidden = np.tanh(x @ w1 + b1)
    out = np.tanh(hidden @ w2 + b2)
    delta = 2 * (out - y) / out.size * (1 - out**2)
    below = (delta @ w2.T) * (1 - hidden**2)
    return x.T @ below, below.sum(0), hidden.T @ delta, delta.sum(0)


def test_gradient_equals_numpy_on_a_two_layer_network():
    with jax.enable_x64(True):
        policy = mlp_policy((3,), 2, widths=(5,), activation="tanh")
        objective = GradientMatching(Imitation(policy), network="teacher")
        teacher = policy.init(jax.random.key(0))
        assert teacher["head"]["kernel"].dtype == jnp.float64
        x, y = RNG.normal(size=(4, 3)), RNG.uniform(-1, 1, (4, 2))
        batch = Pairs(*map(jnp.asarray, (RNG.normal(size=(9, 3)), RNG.uniform(-1, 1, (9, 2)), np.ones(9))))
        weights = [np.asarray(layer[name]) for layer in dense_layers(teacher) for name in ("kernel", "bias")]
        real = numpy_gradient(*weights, np.asarray(batch.observations), np.asarray(batch.targets))

        def reference(x, y):
            return sum(np.sum((a - b) ** 2) for a, b in zip(numpy_gradient(*weights, x, y), real, strict=True))

        syn = Distilled(jnp.asarray(x), jnp.asarray(y), jnp.zeros(4), jnp.zeros(()))
        (value, _), slope = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))(
            syn, batch, teacher, jax.random.key(1)
        )
        np.testing.assert_allclose(value, reference(x, y), rtol=1e-10)
        np.testing.assert_allclose(slope.observations, differences(lambda x: reference(x, y), x), rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(slope.labels, differences(lambda y: reference(x, y), y), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("distance", "discrete"), [("l2", True), ("layer", False), ("cosine", False)])
def test_gradient_equals_finite_differences(distance, discrete):
    with jax.enable_x64(True):
        policy = mlp_policy((3,), 3, discrete, widths=(4,), activation="tanh")
        objective = GradientMatching(Imitation(policy), distance, "fresh", Recipe("sgd", 0.1, 1), advance=0)
        targets = RNG.dirichlet(np.ones(3), 8) if discrete else RNG.uniform(-1, 1, (8, 3))
        batch = Pairs(jnp.asarray(RNG.normal(size=(8, 3))), jnp.asarray(targets), jnp.asarray(RNG.uniform(0.5, 2, 8)))
        parts = (RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=4), RNG.normal(size=()))
        loss = jax.jit(lambda syn: objective.loss(syn, batch, (), jax.random.key(2))[0])
        syn = Distilled(*map(jnp.asarray, parts))
        slope = jax.jit(jax.grad(loss))(syn)
        for name in ("observations", "labels", "log_weights"):
            found = differences(
                lambda v, n=name: float(loss(syn._replace(**{n: jnp.asarray(v)}))), parts[Distilled._fields.index(name)]
            )
            np.testing.assert_allclose(getattr(slope, name), found, rtol=1e-5, atol=1e-8)
        assert slope.raw_rate == 0


def test_students_advance_as_plain_training_does():
    policy = mlp_policy((3,), 2, widths=(4,))
    imitation = Imitation(policy)
    pairs = make_pairs(policy, RNG.normal(size=(20, 3)), RNG.uniform(-1, 1, (20, 2)))
    syn = start_from(pairs, np.arange(5), policy)
    objective = GradientMatching(imitation, network="student", inner=Recipe("sgd", 0.1, 7))
    state = objective.init(jax.random.key(0), None)
    after, _ = objective.update(syn, state, jax.random.key(1))
    params, ours = state[0], imitation.pairs(syn)
    plain = jax.jit(jax.grad(imitation.mean_loss))
    for _ in range(7):
        gradient = plain(params, ours)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    chex.assert_trees_all_close(after, params, rtol=1e-4, atol=1e-6)
    fresh = GradientMatching(imitation, network="fresh", advance=3)
    look = jax.jit(jax.value_and_grad(lambda s, key: fresh.loss(s, pairs, (), key)[0]))
    assert len({float(look(syn, jax.random.key(seed))[0]) for seed in range(4)}) == 4  # each key its own student
    slope = look(syn, jax.random.key(0))[1]
    assert np.all(np.isfinite(slope.observations))
    assert np.any(slope.observations != 0)


def test_linear_problem_has_the_known_solution():
    """With a square design the labels that give a frozen network a gradient are unique."""
    policy = mlp_policy((2,), 1, widths=(), squash=False)
    teacher = policy.init(jax.random.key(0))
    pairs = make_pairs(policy, RNG.normal(size=(50, 2)), np.tanh(RNG.normal(size=(50, 1))))
    x = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]], np.float32)
    syn = start_from(pairs, np.array([0, 1, 2]), policy)._replace(observations=jnp.asarray(x))
    objective = GradientMatching(Imitation(policy), network="teacher")
    driver = Driver(
        objective, Whole(), students=1, learn=("labels",), optimiser="sgd", learning_rate=0.3, clip=float("inf")
    )
    state = distill(driver, jax.random.key(1), syn, pairs, pairs, 200, chunk=200, teacher=teacher)
    theta = np.concatenate([np.asarray(teacher["head"]["kernel"]), np.asarray(teacher["head"]["bias"])[None]])
    x = np.concatenate([np.asarray(pairs.observations), np.ones((50, 1))], axis=1)
    gradient = 2 * x.T @ (x @ theta - np.asarray(pairs.targets)) / 50
    ours = np.concatenate([np.asarray(syn.observations), np.ones((3, 1))], axis=1)
    labels = ours @ theta - 3 / 2 * np.linalg.solve(ours.T, gradient)
    np.testing.assert_allclose(state.syn.labels, labels, atol=1e-3)


class Whole(UniformBatches):
    """The whole data as one batch."""

    def draw(self, table, key):
        return table


def test_buckets_sum_the_distances_of_the_actions_and_skip_absent_ones():
    policy = mlp_policy((3,), 4, discrete=True, widths=(5,))
    labels = np.array([0, 0, 3, 1, 1, 1, 3, 0], np.int32)  # action 2 is absent
    pairs = make_pairs(policy, RNG.normal(size=(8, 3)), labels)
    syn = start_from(pairs, np.array([0, 2, 3, 7]), policy)  # of actions 0, 3, 1, 0
    imitation = Imitation(policy, "softmax_mse", "hard")
    objective = GradientMatching(imitation, network="teacher", classes=(0, 3, 1, 0))
    teacher = policy.init(jax.random.key(0))
    sampler = Buckets(8, replace=False)
    batch = sampler.draw(sampler.prepare(pairs), jax.random.key(1))
    (value, _), slope = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))(
        syn, batch, teacher, jax.random.key(2)
    )
    expected, ours, gradient = 0.0, imitation.pairs(syn), jax.jit(jax.grad(imitation.mean_loss))
    for real, mine in (([0, 1, 7], [0, 3]), ([3, 4, 5], [2]), ([2, 6], [1])):
        a = gradient(teacher, take(pairs, jnp.array(real)))
        b = gradient(teacher, take(ours, jnp.array(mine)))
        expected += sum(
            float(jnp.sum((x - y) ** 2)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.all(np.isfinite(slope.observations))
    np.testing.assert_array_equal(slope.labels, 0)


def test_refusals():
    policy = mlp_policy((3,), 4, discrete=True)
    with pytest.raises(UserError, match="hard"):
        GradientMatching(Imitation(policy), classes=(0, 1))
    for field in ("network", "distance"):
        with pytest.raises(UserError, match=f"unknown {field} 'studend'"):
            GradientMatching(Imitation(policy), **{field: "studend"})
    pairs = make_pairs(policy, np.zeros((4, 3)), np.arange(4))
    batch = Buckets(2).draw(Buckets(2).prepare(pairs), jax.random.key(0))
    with pytest.raises(UserError, match="needs classes"):
        GradientMatching(Imitation(policy), advance=0).loss(
            start_from(pairs, np.arange(4), policy), batch, (), jax.random.key(0)
        )
    wider = mlp_policy((3,), 4, discrete=True, widths=(5, 5)).init(jax.random.key(0))
    with pytest.raises(UserError, match="another network"):
        GradientMatching(Imitation(policy), network="teacher").init(jax.random.key(0), wider)
    three = GradientMatching(Imitation(policy, labels="hard"), classes=(0, 1, 2), advance=0)
    with pytest.raises(UserError, match="classes name 3 pairs, but the set has 4"):
        three.loss(start_from(pairs, np.arange(4), policy), batch, (), jax.random.key(0))
    with pytest.raises(UserError, match="classes must name"):
        GradientMatching(Imitation(policy, labels="hard"), classes=(0, 4))
    with pytest.raises(UserError, match="teacher's parameters"):
        GradientMatching(Imitation(policy), network="teacher").init(jax.random.key(0), None)
    with pytest.raises(UserError, match="batch out"):
        GradientMatching(Imitation(policy), inner=Recipe(batch=3))
