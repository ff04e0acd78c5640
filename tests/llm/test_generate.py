"""Generation as a function beside the sampler: the same keys draw the same tokens, with the same log-probabilities."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.llm.protocol import Decoding, Request
from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import model, sampling
from jaxrl_suite.llm.transformer.generate import Prompts, generate, score
from jaxrl_suite.llm.transformer.sampler import SamplerConfig, TransformerSampler

CONFIG = lm_config.LMConfig(20, width=32, num_layers=2, head_dim=8, hidden=48, tied=False)
PARAMS = jax.jit(model.init, static_argnums=0)(CONFIG, jax.random.key(0))
PARAMS = {**PARAMS, "head": {"kernel": PARAMS["head"]["kernel"] * 1.5}}  # distributions that are far from uniform
LENGTHS = (1, 7, 12, 3, 12, 5)
RUN = jax.jit(generate, static_argnums=(0, 4))
DECODINGS = [
    Decoding(max_tokens=14, stop_tokens=(0, 3)),
    Decoding(max_tokens=14, temperature=0.6, top_k=5, top_p=0.9, stop_tokens=(13, 17)),
    Decoding(max_tokens=14, temperature=0.0),
]


@functools.cache
def prompts():
    tokens = np.random.default_rng(0).integers(1, 20, (len(LENGTHS), 12)).astype(np.int32)
    return Prompts(jnp.asarray(tokens), jnp.asarray(LENGTHS, jnp.int32))


def row(i):
    return tuple(np.asarray(prompts().tokens)[i, : LENGTHS[i]].tolist())


def keys(seed=4):
    return sampling.draw_keys(seed, [((i,), 0) for i in range(len(LENGTHS))])


@functools.cache
def result(decoding):
    return jax.device_get(RUN(CONFIG, PARAMS, prompts(), keys(), decoding))


@pytest.mark.parametrize("decoding", DECODINGS)
def test_it_draws_what_the_sampler_draws(decoding):
    sampler = TransformerSampler("tiny", CONFIG, PARAMS, options=SamplerConfig(seed=4))
    replies = sampler.sample([Request(row(i), decoding=decoding, path=(i,)) for i in range(len(LENGTHS))])
    ours = result(decoding)
    for i, reply in enumerate(replies):
        (theirs,) = reply.completions
        n = ours.length[i]
        assert ours.tokens[i, :n].tolist() == theirs.tokens.tolist()
        assert ours.finished[i] == (theirs.finish == "stop")
        assert not ours.tokens[i, n:].any()
        assert not ours.logprobs[i, n:].any()
        np.testing.assert_allclose(ours.logprobs[i, :n], theirs.logprobs, atol=2e-5)
    if decoding.stop_tokens:
        assert ours.finished.sum() > 0
        assert len(set(ours.length.tolist())) > 2


def test_log_probabilities_are_those_of_one_pass_without_cache():
    ours = result(DECODINGS[0])
    whole = np.zeros((len(LENGTHS), 26), np.int32)
    for i, n in enumerate(LENGTHS):
        whole[i, :n], whole[i, n : n + 14] = row(i), ours.tokens[i]
    lines = np.asarray(jax.jit(score, static_argnums=0)(CONFIG, PARAMS, whole))
    for i, n in enumerate(LENGTHS):
        k = ours.length[i]
        np.testing.assert_allclose(lines[i, n - 1 : n - 1 + k], ours.logprobs[i, :k], atol=2e-5)


def test_a_row_does_not_depend_on_the_others():
    order = np.asarray([4, 0, 5, 2, 2, 1])
    shuffled = RUN(CONFIG, PARAMS, jax.tree.map(lambda x: x[order], prompts()), keys()[order], DECODINGS[0])
    chex.assert_trees_all_equal(shuffled, jax.tree.map(lambda x: x[order], result(DECODINGS[0])))
    alone = RUN(CONFIG, PARAMS, jax.tree.map(lambda x: x[2:3], prompts()), keys()[2:3], DECODINGS[0])
    assert alone.tokens[0].tolist() == result(DECODINGS[0]).tokens[2].tolist()
    np.testing.assert_allclose(alone.logprobs[0], result(DECODINGS[0]).logprobs[2], atol=2e-5)


def test_what_stands_behind_a_prompt_is_not_looked_at():
    behind = jnp.arange(12)[None] >= prompts().length[:, None]
    other = prompts()._replace(tokens=jnp.where(behind, 19, prompts().tokens))
    changed = RUN(CONFIG, PARAMS, other, keys(), DECODINGS[0])
    assert changed.tokens.tolist() == result(DECODINGS[0]).tokens.tolist()


def test_several_draws_of_a_prompt_are_those_of_their_keys():
    both = jnp.stack([keys(), keys(5)], axis=1)
    groups = RUN(CONFIG, PARAMS, prompts(), both, DECODINGS[0])
    assert groups.tokens.shape == (6, 2, 14)
    assert groups.length.shape == groups.finished.shape == (6, 2)
    assert groups.tokens[:, 0].tolist() == result(DECODINGS[0]).tokens.tolist()
    assert groups.tokens[:, 1].tolist() != groups.tokens[:, 0].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(decoding=Decoding(stop=("x",))), "use stop_tokens"),
        (dict(decoding=Decoding(max_tokens=CONFIG.context)), "exceed the model's context"),
        (dict(keys=jax.random.key_data(jax.random.split(jax.random.key(0), 6))), "a typed key for each of 6"),
        (dict(keys=jax.random.split(jax.random.key(0), 5)), "a typed key for each of 6"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    arguments = dict(prompts=prompts(), keys=jax.random.split(jax.random.key(0), 6), decoding=DECODINGS[0]) | change
    with pytest.raises(ValueError, match=message):
        generate(CONFIG, PARAMS, **arguments)
