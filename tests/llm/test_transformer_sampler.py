"""Cached decoding against the full forward pass, draws alone against draws in a batch, forks against fresh prompts."""

import dataclasses
from collections import Counter

import chex
import jax
import numpy as np
import pytest
from fixtures.small_tokenizers import byte_level_bpe
from scipy import special, stats

from jaxrl_suite.llm.protocol import Decoding, Message, Request, Sampler, Usage
from jaxrl_suite.llm.transformer import (
    config as lm_config,
)
from jaxrl_suite.llm.transformer import (
    decode,
    model,
)
from jaxrl_suite.llm.transformer import (
    prefix_cache as prefix_store,
)
from jaxrl_suite.llm.transformer import (
    sampler as transformer_sampler,
)
from jaxrl_suite.llm.transformer.sampler import SamplerConfig, TransformerSampler

VOCAB = 20
CONFIG = lm_config.LMConfig(VOCAB, width=32, head_dim=8, hidden=48, tied=False)
PARAMS = jax.jit(model.init, static_argnums=0)(CONFIG, jax.random.key(0))
PARAMS = {**PARAMS, "head": {"kernel": PARAMS["head"]["kernel"] * 1.5}}  # distributions that are far from uniform
FORWARD = jax.jit(model.forward, static_argnums=0)
LETTERS = "abcdefghijklmnopqrs"


def make(eos=(), **options):
    return TransformerSampler("tiny", CONFIG, PARAMS, eos=eos, options=SamplerConfig(**options))


def prompt(length, seed=0):
    return tuple(np.random.default_rng([seed, length]).integers(1, VOCAB, length).tolist())


@pytest.fixture(scope="module")
def sampler():
    return make()


def full_logits(ids):
    """float32[T, V] from a whole forward pass without a cache, padded at its end."""
    padded = np.zeros((1, CONFIG.context), np.int32)
    padded[0, : len(ids)] = ids
    return np.asarray(FORWARD(CONFIG, PARAMS, padded))[0, : len(ids)]


def full_logprobs(prefix, tokens, temperature=1.0):
    """float32[T] of each token."""
    lines = special.log_softmax(full_logits([*prefix, *tokens])[len(prefix) - 1 : -1] / temperature, axis=-1)
    return lines[np.arange(len(tokens)), tokens]


def test_it_is_a_sampler(sampler):
    assert isinstance(sampler, Sampler)
    assert sampler.capabilities == (True, True, True, True, True, False)
    assert sampler.name == "tiny#0"


