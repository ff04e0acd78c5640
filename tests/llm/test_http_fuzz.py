"""Mutated replies: no traceback, no hang, and what is accepted is what a plain reader of the reply gets."""

import copy
import json
import random
import time
from typing import Any

import httpx
import pytest
from fixtures.fake_server import FakeClock

from jaxrl_suite.llm.http.config import HTTPConfig, HTTPLimits
from jaxrl_suite.llm.http.sampler import HTTPSampler
from jaxrl_suite.llm.http.server_state import ServerState
from jaxrl_suite.llm.protocol import Decoding, Request, Usage
from jaxrl_suite.llm.recording import Recording

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 3}}
ENDS = {"stop": "stop", "eos": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length"}
ENDS |= {"content_filter": "filter", "refusal": "filter", "safety": "filter"}
NO_ENDS = ["tool_calls", "error", "abort", "nonsense", "stop!", 3, [], ["stop"], {"stop": 1}, True]


def chat(*texts: Any, finish: Any = "stop", **message) -> dict[str, Any]:
    messages = [{"role": "assistant", "content": text, **message} for text in texts]
    choices = [{"index": i, "message": m, "finish_reason": finish} for i, m in enumerate(messages)]
    return {"id": "x", "object": "chat.completion", "choices": choices, "usage": USAGE}


PARTS = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}, {"type": "text", "text": "2"}]
LOGPROBS = {"content": [{"token": "4", "logprob": -0.5, "bytes": [52], "top_logprobs": []}]}
BASES = {
    "chat": [
        chat("4"),
        chat("a", "b", "c"),
        chat(PARTS),
        chat(None, finish="length", reasoning_content="I think"),
        chat(None, refusal="No."),
        chat("4") | {"choices": [{**chat("4")["choices"][0], "logprobs": LOGPROBS}]},
        {"error": {"message": "no", "type": "server_error", "code": 502}},
        chat("4", finish="error"),
    ],
    "completions": [
        {"choices": [{"index": i, "text": t, "finish_reason": "stop", "logprobs": None} for i, t in enumerate("ab")],
         "usage": USAGE},
    ],
}  # fmt: skip
DEEP = json.loads("[" * 150 + "]" * 150)
VALUES = [None, {}, [], "", " ", "x", "4", 0, -1, 5, 2**70, 0.5, -1e300, True, False, [None], [{}], {"text": "y"}]
VALUES += [
    *ENDS,
    *NO_ENDS,
    "\ud800",
    "\0",
    "a\nb",
    "é" * 50,
    ["text"],
    {"type": "text", "text": "z"},
    {"message": "m"},
    DEEP,
]
KEYS = [
    "error",
    "content",
    "text",
    "finish_reason",
    "message",
    "usage",
    "choices",
    "type",
    "refusal",
    "reasoning",
    "tool_calls",
]
STATUSES = [200] * 12 + [201, 204, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 501, 503, 529, 307, 304]
HEADERS = [{}] * 6 + [
    {"Content-Type": "text/html"},
    {"retry-after": "x"},
    {"retry-after-ms": "1e999"},
    {"x-should-retry": "y"},
]


