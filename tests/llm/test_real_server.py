"""The HTTP sampler against a real server; run by hand.

Start one, for instance llama.cpp's (`pip install 'llama-cpp-python[server]'` compiles it in minutes) with the model
that `jaxrl-suite fetch smollm2` brings:

    python -m llama_cpp.server --model SmolLM2-135M-Instruct.Q4_1.gguf --port 18081 --model_alias smol \
        --logits_all true --n_ctx 2048

    JAXRL_SUITE_TEST_SERVER=http://127.0.0.1:18081/v1 JAXRL_SUITE_TEST_SERVER_MODEL=smol \
        pytest -m real_server tests/llm/test_real_server.py

It has to serve chat and completions with log-probabilities; whether it honours `n` and the stop strings is looked at.
"""

import os

import numpy as np
import pytest

from jaxrl_suite.llm.http.config import HTTPConfig, HTTPLimits
from jaxrl_suite.llm.http.sampler import HTTPSampler
from jaxrl_suite.llm.ledger import Budget, Ledger
from jaxrl_suite.llm.protocol import Decoding, Message, Request, Usage
from jaxrl_suite.llm.recorder import ReplaySampler
from jaxrl_suite.llm.recording import Recording

URL = os.environ.get("JAXRL_SUITE_TEST_SERVER", "")
pytestmark = [
    pytest.mark.real_server,
    pytest.mark.skipif(not URL, reason="set JAXRL_SUITE_TEST_SERVER to the address of a server, up to /v1"),
]
SHORT = Decoding(max_tokens=12)
GREEDY = Decoding(max_tokens=12, temperature=0)


def make(*, recording=None, ledger=None, **options) -> HTTPSampler:
    config = HTTPConfig(
        URL,
        os.environ.get("JAXRL_SUITE_TEST_SERVER_MODEL", "default"),
        limits=HTTPLimits(concurrency=2, read_timeout=120.0),
        **options,
    )
    return HTTPSampler(config, recording=recording, ledger=ledger)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_two_samples_with_log_probabilities(api):
    with make(api=api, logprobs=True) as sampler:
        reply = sampler.sample([Request("The capital of France is", 2, SHORT)])[0]
    assert reply.error is None
    assert len(reply.completions) == 2
    for completion in reply.completions:
        assert completion.logprobs is not None
        assert completion.num_tokens - 1 <= len(completion.logprobs) <= completion.num_tokens  # the end may be left out
        assert np.isfinite(completion.logprobs).all()
        assert (completion.logprobs <= 1e-6).all()
        assert completion.logprobs.min() < -1e-6
        assert completion.finish == "length" or completion.num_tokens < SHORT.max_tokens
    assert reply.usage.samples == 2
    assert reply.usage.output_tokens == sum(completion.num_tokens for completion in reply.completions)
    assert reply.usage.prompt_tokens >= 5 * reply.usage.requests
    assert sampler.estimated == 0
    print(f"\n{api}: {reply.usage}, {[completion.text for completion in reply.completions]}")


def test_a_chat_with_a_system_message():
    chat = (Message("system", "You answer with one word."), Message("user", "What is the capital of France?"))
    with make() as sampler:
        reply = sampler.sample([Request(chat, decoding=GREEDY)])[0]
    assert reply.error is None
    assert reply.completions[0].text
    print(f"\n{reply.completions[0].text!r}")


@pytest.mark.parametrize("stops", [("4",), (" 5", "4")])
def test_stop_strings_end_a_sample_and_are_cut_off(stops):
    with make(api="completions") as sampler:
        plain, stopped = sampler.sample(
            [
                Request("1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3,", decoding=Decoding(max_tokens=12, temperature=0, stop=stop))
                for stop in ((), stops)
            ]
        )
    text = plain.completions[0].text
    assert text is not None
    assert any(stop in text for stop in stops), f"the model does not count: {text!r}"
    first = min(text.index(stop) for stop in stops if stop in text)
    assert stopped.completions[0].text == text[:first]
    assert stopped.completions[0].finish == "stop"
    assert stopped.completions[0].num_tokens < plain.completions[0].num_tokens


def test_a_batch_is_recorded_and_never_asked_for_again(tmp_path):
    requests = [Request(f"{i} plus {i} is", 2, SHORT, path=(i,)) for i in range(3)]
    with Recording(tmp_path / "r.jsonl") as recording, make(recording=recording) as sampler:
        first = sampler.sample(requests)
        spent = sampler.ledger.total
        again = sampler.sample(requests)
        assert sampler.ledger.total == spent == recording.by_role["solve"]
    assert all(reply.error is None and reply.fresh == Usage() for reply in again)
    with Recording(tmp_path / "r.jsonl", read_only=True) as recording:
        replayed = ReplaySampler(recording).sample(requests)
    texts = [[completion.text for completion in reply.completions] for reply in first]
    assert [[completion.text for completion in reply.completions] for reply in replayed] == texts


def test_a_budget_is_kept_to_the_token():
    with make(ledger=Ledger(Budget(output_tokens=20))) as sampler:
        replies = sampler.sample([Request("Tell a long story.", 1, SHORT, path=(i,)) for i in range(4)])
    assert sampler.ledger.total.output_tokens <= 20
    assert sampler.ledger.total.samples == sum(len(reply.completions) for reply in replies) >= 1
    assert replies[-1].exhausted


def test_a_model_that_is_not_there_or_a_wrong_path_is_one_line():
    config = HTTPConfig(URL + "/nowhere", "none", limits=HTTPLimits(max_retries=0))
    with HTTPSampler(config) as sampler:
        reply = sampler.sample([Request("x")])[0]
    assert reply.error is not None
    assert "check base_url and model" in reply.error
    print(f"\n{reply.error}")
