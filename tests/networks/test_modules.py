"""Every network is a `flax.linen` module, and any module fits: batch axes, answers, refusals, names of parameters."""

import importlib
import inspect
import pkgutil
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrl_suite
from jaxrl_suite import cli
from jaxrl_suite.errors import UserError
from jaxrl_suite.networks.apply import apply_batched, init_params
from jaxrl_suite.networks.convolution import ShiftedConv, mean_pool2x2
from jaxrl_suite.networks.describe import Described, describe
from jaxrl_suite.networks.mlp import MLP

NETWORKS = {
    "jaxrl_suite.datavalue.surrogates.SubsetNetwork",
    "jaxrl_suite.llm.transformer.model.Attention",
    "jaxrl_suite.llm.transformer.model.Block",
    "jaxrl_suite.llm.transformer.model.RMSNorm",
    "jaxrl_suite.llm.transformer.model.SwiGLU",
    "jaxrl_suite.llm.transformer.model.Transformer",
    "jaxrl_suite.llm.transformer.model.Unembed",
    "jaxrl_suite.networks.convolution.ShiftedConv",
    "jaxrl_suite.networks.mlp.MLP",
    "jaxrl_suite.rl.learners.actor_critic.ActorCritic",
    "jaxrl_suite.rl.learners.q_functions.TwinCritic",
    "jaxrl_suite.rl.policies.ConvPolicy",
    "jaxrl_suite.rl.policies.MLPPolicy",
    "jaxrl_suite.strategist.learners.deeprole.network.DeepRoleNetwork",
    "jaxrl_suite.strategist.learners.value_networks.CardsNetwork",
    "jaxrl_suite.strategist.learners.value_networks.OutcomeNetwork",
    "jaxrl_suite.strategist.learners.value_networks.PolicyValueNetwork",
}


def classes():
    """All classes of the package, by their full names."""
    for found in pkgutil.walk_packages(jaxrl_suite.__path__, "jaxrl_suite."):
        if "sandbox.inside" in found.name or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == found.name:
                yield f"{found.name}.{name}", value


def draws_weights(value) -> bool:
    """Whether a class makes its own parameters: draws them in a method that `init` calls, or asks Flax for them."""
    sources = []
    for method in vars(value).values():
        if inspect.isfunction(method):
            try:
                sources.append(inspect.getsource(method))
            except (OSError, TypeError):
                continue
    text = "".join(sources)
    return "initializers" in text or "kernel_init" in text or "self.param(" in text


@pytest.mark.tier2
def test_every_class_with_parameters_is_a_module_of_flax():
    found = dict(classes())
    assert {name for name, value in found.items() if issubclass(value, nn.Module)} == NETWORKS
    assert {name for name, value in found.items() if draws_weights(value)} <= NETWORKS


class Double(nn.Module):
    """Two numbers twice, a value, and nothing to learn but a gain."""

    wrong: str = ""

    @nn.compact
    def __call__(self, x):
        gain = self.param("gain", nn.initializers.constant(2.0), ())
        if self.wrong == "state":
            self.variable("batch_stats", "mean", jnp.zeros, ())
        if self.wrong == "shape":
            return jnp.sum(x)
        return gain * x, jnp.zeros(3), jnp.sum(x, axis=-1)


@pytest.mark.parametrize("batch", [(), (3,), (3, 2), (0, 2)])
def test_any_batch_axes(batch):
    x = np.arange(np.prod(batch, dtype=int) * 2, dtype=np.float32).reshape(*batch, 2)
    params = init_params(Double(), jax.random.key(0), (2,))
    assert params == {"gain": 2.0}
    doubled, aside, total = apply_batched(Double(), params, x, (2,))
    np.testing.assert_array_equal(doubled, 2 * x)
    assert aside.shape == (3,)  # even where there are as many rows
    np.testing.assert_array_equal(total, x.sum(axis=-1))


def test_refusals():
    with pytest.raises(UserError, match=r"a flax\.linen module, got function"):
        init_params(lambda x: x, jax.random.key(0), (2,))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"Double keeps batch_stats beside its parameters.*LayerNorm"):
        init_params(Double("state"), jax.random.key(0), (2,))
    params = init_params(Double(), jax.random.key(0), (2,))
    with pytest.raises(UserError, match=r"reads inputs \[..., 2\], got \(4, 3\)"):
        apply_batched(Double(), params, jnp.zeros((4, 3)), (2,))
    with pytest.raises(UserError, match=r"Double must answer arrays \[N, ...\].* N = 4, got \(\)"):
        apply_batched(Double("shape"), params, jnp.zeros((4, 2)), (2,))
    with pytest.raises(UserError, match="Did you mean relu"):
        MLP(1, activation="rely")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="at least 1"):
        MLP(2, (4, 0))


class Functions(chex.TestCase):
    """With and without jit, and on a device."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_a_perceptron_is_its_formula(self):
        module = MLP(2, (5,), "tanh", "he", 0.5)
        params = init_params(module, jax.random.key(0), (3,))
        x = jax.random.normal(jax.random.key(1), (7, 3))
        layers = jax.tree.map(np.asarray, params)
        hidden = np.tanh(np.asarray(x) @ layers["hidden_0"]["kernel"] + layers["hidden_0"]["bias"])
        expected = hidden @ layers["head"]["kernel"]
        found = self.variant(lambda params, x: module.apply({"params": params}, x))(params, x)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_convolution_is_that_of_flax(self):
        x = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
        module, peer = ShiftedConv(6), nn.Conv(6, (3, 3))
        params: Any = init_params(module, jax.random.key(1), (5, 4, 3))
        theirs = {"kernel": params["kernel"].reshape(3, 3, 3, 6), "bias": params["bias"] + 1}
        ours = {**params, "bias": params["bias"] + 1}
        found = self.variant(lambda x: module.apply({"params": ours}, x))(x)
        np.testing.assert_allclose(found, peer.apply({"params": theirs}, x), rtol=1e-4, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_pooling_pads_odd_sides(self):
        x = jnp.arange(6.0).reshape(3, 2, 1)
        found = self.variant(mean_pool2x2)(x)
        np.testing.assert_allclose(found[..., 0], [[1.5], [2.25]])


@pytest.mark.parametrize(
    ("name", "titles", "layers"),
    [
        ("lm", ["language model"], ["layers_1/mlp/gate_up", "layers_1", "embed"]),
        ("ddrl", ["student of pendulum", "student of gridmaze"], ["hidden_0", "head"]),
        (
            "strategist",
            ["AlphaZero, fair, GOPS", "AlphaZero, as published, GOPS", "AlphaZero-style, Avalon", "DeepRole, Avalon"],
            ["hidden_1", "head"],
        ),
    ],
)
def test_the_command_describes_networks(capsys, name, titles, layers):
    options = ["--games", "gops", "avalon"] if name == "strategist" else []
    assert cli.main(["run", name, "--describe", *options]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line in titles] == titles
    assert [layer for layer in layers if layer not in out] == []
    assert "…" not in out  # no path is cut
    assert "\x1b" not in out
    assert out.count("Total Parameters") == len(titles)


def test_an_experiment_without_networks_says_so(capsys):
    assert cli.main(["run", "gops_search", "--describe"]) == 2
    assert "gops_search lists no networks" in capsys.readouterr().err


def test_a_table_of_layers():
    text = describe("a student", Described(MLP(2, (5,)), (jnp.zeros((1, 3)),)))
    assert text.startswith("a student\n")
    assert "hidden_0" in text
    assert "Total Parameters: 32" in text
