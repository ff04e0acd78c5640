"""Behaviours of servers, one table: requests sent, samples kept, tokens paid, error text.

Two prompts are asked, one after the other. No behaviour loses a paid token, and none is paid for twice.
"""

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fixtures.fake_server import FakeClock, FakeServer, Received

from jaxrl_suite.core.config import from_json, to_json
from jaxrl_suite.llm.http.config import HTTPConfig, HTTPLimits
from jaxrl_suite.llm.http.dialect import Dialect, adapted
from jaxrl_suite.llm.http.failures import read_error
from jaxrl_suite.llm.http.profiles import PROFILES, server_config
from jaxrl_suite.llm.http.sampler import HTTPSampler
from jaxrl_suite.llm.http.server_state import first_dialect
from jaxrl_suite.llm.ledger import Budget, Ledger
from jaxrl_suite.llm.protocol import Decoding, Request, Usage
from jaxrl_suite.llm.recording import Recording

SECRET = "sk-0123456789abcdefSECRET"
USAGE = {"prompt_tokens": 7, "completion_tokens": 5}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def good(text: Any = "4", finish: Any = "stop", n=1, usage: dict[str, int] | None = USAGE, **message) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **message}
    if text is ...:
        del message["content"]
    counted = {"usage": usage | {"completion_tokens": usage["completion_tokens"] * n}} if usage else {}
    return {"choices": [{"index": i, "message": message, "finish_reason": finish} for i in range(n)], **counted}


def always(data, status=200, **headers) -> Callable[[int, Received], Any]:
    return lambda number, received: (status, data, {k.replace("_", "-"): v for k, v in headers.items()})


def first(data, status=200, **headers) -> Callable[[int, Received], Any]:
    """Once, then it works."""
    return lambda number, received: always(data, status, **headers)(0, received) if number == 0 else (200, good(), {})


def refuses(allowed: Callable[[dict[str, Any]], bool], message: str, status=400, **words) -> Callable[..., Any]:
    """An error that costs nothing, unless the request is allowed."""

    def behaviour(number, received):
        if allowed(received.body):
            return 200, good(n=received.body.get("n", 1)), {}
        return status, {"error": {"message": message, "type": "invalid_request_error", **words}}, {}

    return behaviour


def partly(number, received):
    """The second of several choices fails, the first time."""
    data = good(n=received.body.get("n", 1))
    if number == 0:
        data["choices"][1]["finish_reason"] = "abort"
    return 200, data, {}


def one_by_one(number, received):
    """A reasoning model names one of the fields that it does not take."""
    for name in ("temperature", "top_p"):
        if name in received.body:
            return 400, error(UNSUPPORTED.format(name), param=name, code="unsupported_parameter"), {}
    return 200, good(), {}


def error(message="no", **words) -> dict[str, Any]:
    return {"error": {"message": message, **words}}


def claude(body):
    return not ("temperature" in body and "top_p" in body)


THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}, {"type": "text", "text": "4"}]
IMAGE = [{"type": "text", "text": "4"}, {"type": "image_url", "image_url": {"url": "data:"}}]
BROKEN = good("The answer is", "error")
BROKEN["choices"][0]["error"] = {"code": 502, "message": "Provider disconnected"}
THOUGHT_APART = good(usage={"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 100})
SSE = 'data: {"choices":[{"delta":{"content":"4"}}]}\n\ndata: [DONE]\n\n'
UNSUPPORTED = "Unsupported parameter: '{}' is not supported with this model."

# Behaviour: (server, options, requests sent, texts of the samples, output tokens paid, error of the first prompt).
TABLE: dict[str, tuple[Callable[..., Any], dict[str, Any], int, list[str], int, str]] = {
    "answers": (always(good()), {}, 2, ["4", "4"], 10, ""),
    "leaves content out of a cut thought": (always(good(..., "length", reasoning="Hm")), {}, 2, ["", ""], 10, ""),
    "sends a null content": (always(good(None)), {}, 2, ["", ""], 10, ""),
    "sends content in parts": (always(good(THINKING)), {}, 2, ["4", "4"], 10, ""),
    "sends an image": (always(good(IMAGE)), {}, 2, [], 10, "a message has a part of type image_url, not a text"),
    "sends a number": (always(good(4)), {}, 2, [], 10, "the content of a message is a number, not a text"),
    "sends no message": (always({"choices": [{"text": "4"}], "usage": USAGE}), {}, 2, [], 10, 'is api="chat" right?'),
    "sends no choice, and counts": (always({"choices": [], "usage": USAGE}), {}, 2, [], 10, "the reply has no choices"),
    "fails midway once": (first(BROKEN), {}, 3, ["4", "4"], 15, ""),
    "fails midway always": (always(BROKEN), {}, 4, [], 20, "gave up on a sample (Provider disconnected), 2 times"),
    "aborts always, uncounted": (always(good("x", "abort", usage=None)), {}, 8, [], 0, "a sample (abort), 4 times"),
    "runs out of memory once": (first(good("x", "insufficient_system_resource")), {}, 3, ["4", "4"], 15, ""),
    "ends for an unknown reason": (always(good("x", "cosmic rays")), {}, 2, [], 10, "the unknown reason cosmic rays"),
    "ends for a reason of ours": (
        always(good("x", "cosmic rays")), {"finish_reasons": (("cosmic_rays", "stop"),)}, 2, ["x", "x"], 10, "",
    ),
    "calls a tool": (always(good(None, "tool_calls", tool_calls=[{}])), {}, 2, [], 10, "turn tools off at the server"),
    "filters": (always(good("", "content_filter")), {}, 2, ["", ""], 10, ""),
    "refuses in words of its own": (always(good(None, "stop", refusal="I cannot.")), {}, 2, ["", ""], 10, ""),
    "does not count": (always(good("abcdef", usage=None)), {}, 2, ["abcdef"] * 2, 4, ""),
    "counts thoughts in the total alone": (always(THOUGHT_APART), {}, 2, ["4", "4"], 186, ""),
    "loses one of three choices": (partly, {"num_samples": 3}, 3, ["4"] * 6, 35, ""),
    # errors with status 200
    "says 200 and means 502": (first(error("busy", code=502)), {}, 3, ["4", "4"], 10, ""),
    "says 200 and means 400": (always(error(type="invalid_request_error")), {}, 2, [], 0, "200 with an error (no)"),
    "says 200, means 502, counts": (always({**error(code=502), "usage": USAGE}), {}, 2, [], 10, "with an error (no)"),
    "says 200 and means 400, as vLLM did": (
        always({"object": "error", "message": "bad", "type": "BadRequestError", "param": None, "code": 400}),
        {}, 2, [], 0, "200 with an error (bad): change the request",
    ),
    "says 200 and has no credit": (always(error(type="insufficient_quota")), {}, 1, [], 0, "is out of credit"),
    # accounts
    "402": (always(error("Payment required"), 402), {}, 1, [], 0, "is out of credit, top it up"),
    "429 without credit, by type": (always(error(type="insufficient_quota"), 429), {}, 1, [], 0, "is out of credit"),
    "429 without credit, by words": (always(error("Insufficient balance"), 429), {}, 1, [], 0, "is out of credit"),
    "400 without credit": (always(error("Your credit balance is too low"), 400), {}, 1, [], 0, "is out of credit"),
    "401": (always(error(f"Wrong key: {SECRET}"), 401), {}, 1, [], 0, "key: [key]): set OPENAI_API_KEY to a valid"),
    "403": (always(error("no access"), 403), {}, 1, [], 0, "the key may not use this model"),
    # what passes
    "408": (first("", 408), {}, 3, ["4", "4"], 10, ""),
    "409": (first("", 409), {}, 3, ["4", "4"], 10, ""),
    "425": (first("", 425), {}, 3, ["4", "4"], 10, ""),
    "501": (first("", 501), {}, 3, ["4", "4"], 10, ""),
    "505": (first("", 505), {}, 3, ["4", "4"], 10, ""),
    "529": (first(error("Overloaded", type="overloaded_error"), 529), {}, 3, ["4", "4"], 10, ""),
    "530 for ever": (always("", 530), {}, 8, [], 0, "the server answered 530, 4 times"),
    "500, not to be tried again": (always("", 500, x_should_retry="false"), {}, 2, [], 0, "the server answered 500"),
    # what it does not take
    "takes one of temperature and top_p": (
        refuses(claude, "`temperature` and `top_p` cannot both be specified for this model."),
        {}, 3, ["4", "4"], 10, "",
    ),
    "takes neither": (one_by_one, {}, 4, ["4", "4"], 10, ""),
    "takes no temperature": (
        refuses(lambda body: "temperature" not in body, UNSUPPORTED.format("temperature"), param="temperature"),
        {}, 3, ["4", "4"], 10, "",
    ),
    "takes no other temperature": (
        refuses(lambda body: body.get("temperature", 1) == 1, "'temperature' does not support 0.7 with this model."),
        {"temperature": 0.7}, 2, [], 0, "ask with temperature=1, the only one that it takes",
    ),
    "takes max_completion_tokens": (
        refuses(lambda body: "max_tokens" not in body, UNSUPPORTED.format("max_tokens"), code="unsupported_parameter"),
        {}, 3, ["4", "4"], 10, "",
    ),
    "takes max_tokens": (
        refuses(lambda body: "max_tokens" in body, "Unrecognized request argument: max_completion_tokens"),
        {"max_tokens_field": "max_completion_tokens"}, 3, ["4", "4"], 10, "",
    ),
    "takes neither name": (
        refuses(lambda body: False, "max_tokens and max_completion_tokens are not supported"),
        {}, 3, [], 0, "change the request",
    ),
    "takes fewer tokens": (
        refuses(lambda body: body["max_tokens"] < 9, "max_tokens is too large: 64. At most 8 are supported"),
        {}, 2, [], 0, "max_tokens is too large",
    ),
    "takes no stop": (
        refuses(lambda body: "stop" not in body, UNSUPPORTED.format("stop")), {"stop": ("x",)}, 3, ["4", "4"], 10, "",
    ),
    "takes n = 1 (Groq)": (
        refuses(lambda body: body.get("n", 1) == 1, "'n' : number must be at most 1"),
        {"num_samples": 3}, 7, ["4"] * 6, 30, "",
    ),
    "takes n = 1 (llama.cpp)": (
        refuses(lambda body: body.get("n", 1) == 1, "Only one completion choice is allowed"),
        {"num_samples": 2}, 5, ["4"] * 4, 20, "",
    ),
    "ignores n": (always(good()), {"num_samples": 3}, 6, ["4"] * 6, 30, ""),
    "wants top_k = -1": (
        refuses(lambda body: body["top_k"], "top_k must be -1 (disable), or at least 1, got 0."),
        {"supports_top_k": True}, 3, ["4", "4"], 10, "",
    ),
    "knows no seed": (
        refuses(lambda body: "seed" not in body, "Unknown field: seed", 422),
        {"send_seed": True}, 2, [], 0, "set send_seed=False",
    ),
    "gives no log-probabilities": (
        refuses(lambda body: "logprobs" not in body, "You are not allowed to request logprobs", 403, param="logprobs"),
        {"logprobs": True}, 1, [], 0, "set logprobs=False",
    ),
    "knows no field of extra": (
        refuses(lambda body: "min_p" not in body, "min_p: Extra inputs are not permitted"),
        {"extra": (("min_p", 0.0),)}, 2, [], 0, "take min_p out of extra",
    ),
    # what is no reply
    "streams": (always(SSE, Content_Type="text/event-stream"), {}, 1, [], 0, "streams, although it was told not to"),
    "streams unless it is told not to": (
        lambda number, received: (200, SSE if received.body.get("stream") is not False else good(), {}),
        {}, 2, ["4", "4"], 10, "",
    ),
}  # fmt: skip


def ask(server, behaviour_options, *, prompts=2, recording=None, ledger=None, limits=None):
    options = dict(behaviour_options)
    decoding = Decoding(stop=options.pop("stop", ()), temperature=options.pop("temperature", 1.0))
    samples = options.pop("num_samples", 1)
    limits = HTTPLimits(**{"concurrency": 1, "max_retries": 3, **(limits or {})})
    config = HTTPConfig(server.base_url, "fake", label="fake", limits=limits, **options)
    clock = FakeClock()
    with HTTPSampler(config, recording=recording, ledger=ledger, clock=clock) as sampler:
        requests = [Request(f"question {i}", samples, decoding, path=(i,)) for i in range(prompts)]
        return sampler.sample(requests), sampler, clock


def test_the_table_is_long_enough():
    assert len(TABLE) >= 25


@pytest.mark.parametrize("name", TABLE)
def test_what_a_server_does(name, tmp_path, caplog):
    behaviour, options, sent, texts, tokens, problem = TABLE[name]
    answers = []

    def noted(number, received):
        answers.append((received, behaviour(number, received)))
        return answers[-1][1]

    with FakeServer(behaviour=noted) as server, Recording(tmp_path / "r.jsonl") as recording:
        replies, sampler, _ = ask(server, options, recording=recording)
    samples = [completion.text for reply in replies for completion in reply.completions]
    total, errors = sampler.ledger.total, [reply.error for reply in replies]
    assert len(answers) == total.requests == sent
    assert samples == texts
    assert (problem in (errors[0] or "")) if problem else errors == [None, None]
    assert all(e is None or ("\n" not in e and SECRET not in e and len(e) < 400) for e in errors)
    # Every token that a server counted is in the ledger, in the replies and on record, and is a sample's or discarded.
    counted = [said["usage"] for _, (_, said, _) in answers if isinstance(said, dict) and "usage" in said]
    paid = sum(max(usage["completion_tokens"], usage.get("total_tokens", 0) - 7) for usage in counted)
    assert total.output_tokens == tokens
    assert tokens == paid or not counted
    assert total == recording.by_role.get("solve", Usage()) == sum((reply.fresh for reply in replies), Usage())
    in_samples = sum(completion.num_tokens for reply in replies for completion in reply.completions)
    assert total.output_tokens - total.discarded_tokens == in_samples
    # What was paid for is not asked for again, unless the server itself said that it failed: then once.
    paid_for = Counter(received.body["messages"][0]["content"] for received, (_, said, _) in answers
                       if isinstance(said, dict) and "usage" in said)  # fmt: skip
    allowed = options.get("num_samples", 1) + any(word in name for word in ("midway", "memory"))
    assert all(count <= allowed for count in paid_for.values())
    assert SECRET not in caplog.text


@pytest.mark.parametrize("reason", ["MAX_TOKENS", "model_length", "max_output_tokens", "Model Context-Window_Exceeded"])
def test_ends_of_the_limit_have_many_names(reason):
    with FakeServer(behaviour=always(good("The answer is", reason))) as server:
        replies, _, _ = ask(server, {})
    assert replies[0].completions[0].finish == "length"


@pytest.mark.parametrize("reason", ["refusal", "SAFETY", "sensitive", "RECITATION", "content_filter"])
def test_filters_have_many_names(reason):
    with FakeServer(behaviour=always(good("", reason))) as server:
        replies, _, _ = ask(server, {})
    assert replies[0].completions[0].finish == "filter"


@pytest.mark.parametrize(
    "reason", ["nonsense", "", None, 3, ["stop"], {"type": "stop"}, "tool_calls", "OTHER", "error"]
)
def test_what_is_no_end_is_no_sample_and_not_on_record(reason, tmp_path):
    data = good("" if reason in ("", None) else "text", reason)
    with FakeServer(behaviour=always(data)) as server, Recording(tmp_path / "r.jsonl") as recording:
        replies, _, _ = ask(server, {}, recording=recording, limits={"max_retries": 0})
        assert [reply.completions for reply in replies] == [(), ()]
        assert len(recording) == 0


def test_a_budget_lost_to_thoughts_is_said_once(caplog):
    data = good(None, "length", reasoning_content="First I ...")
    with FakeServer(behaviour=always(data)) as server:
        replies, _, _ = ask(server, {}, prompts=4)
    assert [(c.text, c.finish) for reply in replies for c in reply.completions] == [("", "length")] * 4
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "the tokens of a sample went into thoughts"
    ]
    caplog.clear()
    with FakeServer(behaviour=always(good("<think>First I ...", "length"))) as server:
        ask(server, {})
    assert "went into thoughts" in caplog.text


def test_no_more_is_paid_where_nothing_can_be_used():
    with FakeServer(behaviour=always(good(4))) as server:
        replies, sampler, _ = ask(server, {}, prompts=8)
    assert len(server.requests) == 3
    assert sampler.ledger.total.output_tokens == 15
    assert replies[-1].error.endswith("; 3 replies were paid for without a sample: no more is asked")


@pytest.mark.parametrize("prompts", [1, 3])
def test_no_more_is_paid_in_later_calls_either(prompts):
    with FakeServer(behaviour=always(good(4))) as server:
        _, first, _ = ask(server, {}, prompts=1)
        with HTTPSampler(first.config, clock=FakeClock()) as sampler:
            for i in range(9):
                requests = [Request("x", path=(i, j)) for j in range(prompts)]
                assert all(reply.error for reply in sampler.sample(requests))
    assert len(server.requests) == 1 + 3


def test_a_server_that_may_have_worked_is_asked_once_more():
    with FakeServer() as server:
        server.script(*["hang"] * 9)
        replies, sampler, _ = ask(server, {}, prompts=1, limits={"read_timeout": 0.1, "max_retries": 6})
        assert sampler.ledger.total.requests == 2
    assert (replies[0].error or "").endswith("raise read_timeout, or ask for fewer tokens, 2 times")


def test_an_account_that_is_refused_stays_refused():
    with FakeServer(behaviour=always(error(), 401)) as server:
        _, sampler, _ = ask(server, {})
        with HTTPSampler(sampler.config, clock=FakeClock()) as again:
            for i in range(3):
                assert "set OPENAI_API_KEY" in (again.sample([Request("x", path=(i,))])[0].error or "")
    assert len(server.requests) == 2  # one of each sampler


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry_after_ms": "7000"}, (7, 7)),
        ({"retry_after_ms": "1500", "retry_after": "20"}, (1.5, 1.5)),
        ({"retry_after_ms": "soon", "retry_after": "20"}, (20, 20)),
        ({"retry_after_ms": "-5"}, (0.2, 1)),
        ({"retry_after_ms": "nan"}, (0.2, 1)),
        ({"retry_after_ms": "99999999"}, (60, 60)),
    ],
)
def test_a_pause_may_be_in_milliseconds(headers, pause):
    with FakeServer(behaviour=first(error("slow"), 429, **headers)) as server:
        _, _, clock = ask(server, {})
    assert pause[0] <= clock.slept[0] <= pause[1]


