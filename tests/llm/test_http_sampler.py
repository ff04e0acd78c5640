"""The HTTP sampler against a server that fails in every way that real ones do."""

import asyncio
import dataclasses
import itertools
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fixtures.fake_server import FakeClock, FakeServer

from jaxrl_suite.core.config import from_json, to_json
from jaxrl_suite.llm.http import sampler as http_sampler
from jaxrl_suite.llm.http.config import HTTPConfig, HTTPLimits, Pace, backoff
from jaxrl_suite.llm.http.replies import share
from jaxrl_suite.llm.http.sampler import HTTPSampler
from jaxrl_suite.llm.ledger import Budget, Ledger
from jaxrl_suite.llm.protocol import Decoding, Message, Request, Sampler, Usage
from jaxrl_suite.llm.recorder import Recorder, ReplaySampler
from jaxrl_suite.llm.recording import Recording

SECRET = "sk-0123456789abcdefSECRET"
PASSES = [  # faults after which a second attempt may succeed
    "500",
    "502",
    "503",
    "504",
    "busy_seconds",
    "429",
    "reset_before_reply",
    "reset_mid_body",
    "reset_mid_stream",
    "short_body",
    "truncated_json",
    "odd_choices",
    "list_reply",
    "html",
    "deep",
]
STAYS = {  # faults after which it cannot, with the remedy
    "400": "change the request",
    "401": "set OPENAI_API_KEY to a valid key",
    "403": "may not use this model",
    "404": "check base_url and model",
    "422": "change the request",
    "redirect": "set base_url to the new address",
    "huge": "raise max_reply_bytes",
    "packed_twice": "turn compression off",
    "no_credit": "out of credit",
    "echo_key": "set OPENAI_API_KEY to a valid key",
}
FOR_ALL = ("401", "403", "404", "redirect", "no_credit", "echo_key")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


@pytest.fixture
def server():
    with FakeServer() as server:
        yield server


def make(server, *, recording=None, ledger=None, clock=None, limits=None, **options) -> HTTPSampler:
    limits = HTTPLimits(**{"concurrency": 1, "max_retries": 3, "read_timeout": 20.0, **(limits or {})})
    config = HTTPConfig(server.base_url, "fake", limits=limits, **{"label": "fake", **options})
    return HTTPSampler(config, recording=recording, ledger=ledger, clock=clock or FakeClock())


def request(i=0, num_samples=1, **options) -> Request:
    return Request("question", num_samples, path=(i,), **options)


def why(reply) -> str:
    """The error of a reply, which is one line."""
    assert reply.error
    assert "\n" not in reply.error
    return reply.error


def numbers(reply) -> list[str]:
    """Request and choice that each completion came from, for instance "3.0"."""
    return [str(completion.text).split()[0] for completion in reply.completions]


