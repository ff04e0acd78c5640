"""The JSON that a server sends back as completions and usage.

Nothing in a reply is believed without looking: choices are counted, log-probabilities are absent until seen, usage may
be missing, a content may be anything, and a finish reason is one of a closed list or no end of a sample.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.ends import BROKEN, KNOWN, TEXT_PARTS, THOUGHT_FIELDS, THOUGHT_PARTS, UNFINISHED, UNUSABLE
from jaxrl_suite.llm.http.failures import ExchangeError, failure, one_line, read_error
from jaxrl_suite.llm.http.wire import estimate_tokens, prompt_texts, read_counts
from jaxrl_suite.llm.protocol import Completion, Finish, Request, Usage

MAX_FLOAT = float(np.finfo(np.float32).max)


class ReplyChoice(NamedTuple):
    """A choice of a reply.

    Args:
      text: of the sample; what there is of it if it failed.
      finish: why it ended; None where the server does not say.
      problem: why it is no sample; "" if it is one.
      again: "broken" if the server says itself that it failed, "garbled" if the choice has no shape that can be read:
        both may come out well when asked again, the second only if it was not paid for.
      only_thoughts: what was paid went into thoughts, and the answer did not come.
    """

    text: str
    finish: Finish | None
    problem: str = ""
    again: Literal["", "broken", "garbled"] = ""
    only_thoughts: bool = False


class _Content(NamedTuple):
    text: str = ""
    refused: bool = False
    thoughts: bool = False
    problem: str = ""
    garbled: bool = False


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
    counts = read_counts(data.get("usage"))
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
        prompt = estimate_tokens("".join(prompt_texts(request))) if good else 0
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


def _guess(request: Request, choice: ReplyChoice, logprobs: np.ndarray | None) -> int:
    if logprobs is not None:
        return len(logprobs)
    if choice.finish == "length":
        return request.decoding.max_tokens
    return min(estimate_tokens(choice.text), request.decoding.max_tokens)


def _is_number(value: Any) -> bool:
    """True if it is a number that float32 can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_FLOAT


def read_choice(config: HTTPConfig, choice: Any) -> ReplyChoice:
    """The sample in a choice, whatever stands there."""
    if not isinstance(choice, dict):
        return ReplyChoice("", None, "a choice is no object", "garbled")
    content = _chat_content(choice) if config.api == "chat" else _text_content(choice)
    text, reason = content.text, choice.get("finish_reason")
    if choice.get("error"):
        message = one_line(read_error(choice["error"]).message)
        return ReplyChoice(
            text, None, "the server gave up on a sample" + (f" ({message})" if message else ""), "broken"
        )
    word = _plain(reason) if isinstance(reason, str) else ""
    own: dict[str, Finish] = {_plain(name): end for name, end in config.finish_reasons}
    finish = own.get(word) or KNOWN.get(word)
    if word in BROKEN and finish is None:
        return ReplyChoice(text, None, f"the server gave up on a sample ({word})", "broken")
    if (word in UNUSABLE and finish is None) or content.problem:
        return ReplyChoice(text, None, UNUSABLE.get(word, content.problem), "garbled" if content.garbled else "")
    if reason is None or reason == "":
        if content.refused:
            return ReplyChoice(text, "filter")
        if not text.strip():
            return ReplyChoice(text, None, "a choice has neither a text nor a finish reason", "garbled")
        return ReplyChoice(text, None)
    if finish is None:
        shown = one_line(reason, 60) if isinstance(reason, str) else _kind(reason)
        return ReplyChoice(
            text,
            None,
            f"a sample ended for the unknown reason {shown}: if that is a proper end, name it in finish_reasons",
        )
    if finish != "filter" and content.refused:
        finish = "filter"
    empty = not text.strip()
    lost = finish == "length" and (empty or UNFINISHED.match(text) is not None)
    return ReplyChoice(text, finish, only_thoughts=lost or (finish == "stop" and empty and content.thoughts))


def _chat_content(choice: dict[str, Any]) -> _Content:
    """The answer in a message; a message without one is an empty answer, whose end says what that means."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return _Content(problem='a choice has no message: is api="chat" right?', garbled=True)
    thoughts = any(message.get(field) for field in THOUGHT_FIELDS)
    refused = isinstance(message.get("refusal"), str) and bool(message["refusal"].strip())
    content = message.get("content")
    if content is None or isinstance(content, str):
        if not content and (message.get("tool_calls") or message.get("function_call")):
            return _Content(problem=UNUSABLE["tool_calls"])
        return _Content(content or "", refused, thoughts)
    if not isinstance(content, list):
        return _Content(problem=f"the content of a message is {_kind(content)}, not a text", garbled=True)
    texts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        name = str(part.get("type")).lower() if isinstance(part, dict) else _kind(part)
        if isinstance(part, dict) and name in TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif name in THOUGHT_PARTS:
            thoughts = True
        elif name == "refusal":
            refused = True
        else:
            return _Content("".join(texts), problem=f"a message has a part of type {one_line(name, 40)}, not a text")
    return _Content("".join(texts), refused, thoughts)


def _text_content(choice: dict[str, Any]) -> _Content:
    if "text" not in choice:
        return _Content(problem='a choice has no text: is api="completions" right?', garbled=True)
    text = choice["text"]
    if text is not None and not isinstance(text, str):
        return _Content(problem=f"the text of a choice is {_kind(text)}, not a text", garbled=True)
    return _Content(text or "", thoughts=any(choice.get(field) for field in THOUGHT_FIELDS))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")


def _plain(reason: str) -> str:
    """A finish reason as the lists spell it."""
    return re.sub(r"[\s-]+", "_", reason.strip().lower())