def test_prefill_is_the_full_forward_pass():
    """With mixed lengths, and in two parts."""
    lengths = np.array([3, 16, 9, 1], np.int32)
    tokens = np.zeros((4, 16), np.int32)
    for row, n in enumerate(lengths):
        tokens[row, :n] = prompt(n)
    zero = np.zeros(4, np.int32)
    run = jax.jit(decode.prefill, static_argnums=0)
    whole, hidden = run(CONFIG, PARAMS, model.empty_cache(CONFIG, 4, 32), zero, tokens, lengths)
    first = np.minimum(lengths, [1, 7, 8, 1]).astype(np.int32)
    part, _ = run(CONFIG, PARAMS, model.empty_cache(CONFIG, 4, 32), zero, tokens, first)
    rest = np.maximum(lengths - first, 1)  # a row without a rest computes its last token again
    start = lengths - rest
    later = np.stack([np.roll(row, -s) for row, s in zip(tokens, start, strict=True)])[:, :16]
    part, again = run(CONFIG, PARAMS, part, start, later, rest)
    for row, n in enumerate(lengths):
        exact = full_logits(tokens[row, :n])[-1]
        np.testing.assert_allclose(model.logits(CONFIG, PARAMS, hidden[row]), exact, atol=1e-5)
        np.testing.assert_allclose(model.logits(CONFIG, PARAMS, again[row]), exact, atol=1e-5)
        filled = lambda cache, row=row, n=n: jax.tree.map(lambda leaf: leaf[row, :, :n], cache)  # noqa: E731
        chex.assert_trees_all_close(filled(whole), filled(part), atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_cached_decoding_is_the_full_forward_pass(sampler, temperature):
    decoding = Decoding(max_tokens=30, temperature=temperature)
    requests = [Request(prompt(n), 2, decoding, (n,)) for n in (1, 2, 5, 15, 16, 17, 31, 33)]
    for request, reply in zip(requests, sampler.sample(requests), strict=True):
        for completion in reply.completions:
            assert len(completion.tokens) == 30
            assert completion.finish == "length"
            exact = full_logprobs(request.prefix, completion.tokens.tolist(), temperature)
            np.testing.assert_allclose(completion.logprobs, exact, atol=1e-5 / temperature)


def test_score_is_the_full_forward_pass(sampler):
    pairs = [(prompt(3), prompt(5)), (prompt(20), prompt(1)), (prompt(1), prompt(40))]
    for (prefix, continuation), got in zip(pairs, sampler.score(pairs), strict=True):
        np.testing.assert_allclose(got, full_logprobs(prefix, continuation), atol=1e-5)
    (reply,) = sampler.sample([Request(prompt(4), decoding=Decoding(max_tokens=12))])
    (completion,) = reply.completions
    np.testing.assert_allclose(sampler.score([(prompt(4), completion.tokens)])[0], completion.logprobs, atol=1e-5)


def test_greedy_takes_the_likeliest(sampler):
    (reply,) = sampler.sample([Request(prompt(6), decoding=Decoding(max_tokens=20, temperature=0.0))])
    ids = list(prompt(6))
    for token in reply.completions[0].tokens:
        assert token == np.argmax(full_logits(ids)[-1])
        ids.append(int(token))
    assert reply.completions[0].logprobs.tolist() == [0.0] * 20


def rows(replies):
    return [(c.tokens.tolist(), c.finish) for reply in replies for c in reply.completions]


@pytest.mark.parametrize("fixed", [False, True])
def test_tokens_are_the_same_alone_and_among_256(fixed):
    """Mixed prompts, answers, temperatures and filters; 1 of them in a batch of 256, and alone."""
    options = dict(max_rows=16, fixed_rows=True) if fixed else dict(max_rows=256)
    decodings = [
        Decoding(max_tokens=24, temperature=1.0),
        Decoding(max_tokens=9, temperature=0.5, top_k=3),
        Decoding(max_tokens=24, temperature=1.5, top_p=0.9),
        Decoding(max_tokens=24, temperature=0.0),
    ]
    requests = [Request(prompt(1 + i % 13, i), 1, decodings[i % 4], (i,)) for i in range(256)]
    together = make(eos=(0,), **options).sample(requests)
    alone = make(eos=(0,), **options)
    for i in (0, 1, 2, 3, 77, 130, 201, 255):
        (reply,) = alone.sample([requests[i]])
        assert rows([reply]) == rows([together[i]])
        exact = reply.completions[0].logprobs, together[i].completions[0].logprobs
        if fixed:
            np.testing.assert_array_equal(*exact)
        np.testing.assert_allclose(*exact, atol=1e-5)
    assert len({str(row) for row in rows(together)}) > 150  # draws differ


def test_a_draw_is_the_same_in_every_request(sampler):
    request = Request(prompt(5), 8, Decoding(max_tokens=10), (3,))
    (whole,) = sampler.sample([request])
    parts = sampler.sample(
        [dataclasses.replace(request, num_samples=3), dataclasses.replace(request, first_draw=3, num_samples=5)]
    )
    assert rows([whole]) == rows(parts)
    other = make(seed=1).sample([request])
    assert rows(other) != rows([whole])


def test_frequencies_follow_the_softmax(sampler):
    """Two tokens deep: the joint law of 6,000 draws, against exact probabilities."""
    draws, prefix = 6000, prompt(4)
    (reply,) = sampler.sample([Request(prefix, draws, Decoding(max_tokens=2, temperature=0.8), (9,))])
    seen = np.zeros((VOCAB, VOCAB))
    for completion in reply.completions:
        seen[tuple(completion.tokens)] += 1
    first = special.softmax(full_logits(prefix)[-1].astype(np.float64) / 0.8)
    second = [special.softmax(full_logits([*prefix, token])[-1].astype(np.float64) / 0.8) for token in range(VOCAB)]
    exact = first[:, None] * np.stack(second)
    often = exact * draws > 5
    counts = np.append(seen[often], seen[~often].sum())
    expected = np.append(exact[often], exact[~often].sum()) * draws
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3
    np.testing.assert_allclose(reply.usage.output_tokens, 2 * draws)


def test_forks_are_fresh_prompts():
    stem, tails = prompt(20), [prompt(n, 5) for n in (1, 4, 11)]
    decoding = Decoding(max_tokens=12)
    requests = [Request(stem + tail, 2, decoding, (i,)) for i, tail in enumerate(tails)]
    fresh, forked = make(), make()
    forked.sample([Request(stem, decoding=decoding)])
    expected, got = fresh.sample(requests), forked.sample(requests)
    assert rows(expected) == rows(got)
    for a, b in zip(expected, got, strict=True):
        assert (a.usage.cached_tokens, b.usage.cached_tokens) == (0, 20)
        for x, y in zip(a.completions, b.completions, strict=True):
            np.testing.assert_allclose(x.logprobs, y.logprobs, atol=1e-5)
    again = forked.sample(requests)
    assert rows(again) == rows(expected)
    assert [reply.usage.cached_tokens for reply in again] == [len(request.prefix) for request in requests]


def test_with_fixed_rows_what_is_stored_changes_no_bit():
    """A prompt that goes on from a stored one would be summed in another order."""
    stem, decoding = prompt(20), Decoding(max_tokens=3)
    sampler = make(max_rows=2, fixed_rows=True)
    first, longer, again = (
        sampler.sample([Request(ids, decoding=decoding)])[0].usage.cached_tokens for ids in (stem, (*stem, 1), stem)
    )
    assert (first, longer, again) == (0, 0, 20)


def test_a_small_store_forgets_and_still_answers():
    """Room for two prompts of a size, eight prompts asked for in every order."""
    slot = 2 * CONFIG.num_layers * CONFIG.num_kv_heads * CONFIG.head_dim * 16 * 4
    small, large = make(cache_bytes=2 * slot), make()
    requests = [
        Request(prompt(3, i % 8), 2, Decoding(max_tokens=5), (i,)) for i in (0, 1, 0, 2, 3, 4, 5, 6, 7, 0, 5, 5)
    ]
    assert rows(small.sample(requests)) == rows(large.sample(requests))
    pool = small._store.pool(16)
    assert pool.slots == 2
    assert list(pool.slot_of) == [prompt(3, 0), prompt(3, 5)] or list(pool.slot_of)[-1] == prompt(3, 5)
    (hit,) = small.sample([Request(prompt(3, 5), 1, Decoding(max_tokens=5))])
    assert hit.usage.cached_tokens == 3


def test_the_store_gives_up_what_was_unused_longest():
    pool = prefix_store.CachePool(CONFIG, 16, 3)
    slots = [pool.place((i,)) for i in range(3)]
    pool.slot_of.move_to_end((0,))
    assert pool.place((7,)) == slots[1]
    assert list(pool.slot_of) == [(2,), (0,), (7,)]


def test_end_tokens_end_a_sample():
    decoding = Decoding(max_tokens=40, temperature=1.5, stop_tokens=(3,))
    (reply,) = make(eos=(0,)).sample([Request(prompt(5), 64, decoding)])
    for completion in reply.completions:
        ends = [i for i, token in enumerate(completion.tokens) if token in (0, 3)]
        assert (completion.finish == "stop") == bool(ends)
        assert len(completion.tokens) == (ends[0] + 1 if ends else 40)
        assert completion.num_tokens == len(completion.tokens)
    lengths = [len(c.tokens) for c in reply.completions]
    assert min(lengths) < 10 < max(lengths)
    assert reply.usage.output_tokens == sum(lengths)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_and_compaction_change_nothing(chunk):
    request = Request(prompt(5), 33, Decoding(max_tokens=40, temperature=1.5), (1,))
    expected = rows(make(eos=(0, 3), chunk=40).sample([request]))
    assert rows(make(eos=(0, 3), chunk=chunk).sample([request])) == expected


def with_text(**options):
    tokens = byte_level_bpe(["<eos>", *LETTERS], [], special=["<eos>"], eos=(0,), bos=None, chat_template=None)
    return TransformerSampler("tiny", CONFIG, PARAMS, tokenizer=tokens, options=SamplerConfig(**options))


def test_stop_strings_are_cut_off():
    sampler = with_text(chunk=4)
    plain = Decoding(max_tokens=30, temperature=1.5)
    (free,) = sampler.sample([Request("abc", 128, plain, (2,))])
    texts = [c.text or "" for c in free.completions]
    pairs = Counter(text[i : i + 2] for text in texts for i in range(4, len(text) - 1))
    word = pairs.most_common(1)[0][0]
    (cut,) = sampler.sample([Request("abc", 128, dataclasses.replace(plain, stop=("zz", word)), (2,))])
    stopped = 0
    for a, b in zip(free.completions, cut.completions, strict=True):
        at = a.text.find(word)
        assert b.text == (a.text or "")[: at if at >= 0 else None]
        if at >= 0:
            stopped += 1
            assert a.tokens is not None
            assert a.logprobs is not None
            assert b.finish == "stop"
            assert b.tokens.tolist() == a.tokens[: at + 2].tolist()
            np.testing.assert_allclose(b.logprobs, a.logprobs[: at + 2], atol=1e-5)
            assert len(b.tokens) <= b.num_tokens <= len(b.tokens) + 4
    assert stopped > 1
    spent = sum(c.num_tokens - len(c.tokens) for c in cut.completions)
    assert cut.usage.discarded_tokens == spent
    assert cut.usage.output_tokens == sum(c.num_tokens for c in cut.completions)


def test_a_stop_string_that_no_text_can_hold_is_refused():
    with pytest.raises(ValueError, match="'<eos>' is a token that no text shows: give its id in stop_tokens"):
        with_text().sample([Request("abc", decoding=Decoding(9, stop=("a", "b<eos>")))])


def test_usage_counts_a_shared_prompt_once():
    sampler = make()
    first, second = sampler.sample(
        [Request(prompt(7), 3, Decoding(max_tokens=4)), Request(prompt(7), 1, Decoding(max_tokens=4))]
    )
    assert dataclasses.replace(first.usage, seconds=0) == Usage(3, 1, 7, 0, 12)
    assert dataclasses.replace(second.usage, seconds=0) == Usage(1, 1, 7, 7, 4)
    assert first.fresh == first.usage
    assert first.usage.seconds > second.usage.seconds > 0


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (Request("text"), "no tokenizer"),
        (Request((Message("user", "hi"),)), "no tokenizer"),
        (Request((VOCAB,)), "token ids must be 0 to 19"),
        (Request((-1,)), "token ids"),
        (Request(prompt(60), decoding=Decoding(max_tokens=5)), "exceed the model's context of 64"),
        (Request((1,), decoding=Decoding(stop=("a",), max_tokens=3)), "stop_tokens"),
        (Request((1,), decoding=Decoding(stop_tokens=(VOCAB,), max_tokens=3)), "token ids must be 0 to 19"),
    ],
)
def test_refuses_what_it_cannot_answer(sampler, request_, word):
    good = Request(prompt(3), decoding=Decoding(max_tokens=3))
    with pytest.raises(ValueError, match=word):
        sampler.sample([good, request_])