def test_chat_and_completions_are_mapped(server):
    decoding = Decoding(max_tokens=9, temperature=0.5, top_p=0.9, top_k=3, stop=("\n", "END"))
    chat = (Message("system", "be brief"), Message("user", "hi"))
    with make(server, supports_top_k=True, extra=(("min_p", 0.0),)) as sampler:
        assert isinstance(sampler, Sampler)
        replies = sampler.sample([Request("hi", decoding=decoding), Request(chat, 2)])
    with make(server, api="completions", max_tokens_field="max_completion_tokens", send_seed=True) as sampler:
        sampler.sample([Request("once upon", decoding=decoding_without_top_k(decoding))])
    first, second, third = (received.body for received in server.requests)
    assert first == {
        "model": "fake",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "min_p": 0.0,
        "stop": ["\n", "END"],
    }
    assert second["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (second["n"], second["top_k"], second["temperature"]) == (2, 0, 1.0)
    assert (third["prompt"], third["max_completion_tokens"]) == ("once upon", 9)
    assert 0 <= third["seed"] < 2**31
    assert [received.path for received in server.requests] == ["/v1/chat/completions"] * 2 + ["/v1/completions"]
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert [completion.text for completion in replies[1].completions] == ["1.0 b c d", "1.1 b c d"]
    completion = replies[0].completions[0]
    assert (completion.text, completion.finish, completion.num_tokens) == ("0.0 b c d", "stop", 4)
    assert completion.tokens is completion.logprobs is None
    assert replies[1].usage == replies[1].fresh == Usage(2, 1, 7, 3, 8)


def decoding_without_top_k(decoding):
    return dataclasses.replace(decoding, top_k=0)


@pytest.mark.parametrize("fault", PASSES)
def test_what_may_pass_is_tried_again(server, tmp_path, fault):
    server.script(fault)
    clock, ledger = FakeClock(), Ledger()
    with (
        Recording(tmp_path / "r.jsonl") as recording,
        make(server, recording=recording, ledger=ledger, clock=clock) as sampler,
    ):
        reply = sampler.sample([request()])[0]
        assert reply.error is None
        assert [completion.text for completion in reply.completions] == ["1.0 b c d"]
        assert len(server.requests) == reply.usage.requests == 2
        assert ledger.total.output_tokens == 4
        assert ledger.total.discarded_tokens == 0
        assert [recording.by_role["solve"], ledger.total] == [reply.usage] * 2
        assert len(clock.slept) == 1
        assert sampler.sample([request()])[0].fresh == Usage()
        assert len(server.requests) == 2


def test_a_server_that_hangs_is_tried_again(server):
    server.script("hang")
    with make(server, limits={"read_timeout": 1.0}) as sampler:
        reply = sampler.sample([request()])[0]
        assert reply.completions[0].text == "1.0 b c d"
        server.script("hang")
    with make(server, limits={"read_timeout": 0.05, "max_retries": 0}) as sampler:
        reply = sampler.sample([request()])[0]
    assert reply.error == "nothing came for 0.05 s: raise read_timeout, or ask for fewer tokens"


def test_a_reply_that_takes_too_long_as_a_whole(server):
    server.script("trickle")
    with make(server, clock=FakeClock(tick=1.0), limits={"total_timeout": 0.5, "max_retries": 0}) as sampler:
        reply = sampler.sample([request()])[0]
    assert reply.error == "the reply took longer than 0.5 s: raise total_timeout, or ask for less"


def test_a_server_that_is_not_there():
    with FakeServer() as server:
        pass
    with make(server, limits={"max_retries": 2}) as sampler:
        reply = sampler.sample([request()])[0]
        assert reply.completions == ()
        assert reply.error.startswith("cannot reach 127.0.0.1 (")
        assert reply.error.endswith("is base_url right, and the server up?, 3 times")
        assert sampler.ledger.total.requests == reply.usage.requests == 3


@pytest.mark.parametrize("fault", PASSES)
def test_what_never_passes_is_given_up_and_the_rest_is_kept(server, tmp_path, fault):
    server.script("ok", *[fault] * 3)
    with (
        Recording(tmp_path / "r.jsonl") as recording,
        make(server, recording=recording, limits={"max_retries": 2}) as sampler,
    ):
        replies = sampler.sample([request(i) for i in range(3)])
        assert [len(reply.completions) for reply in replies] == [1, 0, 1]
        assert [reply.error is None for reply in replies] == [True, False, True]
        assert why(replies[1]).endswith(", 3 times")
        assert not replies[1].exhausted
        assert replies[1].usage.requests == 3
        assert recording.by_role["solve"] == sampler.ledger.total == sum((r.fresh for r in replies), Usage())
        assert recording.by_role["solve"].requests == len(server.requests) == 5
        again = sampler.sample([request(i) for i in range(3)])
        assert len(server.requests) == 6
        assert all(reply.error is None for reply in again)


@pytest.mark.parametrize("fault", ["no_choices", "empty_choices"])
def test_a_reply_that_was_paid_for_is_never_asked_for_again(server, tmp_path, fault):
    server.script(fault)
    with Recording(tmp_path / "r.jsonl") as recording, make(server, recording=recording) as sampler:
        first, second = sampler.sample([request(), request(1)])
        assert why(first) == "the reply has no choices"
        assert second.error is None
        assert len(server.requests) == 2
        assert (first.usage.output_tokens, first.usage.discarded_tokens) == (4, 4)
        assert recording.by_role["solve"] == sampler.ledger.total == first.fresh + second.fresh


@pytest.mark.parametrize("fault", STAYS)
def test_what_cannot_pass_is_not_tried_again(server, tmp_path, fault):
    with FakeServer() as elsewhere:
        server.redirect_to = elsewhere.base_url
        server.script("ok", fault)
        clock = FakeClock()
        with (
            Recording(tmp_path / "r.jsonl") as recording,
            make(server, recording=recording, clock=clock, limits={"max_reply_bytes": 2**16}) as sampler,
        ):
            replies = sampler.sample([request(i) for i in range(4)])
            assert replies[0].error is None
            assert STAYS[fault] in why(replies[1])
            assert len(why(replies[1])) < 400
            hopeless = fault in FOR_ALL
            assert [reply.error is None for reply in replies[2:]] == [not hopeless] * 2
            assert len(server.requests) == (2 if hopeless else 4)
            assert recording.by_role["solve"] == sampler.ledger.total
            assert sampler.ledger.total.samples == len(recording) == (1 if hopeless else 3)
        assert clock.slept == []
        assert elsewhere.requests == []


def test_the_pause_is_what_the_server_asks_for(server):
    for fault, wall, least, most in [
        ("busy_seconds", 0, 17, 17),
        ("busy_date", 10, 20, 20),
        ("busy_date", 90, 0.2, 1),  # it has passed
        ("busy_forever", 0, 30, 30),
        ("busy_nonsense", 0, 0.2, 1),
        ("busy_absurd", 0, 0.2, 1),
        ("429", 0, 0.2, 1),
    ]:
        clock = FakeClock(wall=wall)
        server.script(fault)
        with make(server, clock=clock, limits={"max_wait": 30.0}) as sampler:
            assert sampler.sample([request()])[0].error is None
        assert least <= clock.slept[0] <= most, fault


def test_the_backoff_doubles_with_jitter_that_is_the_requests_own():
    pauses = [backoff("a", attempt, 60.0) for attempt in range(1, 12)]
    assert pauses == [backoff("a", attempt, 60.0) for attempt in range(1, 12)]
    assert all(0.25 * 2**i <= pause <= 0.75 * 2**i for i, pause in enumerate(pauses[:6]))
    assert pauses[-1] == 60.0
    assert len({backoff(name, 1, 60.0) for name in "abcdefgh"}) == 8


def test_a_server_that_ignores_n_is_asked_one_by_one(tmp_path):
    with (
        FakeServer(honours_n=False) as server,
        Recording(tmp_path / "r.jsonl") as recording,
        make(server, recording=recording) as sampler,
    ):
        reply = sampler.sample([request(num_samples=4)])[0]
        assert numbers(reply) == ["0.0", "1.0", "2.0", "3.0"]
        assert [received.body.get("n", 1) for received in server.requests] == [4, 1, 1, 1]
        assert reply.usage == sampler.ledger.total == Usage(4, 4, 28, 12, 16)
        sampler.sample([request(1, num_samples=2)])
        assert [received.body.get("n", 1) for received in server.requests[4:]] == [1, 1]
        assert len(recording) == 6


def test_a_server_that_cuts_n_is_asked_for_the_rest(server, monkeypatch):
    whole = server.reply
    monkeypatch.setattr(
        server, "reply", lambda i, got: whole(i, got._replace(body={**got.body, "n": min(2, got.body.get("n", 1))}))
    )
    with make(server) as sampler:
        reply = sampler.sample([request(num_samples=5)])[0]
    assert [received.body.get("n", 1) for received in server.requests] == [5, 3, 1]
    assert numbers(reply) == ["0.0", "0.1", "1.0", "1.1", "2.0"]


def test_more_choices_than_asked_for_are_discarded_and_paid(server, monkeypatch):
    whole = server.reply
    monkeypatch.setattr(server, "reply", lambda i, got: whole(i, got._replace(body={**got.body, "n": 3})))
    with make(server) as sampler:
        reply = sampler.sample([request()])[0]
    assert len(reply.completions) == 1
    assert reply.usage == Usage(1, 1, 7, 3, 12, discarded_tokens=8)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_log_probabilities_are_there_when_they_are(server, api):
    with make(server, api=api, logprobs=True) as sampler:
        completion = sampler.sample([request(num_samples=2)])[0].completions[1]
    assert completion.logprobs.tolist() == [-0.5, -1.0, -1.5, -2.0]
    assert completion.logprobs.dtype == "float32"


def test_missing_log_probabilities_are_an_error_that_keeps_what_was_paid(tmp_path):
    path = tmp_path / "r.jsonl"
    with FakeServer(logprobs=False) as server:
        with Recording(path) as recording, make(server, recording=recording, logprobs=True) as sampler:
            replies = sampler.sample([request(), request(1)])
            assert [reply.error for reply in replies] == [http_sampler.NO_LOGPROBS] * 2
            assert [len(reply.completions) for reply in replies] == [1, 0]
            assert len(server.requests) == len(recording) == sampler.ledger.total.samples == 1
            with pytest.raises(ValueError, match="set logprobs=False"):
                sampler.sample([request(2)])
        with Recording(path) as recording, make(server, recording=recording, logprobs=True) as sampler:
            assert sampler.sample([request()])[0].error == http_sampler.NO_LOGPROBS
        assert len(server.requests) == 1
        with make(server) as sampler:  # who does not need them has no error
            assert sampler.sample([request()])[0].error is None


def test_an_empty_sample_has_no_log_probabilities_to_lack(server, monkeypatch):
    """The end of sequence came first: the server is asked on."""
    whole = server.reply

    def reply(number, received):
        data = whole(number, received)
        if number == 0:
            data["choices"][0] |= {"message": {"content": ""}, "logprobs": {"content": []}}
        return data

    monkeypatch.setattr(server, "reply", reply)
    with make(server, logprobs=True) as sampler:
        replies = sampler.sample([request(i) for i in range(3)])
    assert [reply.error for reply in replies] == [None] * 3
    assert [len(reply.completions[0].logprobs) for reply in replies] == [0, 4, 4]


@pytest.mark.parametrize("number", [10**400, -(10**400), 1e300, True, "1", None, [1]], ids=lambda x: str(x)[:8])
def test_numbers_that_are_none_are_not_believed(server, monkeypatch, number):
    choice = {"message": {"content": "abcdef"}, "logprobs": {"content": [{"logprob": number}]}}
    usage = {"prompt_tokens": number, "completion_tokens": number, "prompt_tokens_details": {"cached_tokens": number}}
    monkeypatch.setattr(server, "reply", lambda i, got: {"choices": [choice], "usage": usage})
    with make(server, logprobs=True) as sampler:
        reply = sampler.sample([request()])[0]
    assert reply.error == http_sampler.NO_LOGPROBS
    assert reply.usage == Usage(1, 1, 3, 0, 2)  # estimated


def test_log_probabilities_of_another_distribution_are_refused(server):
    with make(server, logprobs=True) as sampler:
        for decoding in (Decoding(temperature=0.5), Decoding(top_p=0.5)):
            with pytest.raises(ValueError, match="those at temperature 1 without cuts"):
                sampler.sample([request(), request(1, decoding=decoding)])
    assert server.requests == []


def test_prompts_go_one_by_one_and_are_never_echoed(server):
    with make(server, api="completions", logprobs=True) as sampler:
        replies = sampler.sample([Request("a"), Request("b"), Request("c")])
        with pytest.raises(ValueError, match="off by one position"):
            sampler.score([("a", (1, 2))])
    assert all(reply.error is None for reply in replies)
    assert [received.body["prompt"] for received in server.requests] == ["a", "b", "c"]
    assert not any("echo" in received.body for received in server.requests)


def test_json_with_another_content_type_is_json(server):
    server.script("json_as_text")
    with make(server) as sampler:
        assert sampler.sample([request()])[0].error is None
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "filter"),
        (None, "stop"),
        ("end_turn", "stop"),
    ],
)
def test_finish_reasons(finish, expected):
    with FakeServer(finish=finish) as server, make(server) as sampler:
        assert sampler.sample([request()])[0].completions[0].finish == expected
        if finish is None:  # all tokens used: it was the limit
            reply = sampler.sample([request(decoding=Decoding(max_tokens=4))])[0]
            assert reply.completions[0].finish == "length"


