"""A request on its way to a server: what is checked, its JSON, the attempts at it, and the tokens that it costs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.dialect import Dialect
from jaxrl_suite.llm.protocol import Message, Request, Usage
from jaxrl_suite.llm.recorder import Part

MAX_COUNT = 2**53  # tokens; more is nonsense
BYTES_PER_TOKEN = 3  # an estimate where a server does not count
MAX_STOPS = 4  # more are refused by OpenAI


class TokenCounts(NamedTuple):
    """Tokens that a server counted; None where it did not."""

    prompt: int | None
    output: int | None
    cached: int


class ExchangeAttempt(NamedTuple):
    """An exchange to come.

    Args:
      part: the draws that are wanted.
      number: attempts that failed.
      delay: seconds to wait before it.
      spent: what they cost.
      was_paid: one of them was paid for, or may have been.
      dialect: in which it is sent; None before that is decided.
    """

    part: Part
    number: int = 0
    delay: float = 0.0
    spent: Usage = Usage()
    was_paid: bool = False
    dialect: Dialect | None = None


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
    if isinstance(prefix, tuple) and messages_of(request)[-1].role == "assistant" and not config.supports_prefix:
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
    for name, value in (("temperature", decoding.temperature), ("top_p", decoding.top_p)):
        if name in config.omit and value != 1:
            raise UserError(f"{name} is in omit, so that the server's own 1 holds: ask with {name}=1, not {value:g}")
    if config.logprobs and (decoding.temperature, decoding.top_k, decoding.top_p) != (1, 0, 1):
        raise UserError(
            "the log-probabilities of a server are those at temperature 1 without cuts: set temperature=1, top_k=0 and "
            "top_p=1, or logprobs=False"
        )


def payload(config: HTTPConfig, request: Request, dialect: Dialect) -> dict[str, Any]:
    """The body of a request that `check` let pass."""
    decoding = request.decoding
    body: dict[str, Any] = {"model": config.model, **config.extra_fields, "stream": False}
    if config.api == "completions":
        body["prompt"] = request.prefix
    elif isinstance(request.prefix, str):
        body["messages"] = [{"role": "user", "content": request.prefix}]
    else:
        body["messages"] = [message._asdict() for message in messages_of(request)]
    body[dialect.max_tokens_field] = decoding.max_tokens
    body |= {"temperature": decoding.temperature, "top_p": decoding.top_p}
    if config.supports_top_k:
        body["top_k"] = decoding.top_k or dialect.top_k_for_all
    if request.num_samples > 1:
        body["n"] = request.num_samples
    if decoding.stop:
        body["stop"] = list(decoding.stop)
    if config.send_seed:
        body["seed"] = config.draw_seed(request.path, request.first_draw)
    if config.logprobs:
        body |= {"logprobs": True, "top_logprobs": 1} if config.api == "chat" else {"logprobs": 1}
    spared = {name for name in dialect.left_out if name not in ("temperature", "top_p") or body.get(name) == 1}
    return {name: value for name, value in body.items() if name not in spared}


def split(part: Part, count: int) -> tuple[Part, Part | None]:
    """The first `count` draws of a part, and the rest of it."""
    request, left = part.request, part.request.num_samples - count
    first = part._replace(request=dataclasses.replace(request, num_samples=count))
    if left == 0:
        return first, None
    rest = dataclasses.replace(request, first_draw=request.first_draw + count, num_samples=left)
    return first, part._replace(request=rest)


def messages_of(request: Request) -> list[Message]:
    """The messages of a request whose prefix is a chat."""
    return [part for part in request.prefix if isinstance(part, Message)]


def prompt_texts(request: Request) -> list[str]:
    if isinstance(request.prefix, str):
        return [request.prefix]
    return [message.content for message in messages_of(request)]


def estimate_tokens(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def read_counts(usage: Any) -> TokenCounts:
    """The counts of a reply's `usage`; what thoughts cost is in the total where it is not in the output."""
    if not isinstance(usage, dict):
        return TokenCounts(None, None, 0)
    prompt = _first_count(usage, "prompt_tokens", "input_tokens")
    output = _first_count(usage, "completion_tokens", "output_tokens")
    total = _count(usage.get("total_tokens"))
    if total is not None and prompt is not None and total >= prompt:
        output = max(output or 0, total - prompt)
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return TokenCounts(prompt, output, cached or 0)


def _first_count(usage: dict[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := _count(usage.get(name))) is not None), None)


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT else None
