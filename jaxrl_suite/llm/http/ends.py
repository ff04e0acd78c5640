"""Finish reasons of servers: a closed list. What is not on it is no end of a sample. And the names of thoughts.

Reasons are read in lower case, with `_` for blanks and hyphens. `ENDS` are ends of samples, `BROKEN` and `UNUSABLE`
failures of the server: the first may pass when it is asked again, the second will not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jaxrl_suite.llm.protocol import Finish


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


ENDS: Mapping[Finish, frozenset[str]] = {
    "stop": words(
        "stop eos eos_token eot end_turn end_of_turn stop_sequence stop_string stop_token endoftext end_of_text "
        "complete completed"
    ),
    "length": words(
        "length max_tokens max_output_tokens max_new_tokens max_length model_length model_context_window_exceeded "
        "context_window_exceeded context_length_exceeded token_limit error_limit"
    ),
    "filter": words(
        "content_filter content_filtered refusal safety sensitive recitation blocklist prohibited_content spii "
        "language image_safety guardrail_intervened guardrails moderation error_toxic"
    ),
}
BROKEN = words(
    "error abort aborted cancelled canceled insufficient_system_resource network_error timeout time_limit "
    "server_error overloaded unavailable preempted interrupted"
)
UNUSABLE: Mapping[str, str] = {
    **dict.fromkeys(
        words("tool_calls tool_call tool_use function_call malformed_function_call unexpected_tool_call"),
        "the model called a tool: ask in other words, or turn tools off at the server",
    ),
    **dict.fromkeys(words("other pause_turn not_finished finish_reason_unspecified"), "ask in other words"),
}
KNOWN: Mapping[str, Finish] = {reason: end for end, reasons in ENDS.items() for reason in reasons}

THOUGHT_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thoughts")
THOUGHT_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking", "thought"})
TEXT_PARTS = frozenset({"text", "output_text", "none"})
UNFINISHED = re.compile(r"\s*<think(ing)?>(?!.*</think)", re.DOTALL | re.IGNORECASE)