def test_a_filtered_choice_without_content_is_an_empty_sample(server, monkeypatch):
    choice = {"message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"}
    monkeypatch.setattr(server, "reply", lambda i, got: {"choices": [choice]})
    with make(server) as sampler:
        completion = sampler.sample([request()])[0].completions[0]
    assert (completion.text, completion.finish) == ("", "filter")


def test_a_stop_string_that_the_server_leaves_is_cut_off(server):
    with make(server) as sampler:
        completion = sampler.sample([request(decoding=Decoding(stop=(" d", " c")))])[0].completions[0]
    assert (completion.text, completion.finish, completion.num_tokens) == ("0.0 b", "stop", 4)


def test_tokens_that_a_server_does_not_count_are_estimated(caplog):
    with FakeServer(usage=False, words="x" * 26) as server:
        with make(server, logprobs=True) as sampler:
            assert sampler.sample([request()])[0].usage == Usage(1, 1, 3, 0, 4)  # counted by log-probabilities
        with make(server) as sampler:
            assert sampler.sample([request(num_samples=2)])[0].usage == Usage(2, 1, 3, 0, 20)  # 30 bytes each
            assert sampler.estimated == 1
        server.finish = "length"
        with make(server) as sampler:
            assert sampler.sample([request()])[0].usage.output_tokens == 64
    assert "127.0.0.1 does not count its tokens: they are estimated" in caplog.text


