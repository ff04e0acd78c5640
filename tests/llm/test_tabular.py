"""The exact sampler against its own enumeration, and draws that do not know their batch."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxrl_suite.llm.protocol import Decoding, Request, Sampler, Usage, require
from jaxrl_suite.llm.tabular import TabularSampler

EOS, VOCABULARY, STATES = 0, 5, 4


def model(seed=0, tables=0) -> TabularSampler:
    rng = np.random.default_rng(tables)
    logits = 1.5 * rng.normal(size=(STATES, VOCABULARY))
    logits[2, 3] = -np.inf
    return TabularSampler(logits, rng.integers(0, STATES, (STATES, VOCABULARY)), eos=EOS, start=1, seed=seed)


DECODINGS = [
    Decoding(max_tokens=3),
    Decoding(max_tokens=3, temperature=0.5),
    Decoding(max_tokens=3, temperature=2.0, top_k=2),
    Decoding(max_tokens=3, top_p=0.7, stop_tokens=(4,)),
    Decoding(max_tokens=4, temperature=0.8, top_k=3, top_p=0.9),
]


@pytest.mark.parametrize("decoding", DECODINGS)
def test_frequencies_follow_the_enumeration(decoding):
    sampler = model()
    exact = sampler.probabilities((2, 1), decoding)
    assert sum(exact.values()) == pytest.approx(1, abs=1e-12)
    n = 20_000
    completions = sampler.sample([Request((2, 1), n, decoding)])[0].completions
    counts = dict.fromkeys(exact, 0)
    for completion in completions:
        counts[tuple(completion.tokens.tolist())] += 1  # a KeyError is a completion that cannot be
    rare = [tokens for tokens, p in exact.items() if n * p < 8]
    observed = [counts[tokens] for tokens in exact if tokens not in rare]
    expected = [n * exact[tokens] for tokens in exact if tokens not in rare]
    if rare:
        observed.append(sum(counts[tokens] for tokens in rare))
        expected.append(sum(n * exact[tokens] for tokens in rare))
    assert stats.chisquare(observed, expected).pvalue > 1e-4
    for completion in completions[:200]:
        tokens = tuple(completion.tokens.tolist())
        assert np.exp(completion.logprobs.sum(dtype=np.float64)) == pytest.approx(exact[tokens], rel=1e-5)
        ended = tokens[-1] in (EOS, *decoding.stop_tokens)
        assert completion.finish == ("stop" if ended else "length")
        assert not set(tokens[:-1]) & {EOS, *decoding.stop_tokens}


def test_the_enumeration_is_the_product_of_the_tables():
    sampler = model()
    table = np.exp(sampler.logits.astype(np.float64))
    table /= table.sum(axis=1, keepdims=True)
    exact = sampler.probabilities((3,), Decoding(max_tokens=2))
    state = sampler.next_state[1, 3]
    for first, second in itertools.product(range(1, VOCABULARY), range(VOCABULARY)):
        p = table[state, first] * table[sampler.next_state[state, first], second]
        assert exact.get((first, second), 0.0) == pytest.approx(p, rel=1e-6)
    assert exact[(EOS,)] == pytest.approx(table[state, EOS], rel=1e-6)
    with pytest.raises(ValueError, match="more than 50 completions: lower max_tokens"):
        sampler.probabilities((3,), Decoding(max_tokens=8), most=50)


def test_greedy_takes_the_likeliest_and_the_lowest_on_ties():
    sampler = TabularSampler(np.asarray([[0, 2, 2], [3, 0, 0]]), np.asarray([[0, 1, 0], [0, 0, 0]]), eos=0)
    reply = sampler.sample([Request((2,), 3, Decoding(max_tokens=5, temperature=0))])[0]
    for completion in reply.completions:
        assert completion.tokens.tolist() == [1, 0]
        assert completion.logprobs.tolist() == [0, 0]
    assert sampler.probabilities((2,), Decoding(max_tokens=5, temperature=0)) == {(1, 0): 1.0}
    assert reply.usage == reply.fresh == Usage(samples=3, requests=1, prompt_tokens=1, output_tokens=6)


def bits(completion):
    return completion.tokens.tobytes(), completion.logprobs.tobytes(), completion.finish, completion.num_tokens


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_draw_does_not_know_its_batch(data):
    sampler = model(seed=data.draw(st.integers(0, 3)))
    requests = data.draw(
        st.lists(
            st.builds(
                Request,
                st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=3).map(tuple),
                st.integers(1, 5),
                st.sampled_from(DECODINGS),
                st.lists(st.integers(0, 2**32 - 1), max_size=2).map(tuple),
                st.integers(0, 3),
            ),
            min_size=1,
            max_size=4,
        )
    )
    together = sampler.sample(requests)
    for request, reply in zip(requests, together, strict=True):
        for i, completion in enumerate(reply.completions):
            alone = dataclasses.replace(request, first_draw=request.first_draw + i, num_samples=1)
            assert bits(sampler.sample([alone])[0].completions[0]) == bits(completion)


def test_a_draw_is_the_same_in_a_batch_of_256():
    sampler = model()
    reply = sampler.sample([Request((1,), 256, Decoding(max_tokens=16), path=(7,))])[0]
    for d in (0, 100, 255):
        alone = sampler.sample([Request((1,), 1, Decoding(max_tokens=16), path=(7,), first_draw=d)])[0]
        assert bits(alone.completions[0]) == bits(reply.completions[d])


def test_a_shorter_limit_gives_the_beginning_of_the_same_sample():
    sampler = model()
    long, short = (
        sampler.sample([Request((1,), 50, Decoding(max_tokens=n), path=(3,))])[0].completions for n in (9, 2)
    )
    for a, b in zip(long, short, strict=True):
        assert a.tokens.tolist()[: b.num_tokens] == b.tokens.tolist()


def test_seeds_and_paths_are_other_draws():
    request = Request((1,), 50, Decoding(max_tokens=8))
    draws = [
        tuple(map(bits, sampler.sample([r])[0].completions))
        for sampler, r in [
            (model(), request),
            (model(seed=1), request),
            (model(), dataclasses.replace(request, path=(0,))),
            (model(), dataclasses.replace(request, path=(0, 0))),
        ]
    ]
    assert len(set(draws)) == 4
    assert len({model().name, model(seed=1).name, model(tables=1).name}) == 3


def test_scores_are_those_of_the_samples():
    sampler = model()
    completions = sampler.sample([Request((2,), 20, Decoding(max_tokens=6))])[0].completions
    scores = sampler.score([((2,), completion.tokens.tolist()) for completion in completions])
    for completion, score in zip(completions, scores, strict=True):
        assert score.tobytes() == completion.logprobs.tobytes()
    assert sampler.score([((1,), ())])[0].shape == (0,)


def test_what_does_not_fit_is_refused():
    sampler = model()
    assert isinstance(sampler, Sampler)
    require(sampler, "a test", "prefix", "logprobs", "seed")
    for request, match in [
        (Request("text"), "encode the text first"),
        (Request((5,)), "token 5 is not in the vocabulary"),
        (Request((1,), decoding=Decoding(stop=("x",))), "use stop_tokens"),
        (Request((1,), decoding=Decoding(stop_tokens=(9,))), "token 9 is not"),
    ]:
        with pytest.raises(ValueError, match=match):
            sampler.sample([request])
    with pytest.raises(ValueError, match="token 7 is not"):
        sampler.score([((1,), (7,))])
    good = np.zeros((2, 3)), np.zeros((2, 3), int)
    for (logits, following), options, match in [
        ((good[0], np.zeros((3, 2))), {}, "must both be"),
        ((good[0], good[1] + 2), {}, "states from 0 to 1"),
        ((good[0] - np.inf, good[1]), {}, "a finite logit"),
        ((good[0] + np.nan, good[1]), {}, "a finite logit"),
        (good, {"eos": 3}, "a token below 3"),
        (good, {"start": 2}, "a state below 2"),
    ]:
        with pytest.raises(ValueError, match=match):
            TabularSampler(logits, following, **{"eos": 0, **options})
