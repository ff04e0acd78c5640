"""Temperature, top-k and top-p against plain Python, and drawn frequencies against the probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxrl_suite.llm.transformer import sampling

FILTER = jax.jit(sampling.filtered_logprobs)
DRAW = jax.jit(sampling.draw_tokens)


def filtered_in_python(logits, temperature, top_k, top_p):
    """Probabilities, straight from the definition."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if temperature == 0:
        return [1.0 if i == order[0] else 0.0 for i in range(len(logits))]
    weights = np.exp((np.asarray(logits, np.float64) - max(logits)) / temperature)
    kept = order[:top_k] if top_k else order
    if top_p < 1:
        mass, total, few = 0.0, sum(weights[i] for i in kept), []
        for i in kept:
            few.append(i)
            mass += weights[i] / total
            if mass >= top_p:
                break
        kept = few
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(logits))]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-8, 8), min_size=6, max_size=6),
    st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    st.integers(0, 7),
    st.sampled_from([0.05, 0.33, 0.77, 0.95, 1.0]),
)
def test_filters_are_their_definition(halves, temperature, top_k, top_p):
    logits = [h / 2 for h in halves]  # ties are frequent
    args = (jnp.float32(temperature), jnp.int32(top_k), jnp.float32(top_p))
    got = FILTER(jnp.asarray([logits], jnp.float32), *(a[None] for a in args))
    np.testing.assert_allclose(np.exp(got[0]), filtered_in_python(logits, temperature, top_k, top_p), atol=1e-5)


def test_rows_with_different_settings_share_a_batch():
    logits = jnp.tile(jnp.asarray([[0.0, 1.0, 2.0, 3.0]]), (4, 1))
    got = np.exp(FILTER(logits, jnp.array([0.0, 1, 2, 1]), jnp.array([0, 2, 0, 0]), jnp.array([1.0, 1, 1, 0.5])))
    for row, how in zip(got, [(0.0, 0, 1.0), (1.0, 2, 1.0), (2.0, 0, 1.0), (1.0, 0, 0.5)], strict=True):
        np.testing.assert_allclose(row, filtered_in_python([0.0, 1, 2, 3], *how), atol=1e-6)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.7, 5, 1.0), (1.3, 0, 0.8)])
def test_frequencies_follow_the_probabilities(temperature, top_k, top_p):
    logits = jax.random.normal(jax.random.key(1), (8,)) * 1.5
    draws = 40_000
    rows = [jnp.full((draws,), x) for x in (temperature, top_k, top_p)]
    logprobs = sampling.filtered_logprobs(jnp.tile(logits[None], (draws, 1)), *rows)
    keys = sampling.draw_keys(3, [((5,), d) for d in range(draws)])
    tokens, logprob = sampling.draw_tokens(keys, logprobs)
    expected = np.asarray(filtered_in_python(logits.tolist(), temperature, top_k, top_p))
    counts = np.bincount(tokens, minlength=8)
    assert counts[expected == 0].sum() == 0
    assert stats.chisquare(counts[expected > 0], expected[expected > 0] * draws).pvalue > 1e-3
    np.testing.assert_allclose(np.exp(logprob), expected[tokens], rtol=1e-4)


def test_a_key_belongs_to_its_draw():
    draws = [((1, 2), 0), ((1, 2), 1), ((1,), 20), ((12,), 0), ((), 0), ((1, 2, 0), 0)]
    together = jax.random.key_data(sampling.draw_keys(0, draws))
    assert len({tuple(row) for row in together.tolist()}) == len(draws)
    for row, draw in zip(together, draws, strict=True):
        np.testing.assert_array_equal(row, jax.random.key_data(sampling.draw_key(0, *draw)))
    assert (jax.random.key_data(sampling.draw_key(1, (1, 2), 0)) != together[0]).any()


@pytest.mark.parametrize("temperature", [2e-38, 1e-30, 1e-8, 1e8, 3e38, np.inf])
@pytest.mark.parametrize("top_p", [1e-45, 1e-8, 1.0])
def test_extreme_settings_are_the_limits_of_moderate_ones(temperature, top_p):
    logits = jnp.asarray([[0.0, 20.0, -30.0, 21.0, -jnp.inf]])
    args = (jnp.float32(temperature), jnp.int32(2**31 - 1), jnp.float32(top_p))
    got = np.exp(FILTER(logits, *(a[None] for a in args)))[0]
    greedy = temperature < 1 or top_p < 1
    np.testing.assert_allclose(got, [0, 0, 0, 1, 0] if greedy else [0.25, 0.25, 0.25, 0.25, 0], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([-np.inf, -30.0, -1.0, 0.0, 4.0]), min_size=2, max_size=2), st.integers(0, 2**31))
def test_what_has_no_probability_is_never_drawn(ends, seed):
    """In a vocabulary of several blocks, most of it dropped; the boundary cases of both levels."""
    logits = np.full(700, -np.inf, np.float32)
    logits[[3, 255, 256, 511, 600]] = [0.0, -2.0, 1.0, -30.0, 0.5]
    logits[[0, 699]] = ends
    logprobs = jnp.tile(sampling.filtered_logprobs(jnp.asarray(logits), jnp.float32(1.0))[None], (64, 1))
    tokens, logprob = DRAW(sampling.draw_keys(seed, [((), d) for d in range(64)]), logprobs)
    assert np.isfinite(logprob).all()
    np.testing.assert_array_equal(logprob, logprobs[0][tokens])


def test_frequencies_over_many_blocks():
    logits = jax.random.normal(jax.random.key(2), (1000,)) * 2
    draws = 60_000
    exact = np.asarray(jax.nn.softmax(logits), np.float64)
    logprobs = jnp.broadcast_to(jax.nn.log_softmax(logits)[None], (draws // 20, 1000))
    counts = np.zeros(1000)
    for part in range(20):
        keys = sampling.draw_keys(0, [((part,), d) for d in range(draws // 20)])
        counts += np.bincount(DRAW(keys, logprobs)[0], minlength=1000)
    often = exact * draws > 5
    expected = np.append(exact[often], exact[~often].sum())
    seen = np.append(counts[often], counts[~often].sum())
    assert stats.chisquare(seen, expected / expected.sum() * draws).pvalue > 1e-3
