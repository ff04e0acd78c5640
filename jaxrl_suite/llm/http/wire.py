"""A request as the JSON that a server takes."""

from __future__ import annotations

from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.dialect import Dialect
from jaxrl_suite.llm.protocol import Message, Request

MAX_STOPS = 4  # more are refused by OpenAI


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


def messages_of(request: Request) -> list[Message]:
    """The messages of a request whose prefix is a chat."""
    return [part for part in request.prefix if isinstance(part, Message)]
