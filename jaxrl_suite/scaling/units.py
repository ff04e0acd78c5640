"""Units of an answer: token ids, or words of a text. A search holds the first few fixed and draws on from there.

A text is cut before its blanks, so that its units are words with what stands in front of them, and together the text.
A chat is continued in a last message of the assistant (capability `prefix`).
"""

from __future__ import annotations

import re
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Completion, Message, Prefix

Units = tuple[Any, ...]  # ints, or strings
_WORD = re.compile(r"\s*\S+|\s+$")


def units_of(completion: Completion, prompt: Prefix) -> Units:
    """The units of a completion: its tokens where the prompt has tokens, else its words."""
    if tokens_of(prompt):
        if completion.tokens is None:
            raise UserError("the model gives no tokens: choose one that does, or write the prompt as text")
        return tuple(completion.tokens.tolist())
    return tuple(_WORD.findall(completion.text or ""))


def continued(prompt: Prefix, units: Units) -> Prefix:
    """A prompt with the first units of an answer behind it."""
    if not units:
        return prompt
    if isinstance(prompt, str):
        return prompt + "".join(units)
    if messages := messages_of(prompt):
        return (*messages, Message("assistant", "".join(units)))
    return (*tokens_of(prompt), *units)


def check_tokens(prompt: Prefix, who: str) -> None:
    """Refuses a prompt that is not made of tokens, where a search needs them.

    Raises:
      UserError: naming the search.
    """
    if not tokens_of(prompt):
        raise UserError(f"{who} divides answers by tokens: give the prompt as token ids, or choose DISC")


def messages_of(prompt: Prefix) -> tuple[Message, ...]:
    """The messages of a chat; none of another kind of prompt."""
    return () if isinstance(prompt, str) else tuple(part for part in prompt if isinstance(part, Message))


def tokens_of(prompt: Prefix) -> tuple[int, ...]:
    """The token ids of a prompt; none of another kind."""
    return () if isinstance(prompt, str) else tuple(part for part in prompt if isinstance(part, int))