def test_tokens_are_shared_out_whole():
    for total, weights in [(10, [1, 1, 1]), (0, [3, 4]), (7, [0, 0]), (5, []), (3, [100, 1, 1, 1])]:
        parts = share(total, weights)
        assert sum(parts) == (total if weights else 0)
        assert all(part >= 0 for part in parts)


def test_a_seed_belongs_to_its_draw(server):
    def seeds(requests, **options):
        before = len(server.requests)
        with make(server, send_seed=True, **options) as sampler:
            sampler.sample(requests)
        return [received.body["seed"] for received in server.requests[before:]]

    together = seeds([request(num_samples=3), request(1)])
    assert len(set(together)) == 4
    assert seeds([request(1)]) + seeds([request(first_draw=2)]) == [together[3], together[2]]
    assert seeds([request(1)], seed=1) != [together[3]]
    assert "n" not in server.requests[0].body


def test_a_shared_draw_is_asked_for_once(server):
    with make(server) as sampler:
        first, second = sampler.sample([request(num_samples=2), request(num_samples=3)])
    assert [received.body.get("n", 1) for received in server.requests] == [2, 1]
    assert [completion.text for completion in second.completions][:2] == [c.text for c in first.completions]
    assert second.fresh == Usage(1, 1, 7, 3, 4)
    assert second.usage == first.usage + second.fresh