def test_what_was_learnt_is_on_record_and_holds_in_the_next_run(tmp_path, caplog):
    def strict(number, received):
        body = received.body
        for name, wrong in (("max_tokens", "max_tokens" in body), ("top_p", "top_p" in body), ("'n'", body.get("n"))):
            if wrong:
                return 400, error(f"{name} is not supported"), {}
        return 200, good(), {}

    path = tmp_path / "r.jsonl"
    with FakeServer(behaviour=strict) as server, Recording(path) as recording:
        replies, _, _ = ask(server, {"num_samples": 2}, recording=recording)
        assert [len(reply.completions) for reply in replies] == [2, 2]
        assert len(server.requests) == 3 + 4
        assert next(iter(recording.dialects.values())) == {
            "left_out": ["top_p"], "max_tokens_field": "max_completion_tokens", "one_choice": True, "top_k_for_all": 0,
            "is_swapped": True,
        }  # fmt: skip
    assert "from now on requests go without top_p, one sample a request, with max_completion_tokens" in caplog.text
    with FakeServer(behaviour=strict) as server, Recording(path) as recording:
        ask(server, {"num_samples": 3}, recording=recording)
        assert len(server.requests) == 2  # the third sample of each, and no refusal
        assert len(recording) == 6


@pytest.mark.parametrize(
    ("behaviour", "sent", "tokens"),
    [
        (always(error(), 401), 1, 0),
        (always(error(), 402), 1, 0),
        (always(error(type="insufficient_quota"), 429), 1, 0),
        (always(SSE, Content_Type="text/event-stream"), 1, 0),
        (always(good(4)), 3, 15),
        (refuses(claude, "`temperature` and `top_p` cannot both be specified"), 21, 100),
        (always(good()), 20, 100),
        (first("", 503), 21, 100),
    ],
)
def test_the_first_answer_decides_before_many_are_in_flight(behaviour, sent, tokens):
    with FakeServer(behaviour=behaviour) as server:
        _, sampler, _ = ask(server, {}, prompts=20, limits={"concurrency": 8})
    assert len(server.requests) == sent
    assert sampler.ledger.total.output_tokens == tokens