def places(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of all values below a node."""
    found, todo = [], [node]
    while todo:
        node = todo.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            found.append((node, key))
            todo.append(value)
    return found


def mutated(rng: random.Random, data: dict[str, Any]) -> bytes:
    data = copy.deepcopy(data)
    for _ in range(rng.randrange(4)):
        if not data:
            break
        container, key = rng.choice(places(data))
        kind = rng.randrange(5)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif kind == 2 and isinstance(container, dict):
            container[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 3:
            container[key] = [container[key]]
        else:
            container[key] = copy.deepcopy(rng.choice(VALUES))
    raw = bytearray(json.dumps(data).encode())
    if rng.random() < 0.3:
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(raw) + 1)
            cut = rng.randrange(4)
            if cut == 0:
                raw[place : place + rng.randrange(9)] = b""
            elif cut == 1:
                raw[place:place] = bytes(rng.choices(b'{}[]",:0123\\n \xff\x00e', k=rng.randrange(1, 4)))
            elif cut == 2:
                raw = raw[:place]
            else:
                raw[place:place] = raw[place : place + 30]
    return bytes(raw)


def reference(api: str, status: int, raw: bytes, num_samples: int) -> list[tuple[str, str | None]]:
    """The samples of a reply: text, and end (None if the server does not say)."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    if not 200 <= status < 300 or not isinstance(data, dict) or data.get("error"):
        return []
    samples = []
    for choice in data["choices"] if isinstance(data.get("choices"), list) else []:
        if not isinstance(choice, dict) or choice.get("error"):
            continue
        refused = False
        if api == "completions":
            text = choice.get("text", 0)
            text = "" if text is None else text
        else:
            message = choice.get("message")
            if not isinstance(message, dict):
                continue
            refused = isinstance(message.get("refusal"), str) and message["refusal"].strip() != ""
            text = message.get("content")
            text = "" if text is None else text
            if isinstance(text, list):
                parts = text
                text = ""
                for part in parts:
                    kind = str(part.get("type")).lower() if isinstance(part, dict) else ""
                    if isinstance(part, str):
                        text += part
                    elif kind in ("text", "output_text", "none") and isinstance(part.get("text"), str):
                        text += part["text"]
                    elif kind == "refusal":
                        refused = True
                    elif kind not in ("thinking", "reasoning", "redacted_thinking", "thought"):
                        text = None
                        break
            if text == "" and (message.get("tool_calls") or message.get("function_call")):
                continue
        if not isinstance(text, str):
            continue
        reason = choice.get("finish_reason")
        if reason is None or reason == "":
            if refused or text.strip():
                samples.append((text, "filter" if refused else None))
        elif isinstance(reason, str) and reason.strip().lower() in ENDS:
            samples.append((text, "filter" if refused else ENDS[reason.strip().lower()]))
    return samples[:num_samples]


def fuzz(tmp_path, count: int, seed: int) -> tuple[int, int]:
    rng = random.Random(seed)
    accepted = rejected = 0
    answer: dict[str, Any] = {}
    client = httpx.MockTransport(lambda _: httpx.Response(**answer))
    with Recording(tmp_path / f"{seed}.jsonl") as recording:
        for api, bases in BASES.items():
            config = HTTPConfig("http://127.0.0.1:1/v1", "m", api=api, limits=HTTPLimits(1, max_retries=0))
            with HTTPSampler(config, recording=recording, clock=FakeClock()) as sampler:
                sampler._transport._client.close()
                sampler._transport._client = httpx.Client(transport=client)
                for i in range(count if api == "chat" else count // 8):
                    raw, status = mutated(rng, rng.choice(bases)), rng.choice(STATUSES)
                    wanted = rng.choice([1, 1, 2, 3])
                    answer.update(status_code=status, content=raw, headers=rng.choice(HEADERS))
                    # Each reply by itself: nothing that was learnt from another holds.
                    sampler._server = ServerState(config, None)
                    before, sent = sampler.ledger.total, len(recording)
                    request = Request("2+2?", wanted, Decoding(max_tokens=8), path=(i,))
                    (reply,) = sampler.sample([request])
                    spent = sampler.ledger.total
                    expected = reference(api, status, raw, wanted)
                    shown = (status, raw, reply)
                    got = [(c.text, c.finish) for c in reply.completions]
                    if len(expected) < wanted:  # what was missing was asked for again, and came from the same reply
                        assert [part[0] for part in got[: len(expected)]] == [part[0] for part in expected], shown
                    assert bool(got) == bool(expected), shown
                    assert all(
                        text == known and (end is None or finish == end)
                        for (text, finish), (known, end) in zip(got, expected, strict=False)
                    ), shown
                    assert (reply.error is None) == (len(got) == wanted), shown
                    assert reply.error is None or "\n" not in reply.error, shown
                    assert len(recording) - sent == len(got)
                    kept = sum(c.num_tokens for c in reply.completions)
                    tokens = spent.output_tokens - before.output_tokens
                    assert tokens - (spent.discarded_tokens - before.discarded_tokens) == kept, shown
                    assert reply.fresh.output_tokens == tokens, shown
                    accepted, rejected = accepted + bool(got), rejected + (not got)
        assert recording.by_role["solve"].samples == len(recording)
    with Recording(tmp_path / f"{seed}.jsonl") as recording:  # every line can be read
        assert recording.by_role["solve"] != Usage()
    return accepted, rejected


def test_400_mutated_replies(tmp_path):
    before = time.monotonic()
    accepted, rejected = fuzz(tmp_path, 400, seed=0)
    assert min(accepted, rejected) > 50
    assert time.monotonic() - before < 60


@pytest.mark.tier2
def test_2000_mutated_replies(tmp_path):
    accepted, rejected = fuzz(tmp_path, 2000, seed=1)
    assert min(accepted, rejected) > 250