@pytest.mark.parametrize("concurrency", [1, 6])
def test_a_budget_is_a_hard_stop_that_keeps_what_was_paid(server, tmp_path, concurrency):
    decoding = Decoding(max_tokens=4)
    for i, (budget, samples) in enumerate(
        [(Budget(output_tokens=18), 5), (Budget(samples=3), 3), (Budget(requests=2), 2), (Budget(total_tokens=33), 3)]
    ):
        ledger = Ledger(budget)
        with (
            Recording(tmp_path / f"{i}.jsonl") as recording,
            make(server, recording=recording, ledger=ledger, limits={"concurrency": concurrency}) as sampler,
        ):
            replies = sampler.sample([request(j, decoding=decoding) for j in range(8)])
            assert len(recording) == sum(len(reply.completions) for reply in replies) == ledger.total.samples
            assert recording.by_role["solve"] == ledger.total
        assert ledger.total.samples >= samples
        if concurrency == 1 or budget.total_tokens is None:  # the prompts of texts in flight are unknown
            assert ledger.total.samples == samples
            for name in ("output_tokens", "samples", "requests"):
                limit = getattr(budget, name)
                assert limit is None or getattr(ledger.total, name) <= limit
        stopped = [reply for reply in replies if not reply.completions]
        assert all(reply.exhausted and "is spent: raise it to go on" in why(reply) for reply in stopped)


def test_every_attempt_counts_as_a_request(server):
    server.script("500", "500", "500")
    with make(server, ledger=Ledger(Budget(requests=3))) as sampler:
        replies = sampler.sample([request(), request(1)])
    assert len(server.requests) == sampler.ledger.total.requests == 3
    assert [reply.error for reply in replies] == ["the budget of 3 requests is spent: raise it to go on"] * 2
    assert replies[0].usage.requests == 3


def test_a_sample_that_a_budget_cut_is_not_taken_for_a_whole_one(server, tmp_path):
    path = tmp_path / "r.jsonl"
    with (
        Recording(path) as recording,
        make(server, recording=recording, ledger=Ledger(Budget(output_tokens=3))) as sampler,
    ):
        server.script("503")  # also after a retry
        reply = sampler.sample([request(decoding=Decoding(max_tokens=4))])[0]
        assert reply.completions[0].num_tokens == 3
        assert [received.body["max_tokens"] for received in server.requests] == [3, 3]
    with Recording(path) as recording, make(server, recording=recording) as sampler:
        assert sampler.sample([request(decoding=Decoding(max_tokens=4))])[0].completions[0].num_tokens == 4
        assert sampler.sample([request(decoding=Decoding(max_tokens=3))])[0].fresh == Usage()