def test_many_requests_in_flight_learn_together():
    behaviour = refuses(lambda body: body.get("n", 1) == 1 and "top_p" not in body, "'n' and top_p are not supported")
    with FakeServer(behaviour=behaviour) as server:
        replies, sampler, _ = ask(server, {"num_samples": 2}, prompts=12, limits={"concurrency": 6, "max_retries": 0})
    assert all(reply.error is None and len(reply.completions) == 2 for reply in replies)
    assert sampler.ledger.total.output_tokens == 5 * 24


def test_a_refusal_counts_against_the_budget_of_requests():
    behaviour = refuses(lambda body: "top_p" not in body, UNSUPPORTED.format("top_p"))
    with FakeServer(behaviour=behaviour) as server:
        replies, sampler, _ = ask(server, {}, ledger=Ledger(Budget(requests=2)))
    assert [reply.error is None for reply in replies] == [True, False]
    assert sampler.ledger.total.requests == 2


@pytest.mark.parametrize(
    ("data", "message", "codes", "param"),
    [
        ({"error": {"message": "a\nb", "type": "X", "code": None, "param": "n"}}, "a b", {"x"}, "n"),
        ({"error": "text", "error_type": "overloaded"}, "text", {"overloaded"}, ""),
        (
            {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
            "m",
            {"badrequesterror", "400"},
            "",
        ),
        ({"detail": [{"loc": ["body", "n"], "msg": "no"}]}, '[{"loc": ["body", "n"], "msg": "no"}]', set(), ""),
        ([{"error": {"message": "m", "status": "UNAVAILABLE", "code": 503}}], "m", {"unavailable", "503"}, ""),
        ({"errors": [{"message": "m"}]}, "m", set(), ""),
        ({"base_resp": {"status_msg": "m"}}, "m", set(), ""),
        ({"error": {"message": "\x1b[31mred\x00"}}, "?[31mred?", set(), ""),
        ("text", "text", set(), ""),
        (None, "", set(), ""),
        ({"error": 3}, "", set(), ""),
        ([], "", set(), ""),
    ],
)
def test_errors_come_in_many_shapes(data, message, codes, param):
    words = read_error(data)
    assert (words.message, words.codes, words.param) == (message, codes, param)


def test_a_dialect_changes_no_draw():
    body = {"model": "m", "temperature": 0.5, "top_p": 0.9, "max_tokens": 5, "top_k": 3, "seed": 1, "n": 1}
    for name in ("temperature", "top_p", "top_k", "seed", "model"):
        assert adapted(Dialect(), body, read_error(error(UNSUPPORTED.format(name)))) is None
    assert adapted(Dialect(), body, read_error(error("the moon is not supported"))) is None


def test_fields_can_be_left_out_by_the_config():
    with FakeServer(behaviour=always(good())) as server:
        omit = ("n", "stop", "stream", "temperature", "top_p")
        replies, sampler, _ = ask(server, {"num_samples": 2, "stop": ("4",), "omit": omit})
        assert [completion.text for completion in replies[0].completions] == ["", ""]  # cut here
        assert all(set(received.body) == {"model", "messages", "max_tokens"} for received in server.requests)
        with pytest.raises(ValueError, match="temperature is in omit, so that the server's own 1 holds"):
            sampler.sample([Request("x", decoding=Decoding(temperature=0.5))])
    with pytest.raises(ValueError, match="omit must be a tuple of names among n, stop"):
        HTTPConfig("http://127.0.0.1/v1", "m", omit=("model",))
    with pytest.raises(ValueError, match="finish_reasons must be a tuple of"):
        HTTPConfig("http://127.0.0.1/v1", "m", finish_reasons=(("done", "end"),))
    with pytest.raises(ValueError, match="top_k_for_all must be one of 0, -1"):
        HTTPConfig("http://127.0.0.1/v1", "m", top_k_for_all=5)


@pytest.mark.parametrize("value", [{"enable_thinking": False}, [1, 2], None, {"a": [{"b": None}]}, "x", 0.5, True])
def test_extra_holds_what_json_holds(value):
    with FakeServer(behaviour=always(good())) as server:
        _, sampler, _ = ask(server, {"extra": (("field", value),)})
        assert server.requests[0].body["field"] == value
    config = sampler.config
    assert hash(config) == hash(dataclasses.replace(config))
    assert from_json(HTTPConfig, json.loads(json.dumps(to_json(config)))) == config
    assert config.name != dataclasses.replace(config, extra=()).name


@pytest.mark.parametrize("value", [{1}, object(), float("nan"), {"a": float("inf")}])
def test_extra_refuses_what_json_has_not(value):
    with pytest.raises(ValueError, match="extra: the value of 'field' is nothing that JSON has"):
        HTTPConfig("http://127.0.0.1/v1", "m", extra=(("field", value),))


def test_names_of_older_recordings_hold():
    """Made by the version before `omit`, `finish_reasons` and objects in `extra`."""
    base = HTTPConfig("http://127.0.0.1:1/v1", "m")
    for changes, name in [
        ({}, "m@http://127.0.0.1:1/v1:8613b934"),
        ({"label": "server"}, "m@server:47cd7b1d"),
        ({"extra": (("min_p", 0.0),)}, "m@http://127.0.0.1:1/v1:c178bfbd"),
        ({"extra": (("a", 1), ("stop_token_ids", (1, 2)))}, "m@http://127.0.0.1:1/v1:4027dcbc"),
        ({"extra": (("stop_token_ids", [1, 2]),)}, "m@http://127.0.0.1:1/v1:05e473f0"),
        (dict(api="completions", send_seed=True, logprobs=True, seed=3), "m@http://127.0.0.1:1/v1:c81647a4"),
    ]:
        assert dataclasses.replace(base, **changes).name == name
    assert dataclasses.replace(base, omit=("top_p",)).name != base.name


def test_a_recording_of_an_older_version_answers(tmp_path):
    config = HTTPConfig("http://127.0.0.1:1/v1", "m", label="server")
    request = Request("2+2?", path=(1,))
    key = request.identity(config.name)
    completion = {"text": "4", "tokens": None, "logprobs": None, "finish": "stop", "num_tokens": 5}
    usage = {"samples": 1, "requests": 1, "prompt_tokens": 7, "output_tokens": 5}
    capabilities = {"prefix": False, "logprobs": False, "seed": True, "fork": False, "tokens": False, "text": True}
    lines = [
        {"sampler": config.name, "capabilities": capabilities},
        {"key": key, "draw": 0, "role": "solve", "completion": completion, "usage": usage},
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Recording(tmp_path / "r.jsonl") as recording, HTTPSampler(config, recording=recording) as sampler:
        (reply,) = sampler.sample([request])
        assert (reply.completions[0].text, reply.fresh) == ("4", Usage())
        assert first_dialect(config, recording.dialects.get(sampler.name)) == Dialect()


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_make_configs(name):
    config = server_config(name, "http://127.0.0.1:1/v1", "m", extra=(("min_p", 0.1), ("a", {})), seed=3)
    assert (config.extra_fields["min_p"], config.extra_fields["a"], config.seed) == (0.1, {}, 3)
    assert config.supports_top_k == (name in ("llama.cpp", "vllm", "sglang"))
    with pytest.raises(ValueError, match="unknown server 'vlm'"):
        server_config("vlm", "http://127.0.0.1:1/v1", "m")


def test_a_reasoning_model_is_spoken_to_as_it_likes():
    with FakeServer(behaviour=always(good())) as server:
        options = to_json(server_config("openai-reasoning", server.base_url, "m"))
        ask(server, {"omit": tuple(options["omit"]), "max_tokens_field": options["max_tokens_field"]})
    assert set(server.requests[0].body) == {"model", "messages", "max_completion_tokens", "stream"}


def test_the_log_of_what_was_learnt_has_no_key(caplog):
    caplog.set_level(logging.DEBUG)
    behaviour = refuses(lambda body: "top_p" not in body, f"{SECRET}: top_p is not supported")
    with FakeServer(behaviour=behaviour) as server:
        ask(server, {})
    assert "[key]: top_p is not supported" in caplog.text
    assert SECRET not in caplog.text
