"""Policies beside plain numpy and XLA's own convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.networks import dense_layers

from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.convolution import conv3x3
from jaxrl_suite.rl.actors import Sampled
from jaxrl_suite.rl.policies import conv_policy, mlp_policy


def test_mlp_equals_numpy():
    policy = mlp_policy((3,), 2, widths=(5, 4))
    params = policy.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    hidden = x
    for layer in dense_layers(params)[:-1]:
        hidden = np.maximum(hidden @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    np.testing.assert_allclose(policy.features(params, x), hidden, rtol=1e-5, atol=1e-6)
    out = np.tanh(hidden @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"]))
    np.testing.assert_allclose(policy.apply(params, x), out, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(policy.act(params, x), policy.apply(params, x))
    np.testing.assert_allclose(policy.apply(params, x[0]), out[0], rtol=1e-5, atol=1e-6)
    linear = mlp_policy((3,), 2, widths=(), squash=False)
    params = linear.init(jax.random.key(1))
    np.testing.assert_allclose(linear.apply(params, x), x @ np.asarray(params["head"]["kernel"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["lecun", "he", "orthogonal"])
def test_initial_scale(how):
    params = mlp_policy((200,), 3, widths=(100, 100), initialiser=how, head_scale=0.01).init(jax.random.key(0))
    gain = 1.0 if how == "lecun" else 2.0
    second = np.asarray(params["hidden_1"]["kernel"])
    np.testing.assert_allclose(second.var() * 100, gain, rtol=0.1)
    np.testing.assert_allclose(np.asarray(params["head"]["kernel"]).std(), 0.01 / 10, rtol=0.2)
    if how == "orthogonal":
        np.testing.assert_allclose(second @ second.T, 2 * np.eye(100), atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 6, 2), (5, 3, 1)])
def test_convolution_equals_xla(shape):
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    kernel = jax.random.normal(jax.random.key(1), (9 * shape[-1], 4))
    reference = jax.lax.conv_general_dilated(
        x, kernel.reshape(3, 3, shape[-1], 4), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(conv3x3(x, kernel), reference, rtol=1e-4, atol=1e-5)


def test_cnn_shapes_and_actions():
    policy = conv_policy((5, 7, 3), 4, channels=(6, 8), widths=(9,))
    params = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), 3))
    images = jax.random.uniform(jax.random.key(1), (2, 5, 7, 3))
    logits = jax.vmap(policy.apply, (0, None))(params, images)
    assert logits.shape == (3, 2, 4)
    one = jax.tree.map(lambda leaf: leaf[1], params)
    np.testing.assert_allclose(policy.apply(one, images), logits[1], rtol=1e-5, atol=1e-6)
    assert policy.features(one, images).shape == (2, 9)
    np.testing.assert_array_equal(policy.act(one, images), np.argmax(logits[1], axis=-1))
    assert one["dense"]["head"]["kernel"].shape == (9, 4)
    whole = (images * 4).astype(jnp.uint8)  # images of bytes are read as they are
    np.testing.assert_allclose(
        policy.apply(one, whole), policy.apply(one, whole.astype(jnp.float32)), rtol=1e-5, atol=1e-6
    )


def test_sampled_actions_follow_the_softmax():
    policy = mlp_policy((2,), 3, discrete=True)
    params = policy.init(jax.random.key(0))
    x, keys = jnp.ones(2), jax.random.split(jax.random.key(1), 20_000)
    drawn = jax.vmap(lambda key: Sampled(policy)(params, x, key))(keys)
    np.testing.assert_allclose(
        np.bincount(drawn, minlength=3) / 20_000, jax.nn.softmax(policy.apply(params, x)), atol=0.015
    )


def test_refusals():
    with pytest.raises(UserError, match="at least 1"):
        mlp_policy((3,), 0)
    with pytest.raises(UserError, match=r"unknown activation 'rele'\. Did you mean relu"):
        mlp_policy((3,), 1, activation="rele")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"unknown initialiser 'glorot'\. Choose from: he, lecun, orthogonal"):
        conv_policy((4, 4, 1), 1, initialiser="glorot")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="use mlp_policy"):
        conv_policy((3,), 2)
    policy = mlp_policy((3,), 2)
    with pytest.raises(UserError, match="reads inputs"):
        policy.apply(policy.init(jax.random.key(0)), jnp.zeros((4, 2)))
