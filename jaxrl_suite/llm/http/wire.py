"""A request as the JSON that a server takes, and the JSON that it sends back as completions and usage.

Nothing in a reply is believed without looking: choices are counted, log-probabilities are absent until seen, usage may
be missing, and a finish reason may be anything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.protocol import Completion, Finish, Message, Request, Usage

MAX_STOPS = 4  # more are refused by OpenAI
MAX_FLOAT = float(np.finfo(np.float32).max)
MAX_COUNT = 2**53  # tokens; more is nonsense
BYTES_PER_TOKEN = 3  # an estimate where a server does not count

_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "filter",
}


class Exchange(NamedTuple):
    """The content of a reply.

    Args:
      completions: at most as many as were asked for; none if the reply has no usable choice.
      usage: one request and its tokens; what is over is in `discarded_tokens`.
      estimated: the server did not count its tokens.
    """

    completions: list[Completion]
    usage: Usage
    estimated: bool


def check(config: HTTPConfig, request: Request) -> None:
    """Refuses what the server cannot do, before anything is paid.

    Raises:
      UserError: with the remedy.
    """
    decoding, prefix = request.decoding, request.prefix
    if not isinstance(prefix, str) and not all(isinstance(part, Message) for part in prefix):
        raise UserError("a server takes text or a chat, not token ids: decode them first, or use the Flax sampler")
    if config.api == "completions" and not isinstance(prefix, str):
        raise UserError('a chat needs api="chat": with api="completions" the prefix is a text')
    if isinstance(prefix, tuple) and _messages(request)[-1].role == "assistant" and not config.supports_prefix:
        raise UserError(
            "the chat ends with the assistant's message: set supports_prefix=True if the server continues it, or use "
            'api="completions"'
        )
    if decoding.stop_tokens:
        raise UserError("a server takes no stop_tokens: give stop strings instead")
    if len(decoding.stop) > MAX_STOPS:
        raise UserError(f"a server takes at most {MAX_STOPS} stop strings, got {len(decoding.stop)}: give fewer")
    if decoding.top_k and not config.supports_top_k:
        raise UserError("top_k is no part of the OpenAI interface: set supports_top_k=True if the server knows it")
    if config.logprobs and (decoding.temperature, decoding.top_k, decoding.top_p) != (1, 0, 1):
        raise UserError(
            "the log-probabilities of a server are those at temperature 1 without cuts: set temperature=1, top_k=0 and "
            "top_p=1, or logprobs=False"
        )


def payload(config: HTTPConfig, request: Request) -> dict[str, Any]:
    """The body of a request that `check` let pass."""
    decoding = request.decoding
    body: dict[str, Any] = {"model": config.model, **dict(config.extra)}
    if config.api == "completions":
        body["prompt"] = request.prefix
    elif isinstance(request.prefix, str):
        body["messages"] = [{"role": "user", "content": request.prefix}]
    else:
        body["messages"] = [message._asdict() for message in _messages(request)]
    body[config.max_tokens_field] = decoding.max_tokens
    body |= {"temperature": decoding.temperature, "top_p": decoding.top_p}
    if config.supports_top_k:
        body["top_k"] = decoding.top_k
    if request.num_samples > 1:
        body["n"] = request.num_samples
    if decoding.stop:
        body["stop"] = list(decoding.stop)
    if config.send_seed:
        body["seed"] = config.draw_seed(request.path, request.first_draw)
    if config.logprobs:
        body |= {"logprobs": True, "top_logprobs": 1} if config.api == "chat" else {"logprobs": 1}
    return body


def read_reply(config: HTTPConfig, request: Request, data: dict[str, Any]) -> Exchange:
    """The completions of a reply and what it cost.

    Output tokens are those of the reply's `usage`, shared out by the log-probabilities or else the length of the texts
    where there are several choices. Without `usage` they are the number of log-probabilities, `max_tokens` for a sample
    that ended there, or else a token for every 3 bytes of UTF-8.
    """
    raw = data.get("choices")
    choices = [c for c in raw if _text(config, c) is not None] if isinstance(raw, list) else []
    texts = [_text(config, choice) or "" for choice in choices]
    logprobs = [
        _logprobs(choice, text) if config.logprobs else None for choice, text in zip(choices, texts, strict=True)
    ]
    counted = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    assert isinstance(counted, dict)
    output, prompt = _count(counted.get("completion_tokens")), _count(counted.get("prompt_tokens"))
    details = counted.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    estimated = output is None or prompt is None
    guesses = [
        _guess(request, choice, text, found) for choice, text, found in zip(choices, texts, logprobs, strict=True)
    ]
    tokens = guesses if output is None else share(output, guesses)
    if prompt is None:
        prompt = _estimate("".join(_prompt_texts(request))) if choices else 0
    num_choices = min(len(choices), request.num_samples)
    usage = Usage(
        samples=num_choices,
        requests=1,
        prompt_tokens=prompt,
        cached_tokens=min(cached or 0, prompt),
        output_tokens=sum(tokens) if choices else output or 0,
        discarded_tokens=sum(tokens[num_choices:]) if choices else output or 0,
    )
    completions = []
    for choice, text, found, number in list(zip(choices, texts, logprobs, tokens, strict=True))[:num_choices]:
        cut = min((at for at in map(text.find, request.decoding.stop) if at >= 0), default=None)
        finish = _finish(request, choice, number) if cut is None else "stop"
        completions.append(Completion(text[:cut], None, found, finish, number))
    return Exchange(completions, usage, estimated)


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `total`."""
    if not weights:
        return []
    weights = weights if sum(weights) else [1] * len(weights)
    edges = [total * sum(weights[:i]) // sum(weights) for i in range(len(weights) + 1)]
    return [high - low for low, high in itertools.pairwise(edges)]


def _text(config: HTTPConfig, choice: Any) -> str | None:
    """The text of a choice; None if it is not one. A filtered or refused one has none, which is an empty text."""
    if not isinstance(choice, dict):
        return None
    if config.api == "completions":
        text = choice.get("text")
    else:
        message = choice.get("message")
        if not isinstance(message, dict) or "content" not in message:
            return None
        text = "" if message["content"] is None else message["content"]
    return text if isinstance(text, str) else None


def _logprobs(choice: dict[str, Any], text: str) -> np.ndarray | None:
    """float32[T], or None if the reply lacks a part of them; an empty text has none to lack."""
    logprobs = choice.get("logprobs")
    if not text and (not logprobs or logprobs in ({"content": []}, {"token_logprobs": []})):
        return np.zeros(0, np.float32)
    if not isinstance(logprobs, dict):
        return None
    if isinstance(logprobs.get("content"), list):
        values = [part.get("logprob") if isinstance(part, dict) else None for part in logprobs["content"]]
    else:
        values = logprobs.get("token_logprobs")
    if not isinstance(values, list) or not values or not all(_is_number(value) for value in values):
        return None
    return np.asarray(values, np.float32)


def _finish(request: Request, choice: dict[str, Any], tokens: int) -> Finish:
    known = _FINISH.get(str(choice.get("finish_reason")))
    return known or ("length" if tokens >= request.decoding.max_tokens else "stop")


def _guess(request: Request, choice: dict[str, Any], text: str, logprobs: np.ndarray | None) -> int:
    if logprobs is not None:
        return len(logprobs)
    if choice.get("finish_reason") == "length":
        return request.decoding.max_tokens
    return min(_estimate(text), request.decoding.max_tokens)


def _estimate(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def _prompt_texts(request: Request) -> list[str]:
    if isinstance(request.prefix, str):
        return [request.prefix]
    return [message.content for message in _messages(request)]


def _messages(request: Request) -> list[Message]:
    return [part for part in request.prefix if isinstance(part, Message)]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT else None


def _is_number(value: Any) -> bool:
    """True if it is a number that float32 can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_FLOAT
