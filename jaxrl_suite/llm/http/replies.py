"""The JSON that a server sends back as completions and usage.

Nothing in a reply is believed without looking: choices are counted, log-probabilities are absent until seen, usage may
be missing, a content may be anything, and a finish reason is one of a closed list or no end of a sample.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.llm.http.choices import ReplyChoice, read_choice
from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.failures import ExchangeError, failure, read_error
from jaxrl_suite.llm.http.wire import messages_of
from jaxrl_suite.llm.protocol import Completion, Request, Usage

MAX_FLOAT = float(np.finfo(np.float32).max)
MAX_COUNT = 2**53  # tokens; more is nonsense
BYTES_PER_TOKEN = 3  # an estimate where a server does not count


class Exchange(NamedTuple):
    """The content of a reply.

    Args:
      completions: at most as many as were asked for.
      usage: one request and its tokens; what went into no completion is in `discarded_tokens`.
      estimated: the server did not count its tokens.
      num_choices: choices that it gave, good or not.
      num_failed: choices that are no samples, of those that were asked for.
      error: why they are none; None if there are enough completions, or the server gave too few.
      is_paid: the server counted tokens: what failed is not asked for again, unless it says itself that it failed.
      only_thoughts: a completion is empty, since its tokens went into thoughts.
    """

    completions: list[Completion]
    usage: Usage
    estimated: bool
    num_choices: int = 0
    num_failed: int = 0
    error: ExchangeError | None = None
    is_paid: bool = False
    only_thoughts: bool = False


class _Counts(NamedTuple):
    """Tokens that a server counted; None where it did not."""

    prompt: int | None
    output: int | None
    cached: int


def read_reply(config: HTTPConfig, request: Request, data: dict[str, Any]) -> Exchange:
    """The completions of a reply and what it cost.

    Output tokens are those of the reply's `usage`, shared out by the log-probabilities or else the length of the texts
    where there are several choices. Without `usage` they are the number of log-probabilities, `max_tokens` for a sample
    that ended there, or else a token for every 3 bytes of UTF-8.
    """
    raw = data.get("choices")
    choices = [read_choice(config, choice) for choice in raw] if isinstance(raw, list) else []
    if data.get("error"):  # the reply as a whole has failed, whatever else is in it
        choices = [choice._replace(problem=choice.problem or "the reply holds an error") for choice in choices]
    counts = _read_counts(data.get("usage"))
    is_paid = bool(counts.prompt or counts.output)
    good = [i for i, choice in enumerate(choices) if not choice.problem]
    logprobs = [
        _logprobs(raw[i], choice.text) if isinstance(raw, list) and config.logprobs and not choice.problem else None
        for i, choice in enumerate(choices)
    ]
    guesses = [_guess(request, choice, found) for choice, found in zip(choices, logprobs, strict=True)]
    if counts.output is None and not good:
        guesses = [0] * len(choices)
    tokens = guesses if counts.output is None else share(counts.output, guesses)
    prompt = counts.prompt
    if prompt is None:
        prompt = _estimate("".join(_prompt_texts(request))) if good else 0
    used = good[: request.num_samples]
    output = sum(tokens) if choices else counts.output or 0
    usage = Usage(
        samples=len(used),
        requests=1,
        prompt_tokens=prompt,
        cached_tokens=min(counts.cached, prompt),
        output_tokens=output,
        discarded_tokens=output - sum(tokens[i] for i in used),
    )
    completions = [_completion(request, choices[i], logprobs[i], tokens[i]) for i in used]
    failed = [choice for choice in choices if choice.problem]
    missing = request.num_samples - len(used)
    error = _error(config, data, failed, is_paid=is_paid) if not used or (missing and failed) else None
    return Exchange(
        completions,
        usage,
        estimated=bool(used) and (counts.output is None or counts.prompt is None),
        num_choices=len(choices),
        num_failed=min(len(failed), missing),
        error=error,
        is_paid=is_paid,
        only_thoughts=any(choices[i].only_thoughts for i in used),
    )


def nothing(request: Request) -> Exchange:
    """The answer to a prompt that the server refuses: empty samples that it filtered."""
    filtered = [Completion("", None, None, "filter", 0)] * request.num_samples
    usage = Usage(samples=request.num_samples, requests=1)
    return Exchange(filtered, usage, estimated=False, num_choices=request.num_samples)


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `total`."""
    if not weights:
        return []
    weights = weights if sum(weights) else [1] * len(weights)
    whole = sum(weights)
    edges = [total * part // whole for part in itertools.accumulate(weights, initial=0)]
    return [high - low for low, high in itertools.pairwise(edges)]


def _error(config: HTTPConfig, data: dict[str, Any], failed: list[ReplyChoice], *, is_paid: bool) -> ExchangeError:
    """The reason why a reply lacks samples, and whether to ask again: never for what was paid and cannot be read."""
    if data.get("error") or not failed:
        words = read_error({name: value for name, value in data.items() if name != "message" or isinstance(value, str)})
        if words.message or words.codes & {str(words.status)}:
            error = failure(config, words.status, words, sent=200)
        else:
            error = ExchangeError("the reply has no choices", retry=True)
        error.retry = error.retry and not is_paid
        return error
    broken = next((choice for choice in failed if choice.again == "broken"), None)
    if broken is not None:
        return ExchangeError(broken.problem, retry=True)
    retry = not is_paid and all(choice.again == "garbled" for choice in failed)
    return ExchangeError(failed[0].problem, retry=retry)


def _completion(request: Request, choice: ReplyChoice, logprobs: np.ndarray | None, tokens: int) -> Completion:
    text, finish = choice.text, choice.finish
    cut = min((at for at in map(text.find, request.decoding.stop) if at >= 0), default=None)
    if cut is not None:
        text, finish = text[:cut], "stop"
    elif finish is None:  # the server does not say: all tokens used is the limit
        finish = "length" if tokens >= request.decoding.max_tokens else "stop"
    return Completion(text, None, logprobs, finish, tokens)


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


def _read_counts(usage: Any) -> _Counts:
    """The counts of a reply's `usage`; what thoughts cost is in the total where it is not in the output."""
    if not isinstance(usage, dict):
        return _Counts(None, None, 0)
    prompt = _first_count(usage, "prompt_tokens", "input_tokens")
    output = _first_count(usage, "completion_tokens", "output_tokens")
    total = _count(usage.get("total_tokens"))
    if total is not None and prompt is not None and total >= prompt:
        output = max(output or 0, total - prompt)
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return _Counts(prompt, output, cached or 0)


def _first_count(usage: dict[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := _count(usage.get(name))) is not None), None)


def _guess(request: Request, choice: ReplyChoice, logprobs: np.ndarray | None) -> int:
    if logprobs is not None:
        return len(logprobs)
    if choice.finish == "length":
        return request.decoding.max_tokens
    return min(_estimate(choice.text), request.decoding.max_tokens)


def _estimate(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def _prompt_texts(request: Request) -> list[str]:
    if isinstance(request.prefix, str):
        return [request.prefix]
    return [message.content for message in messages_of(request)]


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT else None


def _is_number(value: Any) -> bool:
    """True if it is a number that float32 can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_FLOAT