@pytest.mark.parametrize("bad", [dict(max_rows=3), dict(chunk=0), dict(seed=-1)])
def test_refuses_impossible_options(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SamplerConfig(**bad)


def test_few_programs_are_compiled():
    """Requests of any length up to a bucket share their programs."""
    sampler = make()
    sampler.sample([Request(prompt(9), 4, Decoding(max_tokens=10))])
    before = [f._cache_size() for f in (decode.prefill_jit, decode.begin_jit, decode.advance_jit)]
    for n in (1, 3, 8, 16):
        sampler.sample([Request(prompt(n, 1), 3, Decoding(max_tokens=n, temperature=0.1 * n), (n,))])
    assert [f._cache_size() for f in (decode.prefill_jit, decode.begin_jit, decode.advance_jit)] == before


def test_a_start_that_gives_way_in_the_same_batch_is_read_first():
    """The store holds two prompts; a new one takes the slot of the prompt that another new one goes on from."""
    slot = 2 * CONFIG.num_layers * CONFIG.num_kv_heads * CONFIG.head_dim * 16 * 4
    small, decoding = make(cache_bytes=2 * slot), Decoding(max_tokens=8)
    for stem in (prompt(5), prompt(4)):
        small.sample([Request(stem, decoding=decoding)])
    requests = [Request(prompt(6), 1, decoding, (1,)), Request((*prompt(5), 7, 3), 1, decoding, (2,))]
    replies = small.sample(requests)
    assert [reply.usage.cached_tokens for reply in replies] == [0, 5]
    for request, reply in zip(requests, replies, strict=True):
        exact = full_logprobs(request.prefix, reply.completions[0].tokens.tolist())
        np.testing.assert_allclose(reply.completions[0].logprobs, exact, atol=1e-5)


def test_an_interrupted_store_forgets_what_it_had_not_written(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    sampler, request = make(), Request(prompt(5), 4, Decoding(max_tokens=6))
    monkeypatch.setattr(prefix_store, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sampler.sample([request])
    monkeypatch.undo()
    assert rows(sampler.sample([request])) == rows(make().sample([request]))


def test_nothing_is_answered_by_nothing(sampler):
    assert sampler.sample([]) == []
    assert sampler.score([]) == []
    with pytest.raises(ValueError, match="the prefix has no tokens"):
        sampler.score([((), (1, 2))])


def test_the_first_stop_string_that_is_whole_ends_a_sample():
    """`b` is whole before `abc` is, wherever a chunk ends."""
    tokenizer = with_text().tokenizer
    assert tokenizer is not None
    tokens = np.asarray(tokenizer.encode("dabcd"))
    for end in range(3, 6):
        assert transformer_sampler._cut(tokenizer, (), tokens[:end], ("abc", "b")) == (3, "da", True)


def test_memory_bounds_the_rows_and_changes_no_draw():
    requests = [Request(prompt(20, i), 3, Decoding(max_tokens=20), (i,)) for i in range(6)]
    each = prefix_store.slot_bytes(CONFIG) * 64 + 4 * CONFIG.num_heads * 32**2
    assert prefix_store.most_rows(CONFIG, 32, 32, 256, 7 * each) == 4
    assert prefix_store.most_rows(CONFIG, 32, 32, 256, 0) == 1
    assert prefix_store.most_rows(CONFIG, 32, 32, 8, 10**12) == 8
    small, large = make(batch_bytes=7 * each), make()
    draws = [transformer_sampler._Draw(0, (), d, prompt(20), Decoding(max_tokens=20)) for d in range(9)]
    assert [len(batch) for batch in small._batches(draws)] == [4, 4, 1]
    assert rows(small.sample(requests)) == rows(large.sample(requests))