def test_starts_are_spaced():
    clock = FakeClock()
    pace = Pace(120, clock)
    assert [pace.reserve() for _ in range(3)] == [0.0, 0.5, 1.0]
    clock.now = 1.2
    assert pace.reserve() == pytest.approx(0.3)
    clock.now = 10.0
    assert [pace.reserve(), pace.reserve()] == [0.0, 0.5]
    assert Pace(None, clock).reserve() == 0.0


def test_the_sampler_keeps_its_pace(server):
    clock = FakeClock()
    with make(server, clock=clock, limits={"requests_per_minute": 60.0}) as sampler:
        sampler.sample([request(i) for i in range(4)])
    assert clock.slept == [1.0, 1.0, 1.0]


def test_many_at_once_answer_in_order(server):
    server.script(*["ok", "503", "reset_mid_body", "429"] * 5)
    with make(server, limits={"concurrency": 4, "max_retries": 20}) as sampler:
        replies = sampler.sample([Request(f"q{i}", 2, path=(i,)) for i in range(20)])
    assert all(reply.error is None and len(reply.completions) == 2 for reply in replies)
    for i, reply in enumerate(replies):
        number = int(reply.completions[0].text.split(".")[0])
        assert server.requests[number].body["messages"][0]["content"] == f"q{i}"
    assert server.most_at_once <= 4
    assert sampler.ledger.total.requests == len(server.requests) == 35
    assert sampler.ledger.total.samples == 40


