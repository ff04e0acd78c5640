"""One choice of a reply: a sample, or why it is none.

A text is there, or the server says why not; an end is on the closed list of `ends`. Everything else is a failure, which
is reported or asked for again, and never a sample.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.ends import BROKEN, KNOWN, UNUSABLE, plain
from jaxrl_suite.llm.http.failures import one_line, read_error
from jaxrl_suite.llm.protocol import Finish

THOUGHT_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thoughts")
THOUGHT_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking", "thought"})
TEXT_PARTS = frozenset({"text", "output_text", "none"})
UNFINISHED = re.compile(r"\s*<think(ing)?>(?!.*</think)", re.DOTALL | re.IGNORECASE)


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
    word = plain(reason) if isinstance(reason, str) else ""
    own: dict[str, Finish] = {plain(name): end for name, end in config.finish_reasons}
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
