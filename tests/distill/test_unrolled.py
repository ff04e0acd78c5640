"""Unrolled gradients: finite differences in float64, a closed form, equal memory settings, measured bytes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.core import devices
from jaxrl_suite.distill.driver import Driver, distill
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs, make_pairs
from jaxrl_suite.distill.sampling import UniformBatches
from jaxrl_suite.distill.unrolled import Unrolled, repeat
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import mlp_policy

RNG = np.random.default_rng(0)
STEP = 1e-5


@pytest.mark.parametrize(
    ("recipe", "discrete"),
    [
        (Recipe("sgd", 0.3, 5), False),
        (Recipe("sgd", 0.3, 5), True),
        (Recipe("sgd", 0.2, 5, momentum=0.5), True),
        (Recipe("adam", 0.01, 4), False),
    ],
)
def test_gradient_equals_finite_differences(recipe, discrete):
    with jax.enable_x64(True):
        policy = mlp_policy((3,), 2, discrete, widths=(4,), activation="tanh")
        objective = Unrolled(Imitation(policy), recipe, "sqrt", learn_rate=recipe.optimiser == "sgd")
        targets = RNG.dirichlet(np.ones(2), 8) if discrete else RNG.uniform(-1, 1, (8, 2))
        batch = Pairs(jnp.asarray(RNG.normal(size=(8, 3))), jnp.asarray(targets), jnp.asarray(RNG.uniform(0.5, 2, 8)))
        syn = Distilled(*(jnp.asarray(RNG.normal(size=shape)) for shape in ((4, 3), (4, 2), (4,), ())))
        loss = jax.jit(lambda syn: objective.loss(syn, batch, (), jax.random.key(2))[0])
        slope = jax.jit(jax.grad(loss))(syn)
        for name in Distilled._fields:
            base, found = np.asarray(getattr(syn, name)), np.zeros(getattr(syn, name).shape)
            for place in np.ndindex(base.shape):
                shift = np.zeros_like(base)
                shift[place] = STEP
                up, down = (float(loss(syn._replace(**{name: jnp.asarray(base + s * shift)}))) for s in (1, -1))
                found[place] = (up - down) / (2 * STEP)
            np.testing.assert_allclose(getattr(slope, name), found, rtol=2e-5, atol=1e-8, err_msg=name)
        assert (slope.raw_rate != 0) == (recipe.optimiser == "sgd")


def test_linear_student_has_the_closed_form():
    """T steps of gradient descent on a quadratic are an affine map, so loss and gradient are known."""
    with jax.enable_x64(True):
        policy, steps, rate = mlp_policy((2,), 1, widths=(), squash=False), 9, 0.2
        objective = Unrolled(Imitation(policy), Recipe("sgd", rate, steps))
        x, y = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 1))
        real_x, real_y = RNG.normal(size=(30, 2)), RNG.normal(size=(30, 1))
        batch = Pairs(jnp.asarray(real_x), jnp.asarray(real_y), jnp.ones(30))
        syn = Distilled(jnp.asarray(x), jnp.asarray(y), jnp.zeros(5), jnp.zeros(()))
        (value, _), slope = jax.value_and_grad(objective.loss, has_aux=True)(syn, batch, (), jax.random.key(0))
        start = policy.init(jax.random.key(0))["head"]
        theta0 = np.concatenate([np.asarray(start["kernel"]), np.asarray(start["bias"])[None]])
        rows, real = (np.concatenate([a, np.ones((len(a), 1))], axis=1) for a in (x, real_x))
        shrink = np.eye(3) - rate * 2 / 5 * rows.T @ rows
        gain = sum(np.linalg.matrix_power(shrink, t) for t in range(steps)) @ (rate * 2 / 5 * rows.T)
        theta = np.linalg.matrix_power(shrink, steps) @ theta0 + gain @ y
        gap = real @ theta - real_y
        np.testing.assert_allclose(value, np.mean(gap**2), rtol=1e-10)
        np.testing.assert_allclose(slope.labels, gain.T @ (2 / 30 * real.T @ gap), rtol=1e-8, atol=1e-12)


def test_labels_reach_the_known_solution():
    """A linear student that trains to the end interpolates 3 pairs, whose best labels lie on the least-squares fit."""
    policy = mlp_policy((2,), 1, widths=(), squash=False)
    pairs = make_pairs(policy, RNG.normal(size=(60, 2)), RNG.normal(size=(60, 1)), RNG.uniform(0.2, 2, 60))
    x = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]], np.float32)
    syn = Distilled(jnp.asarray(x), jnp.zeros((3, 1)), jnp.zeros(3), jnp.zeros(()))
    objective = Unrolled(Imitation(policy), Recipe("sgd", 0.5, 60))
    driver = Driver(
        objective, Whole(), learn=("labels",), optimiser="sgd", learning_rate=0.5, clip=float("inf"), students=2
    )
    state = distill(driver, jax.random.key(1), syn, pairs, pairs, 300, chunk=100)
    rows, w = np.concatenate([pairs.observations, np.ones((60, 1))], axis=1), np.asarray(pairs.weights)[:, None]
    best = np.linalg.solve(rows.T @ (w * rows), rows.T @ (w * np.asarray(pairs.targets)))
    np.testing.assert_allclose(state.syn.labels, np.concatenate([x, np.ones((3, 1))], axis=1) @ best, atol=1e-3)


class Whole(UniformBatches):
    """The whole data as one batch."""

    def draw(self, table, key):
        return table


def test_memory_settings_give_equal_gradients():
    steps = 7  # three segments of 2 and a rest of 1
    with jax.enable_x64(True):
        policy = mlp_policy((3,), 2, widths=(6,))
        syn = Distilled(*(jnp.asarray(RNG.normal(size=shape)) for shape in ((4, 3), (4, 2), (4,), ())))
        batch = Pairs(jnp.asarray(RNG.normal(size=(8, 3))), jnp.asarray(RNG.normal(size=(8, 2))), jnp.ones(8))
        slopes = []
        for memory in ("store", "steps", "sqrt"):
            objective = Unrolled(Imitation(policy), Recipe("sgd", 0.1, steps), memory)
            slopes.append(jax.jit(jax.grad(lambda s, o=objective: o.loss(s, batch, (), jax.random.key(0))[0]))(syn))
        for other in slopes[1:]:
            chex.assert_trees_all_close(slopes[0], other, rtol=1e-10, atol=1e-14)
        assert np.any(slopes[0].observations != 0)


def test_repeat_counts_its_steps():
    for steps in (1, 2, 3, 10, 17):
        for memory in ("store", "steps", "sqrt"):
            assert repeat(lambda x: x + 1, jnp.int32(0), steps, memory) == steps


@pytest.mark.tier2
def test_bytes_grow_as_the_root_of_the_steps():
    policy = mlp_policy((3,), 1, widths=(64, 64))
    syn = Distilled(jnp.ones((16, 3)), jnp.ones((16, 1)), jnp.zeros(16), jnp.zeros(()))
    batch = Pairs(jnp.ones((32, 3)), jnp.ones((32, 1)), jnp.ones(32))
    network = 4 * sum(leaf.size for leaf in jax.tree.leaves(policy.init(jax.random.key(0))))

    def measure(memory, steps):
        objective = Unrolled(Imitation(policy), Recipe("sgd", 0.1, steps), memory)
        gradient = jax.jit(jax.grad(lambda syn, batch, key: objective.loss(syn, batch, (), key)[0]))
        used = devices.compile(gradient, syn, batch, jax.random.key(0))[1].temp_bytes
        if used is None:
            pytest.skip("this backend does not report memory")
        return used

    sizes = {memory: [measure(memory, steps) for steps in (16, 64, 256)] for memory in ("steps", "sqrt")}
    linear, root = (np.diff(sizes[memory]) / network for memory in ("steps", "sqrt"))
    np.testing.assert_allclose(linear, [48, 192], rtol=0.1)  # one network a step
    assert np.all(root <= [2 * 4 + 1, 2 * 8 + 1])  # at most two for each root of the steps
    assert 1.5 < root[1] / root[0] < 2.6  # twice the root, twice the growth


@pytest.mark.parametrize("memory", ["store", "sqrt"])
def test_a_stopped_student_is_one_of_fewer_steps(memory):
    policy = mlp_policy((3,), 2, widths=(4,))
    syn = Distilled(*(jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((4, 3), (4, 2), (4,), ())))
    full, short = (Unrolled(Imitation(policy), Recipe("sgd", 0.1, steps), memory) for steps in (6, 4))
    params = policy.init(jax.random.key(0))

    def look(train):
        return jax.jit(jax.value_and_grad(lambda syn: jnp.sum(train(syn)["hidden_0"]["kernel"] ** 2)))(syn)

    stopped, fewer = look(lambda s: full.train(s, params, jnp.int32(4))), look(lambda s: short.train(s, params))
    chex.assert_trees_all_close(stopped, fewer, rtol=1e-4, atol=1e-6)


def test_students_stop_at_random_between_shortest_and_all_steps():
    policy = mlp_policy((1,), 1, widths=(), squash=False, head_scale=0.0)
    syn = Distilled(jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.zeros(1), jnp.zeros(()))
    batch = Pairs(jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.ones(1))
    objective = Unrolled(Imitation(policy), Recipe("sgd", 0.05, 5), shortest=2)
    losses = jax.vmap(lambda key: objective.loss(syn, batch, (), key)[0])(jax.random.split(jax.random.key(0), 400))
    steps = np.round(np.log(np.asarray(losses)) / (2 * np.log(0.9))).astype(int)  # a step leaves 0.9 of the gap
    np.testing.assert_allclose(losses, 0.81**steps, rtol=1e-4)
    assert np.bincount(steps).tolist()[:2] == [0, 0]
    assert np.all(np.abs(np.bincount(steps)[2:] - 100) < 45)


def test_refusals():
    for message, options in {
        "shortest must be 0 to the recipe's 60": dict(shortest=61),
        "unknown memory 'root'": dict(memory="root"),
        "does not go with adam": dict(inner=Recipe("adam"), learn_rate=True),
    }.items():
        with pytest.raises(UserError, match=message):
            Unrolled(Imitation(mlp_policy((3,), 1)), **options)
    with pytest.raises(UserError, match="batch out"):
        Unrolled(Imitation(mlp_policy((3,), 1)), Recipe(batch=4))