def test_it_works_inside_an_event_loop_and_in_threads(server):
    with make(server, limits={"concurrency": 2}) as sampler:

        async def notebook():
            return sampler.sample([request(0)])[0]

        assert asyncio.run(notebook()).error is None
        replies = {}
        threads = [
            threading.Thread(target=lambda i=i: replies.update({i: sampler.sample([request(i)])[0]})) for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [replies[i].error for i in range(4)] == [None] * 4
    assert sampler.ledger.total.samples == 5


def test_an_interrupt_keeps_what_is_in_flight(server, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with Recording(tmp_path / "r.jsonl") as recording, make(server, recording=recording) as sampler:
        monkeypatch.setattr(http_sampler, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sampler.sample([request(i) for i in range(5)])
        assert len(server.requests) == len(recording) == sampler.ledger.total.requests <= 1


def test_a_recording_that_cannot_be_written_stops_the_run(server, tmp_path, monkeypatch):
    with Recording(tmp_path / "r.jsonl") as recording, make(server, recording=recording) as sampler:
        add, calls = recording.add, itertools.count()

        def full(*arguments):
            if next(calls) == 2:
                raise ValueError("cannot write the recording")
            add(*arguments)

        monkeypatch.setattr(recording, "add", full)
        with pytest.raises(ValueError, match="cannot write"):
            sampler.sample([request(i) for i in range(6)])
        assert len(recording) == 2
        assert sampler.ledger.total.samples == len(server.requests) == 3


def test_a_recording_replays_without_a_server(server, tmp_path):
    path = tmp_path / "r.jsonl"
    with Recording(path) as recording, make(server, recording=recording) as sampler:
        told = sampler.sample([request(num_samples=2)])
        with pytest.raises(ValueError, match="give it the recording itself"):
            Recorder(sampler, recording)
    with Recording(path, read_only=True) as recording:
        replay = ReplaySampler(recording)
        assert replay.name == sampler.name
        assert replay.sample([request(num_samples=2)])[0].completions == told[0].completions


@pytest.mark.parametrize("torn", [False, True])
def test_kill_9_pays_for_nothing_twice(server, tmp_path, torn):
    script = Path(__file__).parents[1] / "fixtures" / "http_run.py"
    command = [sys.executable, str(script), server.base_url, str(tmp_path / "r.jsonl"), "8"]
    killed = subprocess.run([*command, "3", *(["torn"] if torn else [])], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert len(server.requests) == 3
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = 2 if torn else 3  # a line that was half written is asked for again
    assert len(server.requests) == 3 + 8 - kept
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["0"] * kept + ["1"] * (8 - kept)
    assert [line[:4] for line in done.stdout.splitlines()][:kept] == [f"{i}.0 " for i in range(kept)]


@pytest.mark.parametrize(
    "fault", [*PASSES, *STAYS, "hang", "echo_key_as_text", "echo_key_in_sample", "json_as_text", "busy_date"]
)
def test_the_key_is_nowhere(server, tmp_path, caplog, fault):
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "r.jsonl"
    server.script(*["ok", fault, fault])
    limits = {"max_retries": 1, "max_reply_bytes": 2**16, "read_timeout": 0.2 if fault == "hang" else 20.0}
    with Recording(path) as recording, make(server, recording=recording, limits=limits) as sampler:
        replies = sampler.sample([request(i) for i in range(2)])
        assert server.requests[1].headers["authorization"] == f"Bearer {SECRET}"
        seen = [repr(sampler), repr(sampler.config), sampler.name, repr(recording), repr(replies), repr(vars(sampler))]
        seen += [json.dumps(to_json(sampler.config)), json.dumps(sampler.ledger.to_json()), caplog.text]
    seen += [path.read_text(), *(str(record.__dict__) for record in caplog.records)]
    assert not any(SECRET in text for text in seen)
    if fault == "echo_key_in_sample":
        assert replies[1].completions[0].text == "the key is [key] or [key]"
    if fault in ("echo_key", "echo_key_as_text"):
        assert "[key]" in why(replies[1]) or why(replies[1]).count("x") > 100


def test_the_key_goes_to_one_place(monkeypatch):
    remote = "https://api.example.com/v1"
    plain = "http://api.example.com/v1"
    with pytest.raises(ValueError, match="the key would travel to api") as caught:
        HTTPSampler(HTTPConfig(plain, "m"))
    assert SECRET not in str(caught.value)
    for config in (
        HTTPConfig(plain, "m", allow_plain_http=True),
        HTTPConfig(plain, "m", api_key_variable=""),
        HTTPConfig(remote, "m"),
        HTTPConfig("http://[::1]:80/v1", "m"),
        HTTPConfig("http://localhost/v1", "m"),
    ):
        HTTPSampler(config).close()
    with pytest.raises(ValueError, match="the config holds the key itself"):
        HTTPSampler(HTTPConfig(remote, "m", extra=(("user", SECRET),)))
    monkeypatch.setenv("OPENAI_API_KEY", f"{SECRET}\u00e9")
    with pytest.raises(ValueError, match="characters that no key has") as caught:
        HTTPSampler(HTTPConfig(remote, "m"))
    assert SECRET not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="set the environment variable OPENAI_API_KEY"):
        HTTPSampler(HTTPConfig(remote, "m"))


def test_a_local_server_needs_no_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with make(server) as sampler:
        assert sampler.sample([request()])[0].error is None
    assert "authorization" not in server.requests[0].headers
    monkeypatch.setenv("OPENAI_API_KEY", "b")  # no secret: nothing is cut out of the text
    with make(server) as sampler:
        assert sampler.sample([request()])[0].completions[0].text == "1.0 b c d"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"base_url": "https://user:sk-1@host/v1"}, "keep keys in the environment"),
        ({"base_url": "https://sk-1@host/v1"}, "keep keys in the environment"),
        ({"base_url": "host/v1"}, "must look like"),
        ({"base_url": "ftp://host/v1"}, "must look like"),
        ({"base_url": "https://host/v1?key=sk-1"}, "must look like"),
        ({"base_url": "http://host:port/v1"}, "is no address"),
        ({"model": ""}, "model is empty"),
        ({"extra": (("temperature", 1.0),)}, "extra may not set temperature"),
        ({"extra": {"min_p": 0.0}}, "extra must be a tuple of"),
        ({"api": "chats"}, "api must be one of chat, completions, got 'chats'"),
        ({"max_tokens_field": "tokens"}, "max_tokens_field must be one of"),
    ],
)
def test_configs_that_cannot_work_are_refused(options, match):
    with pytest.raises(ValueError, match=match) as caught:
        HTTPConfig(**{"base_url": "http://127.0.0.1/v1", "model": "m", **options})
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["ftp://user:sk-1@host:1", "http://user:sk-1@host:port"])
def test_a_proxy_that_cannot_be_used_is_said_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ValueError, match="cannot use the proxy that the environment names") as caught:
        HTTPSampler(HTTPConfig("https://api.example.com/v1", "m"))
    assert "sk-1" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limits_out_of_range_are_refused():
    for options in ({"concurrency": 0}, {"max_wait": 0.0}, {"requests_per_minute": float("inf")}, {"max_retries": -1}):
        with pytest.raises(ValueError, match="must be"):
            HTTPLimits(**options)


@pytest.mark.parametrize(
    ("bad", "options", "match"),
    [
        (Request((1, 2)), {}, "not token ids"),
        (Request((Message("user", "x"),)), {"api": "completions"}, 'needs api="chat"'),
        (Request((Message("user", "x"), Message("assistant", "y"))), {}, "set supports_prefix=True"),
        (Request("x", decoding=Decoding(stop_tokens=(1,))), {}, "give stop strings"),
        (Request("x", decoding=Decoding(stop=("a", "b", "c", "d", "e"))), {}, "at most 4 stop strings"),
        (Request("x", decoding=Decoding(top_k=1)), {}, "set supports_top_k=True"),
    ],
)
def test_requests_that_the_server_cannot_serve_are_refused_before_anything_is_paid(server, bad, options, match):
    with make(server, **options) as sampler, pytest.raises(ValueError, match=match):
        sampler.sample([request(), bad])
    assert server.requests == []


def test_capabilities_are_what_the_config_says(server, tmp_path):
    with make(server) as sampler:
        assert sampler.capabilities == (False, False, False, False, False, True)
    with make(server, api="completions", logprobs=True, send_seed=True) as sampler:
        assert sampler.capabilities == (True, True, True, False, False, True)
    with (
        Recording(tmp_path / "r.jsonl") as recording,
        make(server, recording=recording, supports_prefix=True) as sampler,
    ):
        assert sampler.capabilities == (True, False, True, False, False, True)
        chat = (Message("user", "x"), Message("assistant", "half"))
        assert sampler.sample([Request(chat)])[0].error is None
    assert server.requests[0].body["messages"][1] == {"role": "assistant", "content": "half"}


def test_a_name_tells_apart_what_decides_a_draw():
    base = HTTPConfig("http://127.0.0.1:1/v1", "m")
    names = {
        dataclasses.replace(base, **change).name
        for change in [
            {},
            {"base_url": "http://127.0.0.1:2/v1"},
            {"model": "n"},
            {"api": "completions"},
            {"seed": 1},
            {"send_seed": True},
            {"logprobs": True},
            {"extra": (("min_p", 0.1),)},
            {"label": "here"},
        ]
    }
    assert len(names) == 9
    same = {"limits": HTTPLimits(concurrency=2), "api_key_variable": "KEY", "base_url": "http://127.0.0.1:1/v1/"}
    assert dataclasses.replace(base, **same).name == base.name
    labelled = [HTTPConfig(f"http://127.0.0.1:{port}/v1", "m", label="here").name for port in (1, 2)]
    assert labelled[0] == labelled[1]
    assert from_json(HTTPConfig, json.loads(json.dumps(to_json(base)))) == base


@pytest.mark.parametrize("fault", ["too_long", "too_long_by_code", "too_large", "filtered"])
def test_a_prompt_that_is_refused_is_answered_by_nothing_once_and_for_all(server, tmp_path, fault, caplog):
    """Its length or content is no reason for the others, or the next run, to fail."""
    server.script("ok", fault, "ok")
    with Recording(tmp_path / "r.jsonl") as recording:
        ledger = Ledger()
        replies = make(server, recording=recording, ledger=ledger).sample([request(0), request(1, 2), request(2)])
        assert [reply.error for reply in replies] == [None] * 3
        assert [[c.finish for c in reply.completions] for reply in replies] == [["stop"], ["filter"] * 2, ["stop"]]
        assert {completion.text for completion in replies[1].completions} == {""}
        assert (replies[1].fresh.requests, replies[1].fresh.samples, replies[1].fresh.output_tokens) == (1, 2, 0)
        assert ledger.total.requests == 3
    assert "left without an answer" in caplog.text
    with Recording(tmp_path / "r.jsonl") as recording:
        again = make(server, recording=recording).sample([request(1, 2)])[0]
    assert again.completions == replies[1].completions
    assert len(server.requests) == 3


def test_a_refusal_before_any_answer_is_an_error(server):
    """It may be for the options, which are the same for all."""
    server.script("too_long", "too_long")
    sampler = make(server)
    assert "context size" in why(sampler.sample([request(0)])[0])
    sampler.sample([request(1), request(2)])
    server.script("too_long")
    assert sampler.sample([request(3)])[0].completions[0].finish == "filter"
    logprobs = make(server, logprobs=True)
    logprobs.sample([request(4)])
    server.script("too_long")
    assert "context size" in why(logprobs.sample([request(5)])[0])
