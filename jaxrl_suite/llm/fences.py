"""Fenced blocks in a model's answer, as models really write them, and what they thought aloud before it.

The rules are those of CommonMark, and where an answer breaks them, the reading under which its code stays whole: a
fence inside a string of Python is text, a block that is indented or quoted as a whole loses that indent, a fence may
open behind words and close behind code, and the last block may be left open. Every function reads in linear time.
"""

from __future__ import annotations

import bisect
import re
from typing import NamedTuple

_OPEN = re.compile(
    r"(?P<indent>[ \t]{0,99}+(?:>[ \t]?){0,9}+[ \t]{0,99}+)(?P<fence>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^`\n]*+)$"
)
_LATE = re.compile(r"(?P<words>[^`\n]++)(?P<fence>`{3,}+)(?P<info>[ \t]?[A-Za-z][\w+.-]*+)[ \t]*+$")  # behind words
_ITEM = re.compile(r"[ \t]*+(?:[-*+]|\d{1,9}[.)])[ \t]++$")
_ONE_LINE = re.compile(
    r"[ \t]*+```[ \t]*+(?P<info>(?:python3?|py)[ \t]++)?(?P<text>[^`\n]++)```[ \t]*+$", re.IGNORECASE
)
_STRING = re.compile(r"#|\"\"\"|'''|\"|'")
_REST = {'"': re.compile(r'(?:[^"\\]|\\.)*+"', re.DOTALL), "'": re.compile(r"(?:[^'\\]|\\.)*+'", re.DOTALL)}
_CLOSE = {mark: re.compile(rf"(?:[^{mark[0]}\\]|\\.|{mark[0]}(?!{mark[1:]}))*+{mark}") for mark in ('"""', "'''")}

TABS = 4  # columns
PYTHON = frozenset({"", "python", "py", "python3", "ipython", "pycon"})  # languages of blocks; none is written often
MAX_REPAIRS = 8  # blocks of one answer that are closed where no rule closes them; each reads on to the end

_THOUGHTS = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
_TAGS = "|".join(_THOUGHTS)
_THINK = re.compile(
    rf"^[ \t]*+(?:<(?P<tag>{_TAGS})>|\[(?P<word>THINK)\]|◁(?P<sign>think)▷|<\|(?P<turn>begin_of_thought)\|>"
    r"|<\|channel\|>(?P<channel>analysis)<\|message\|>)",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(
    rf"(?P<alone>^[ \t]*+)?(?:</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|channel\|>final<\|message\|>)",
    re.MULTILINE | re.IGNORECASE,
)


class CodeBlock(NamedTuple):
    """A fenced block.

    Args:
      language: first word behind the fence, in lower case; "" if there is none.
      text: its lines, without the indent of the fence.
      start, end: places in the answer, the fences included.
      is_closed: False for a last block that the answer breaks off in.
    """

    language: str
    text: str
    start: int
    end: int
    is_closed: bool


class StringState:
    """A reader of Python that knows whether the end of what it has read lies in a string of three quotes."""

    def __init__(self) -> None:
        self.quotes = ""  # those that are open

    def read(self, line: str) -> None:
        """Reads one more line."""
        place = 0
        while True:
            if self.quotes:
                end = _CLOSE[self.quotes].match(line, place)
                if end is None:
                    return
                self.quotes, place = "", end.end()
            found = _STRING.search(line, place)
            if found is None or found[0] == "#":
                return
            place = found.end()
            if len(found[0]) == 3:
                self.quotes = found[0]
            elif (rest := _REST[found[0]].match(line, place)) is not None:
                place = rest.end()
            else:  # an apostrophe, or a string that goes on behind a backslash
                return


class _Opening(NamedTuple):
    fence: str
    info: str
    indent: str


def blocks_of(answer: str) -> list[CodeBlock]:
    """All fenced blocks of an answer, in order."""
    if "```" not in answer and "~~~" not in answer:
        return []
    lines = answer.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    blocks: list[CodeBlock] = []
    at, repairs = 0, 0
    while at < len(lines):
        bare = lines[at].rstrip("\r\n")
        if "```" not in bare and "~~~" not in bare:
            at += 1
            continue
        if one := _ONE_LINE.match(bare):
            blocks.append(CodeBlock((one["info"] or "").strip().lower(), one["text"], starts[at], starts[at + 1], True))
            at += 1
            continue
        opening = _opening(bare)
        if opening is None:
            at += 1
            continue
        end, following, repaired = _end_of(lines, at + 1, opening, strict=repairs < MAX_REPAIRS)
        repairs += repaired
        text = "".join(_without_indent(line, opening.indent) for line in lines[at + 1 : end])
        if following > end and not _is_fence(lines[end], opening):  # a fence behind code
            text += _without_indent(lines[end], opening.indent).rstrip()[: -len(opening.fence)] + "\n"
        is_closed = following > end or end < len(lines)  # by a fence, or by the next block
        blocks.append(CodeBlock(_language(opening.info), text, starts[at], starts[following], is_closed))
        at = max(following, at + 1)
    return blocks


def _opening(line: str) -> _Opening | None:
    found = _OPEN.match(line)
    if found:
        return _Opening(found["fence"], found["info"], found["indent"])
    late = _LATE.match(line)
    if late is None:
        return None
    return _Opening(late["fence"], late["info"], " " * len(late["words"]) if _ITEM.match(late["words"]) else "")


def _end_of(lines: list[str], at: int, opening: _Opening, *, strict: bool) -> tuple[int, int, bool]:
    """The line behind the last of a block, the line to read on from, and whether no rule closes the block."""
    state, reads = StringState(), strict and _language(opening.info) in PYTHON
    fallback, in_string = len(lines), len(lines)  # first lines that may be its end if no other is
    for place in range(at, len(lines)):
        bare, behind = lines[place].rstrip(), False
        if opening.fence[:3] in bare:
            is_deep = strict and _columns(bare) > _columns(opening.indent + "x") + 3
            begins = (found := _OPEN.match(bare)) and found["info"] and found["fence"].startswith(opening.fence)
            behind = not found and bare.endswith(opening.fence) and not bare.endswith(opening.fence + opening.fence[0])
            if state.quotes:
                in_string = min(in_string, place) if _is_fence(bare, opening) else in_string
            elif _is_fence(bare, opening):
                if not is_deep:
                    return place, place + 1, False
                fallback = min(fallback, place)
            elif begins and not is_deep:  # another block: this one was not closed, or by a fence behind its code
                return (place, place, False) if fallback == len(lines) else (fallback, fallback + 1, True)
        if reads and (state.quotes or '"' in bare or "'" in bare):
            state.read(_without_indent(lines[place], opening.indent))
            in_string = in_string if state.quotes else len(lines)  # it was text: the string has an end
        if behind and not state.quotes:  # a fence behind code is the end unless a proper one follows
            if not strict:
                return place, place + 1, False
            fallback = min(fallback, place)
    end = min(fallback, in_string)
    return end, min(end + 1, len(lines)), True


def _is_fence(line: str, opening: _Opening) -> bool:
    """True if nothing but a fence stands on the line, one as long as that which opened the block, or longer."""
    found = _OPEN.match(line.rstrip())
    return found is not None and not found["info"].strip() and found["fence"].startswith(opening.fence)


def _columns(line: str) -> int:
    line = line.expandtabs(TABS)
    return len(line) - len(line.lstrip(" >"))


def _without_indent(line: str, indent: str) -> str:
    """The line without the quote marks and the columns that its fence has before it."""
    if not indent:
        return line
    if line.startswith(indent):
        return line[len(indent) :]
    marks, place = indent.count(">"), 0
    while marks and (found := re.compile(r"[ \t]*+>[ \t]?").match(line, place)):
        marks, place = marks - 1, found.end()
    if place or ">" in indent:
        return line[place:]
    width = len(indent.expandtabs(TABS))
    body = line.lstrip(" \t")
    have = len(line[: len(line) - len(body)].expandtabs(TABS))
    return " " * max(0, have - width) + body


def _language(info: str) -> str:
    words = re.split(r"[\s,:{}]+", info.strip().lstrip("{").lower().removeprefix("."), maxsplit=1)
    return words[0].strip(".") if words else ""


def without_thinking(answer: str) -> str:
    """The answer without what a model thought aloud; all from a thought on that never ends.

    A tag within a block that is closed is part of its text. The end of a thought whose begin the prompt holds counts.
    """
    rest = answer
    if not _THINK.search(rest) and not _END.search(rest):
        return answer
    pieces: list[str] = []
    spans = _closed_spans(rest)
    place = 0
    first_end = _next(_END, rest, 0, spans)
    first_open = _next(_THINK, rest, 0, spans)
    if first_end is not None and (first_open is None or first_end.start() < first_open.start()):
        place = first_end.end()
    while (opened := _next(_THINK, rest, place, spans)) is not None:
        pieces.append(rest[place : opened.start()])
        ended = _END.search(rest, opened.end())
        if ended is None:
            return "".join(pieces)
        place = ended.end()
    return "".join(pieces) + rest[place:]


def thinks_to_the_end(answer: str) -> bool:
    """True if the answer breaks off within a thought."""
    kept = without_thinking(answer)
    return not kept.strip() and bool(answer.strip()) and _THINK.search(answer) is not None


def _closed_spans(text: str) -> list[tuple[int, int]]:
    return [(block.start, block.end) for block in blocks_of(text) if block.is_closed]


def _next(pattern: re.Pattern[str], text: str, place: int, spans: list[tuple[int, int]]) -> re.Match[str] | None:
    """The next tag that is none of a block's text; one alone on its line ends a thought in which a block was open."""
    at = bisect.bisect_right(spans, place, key=lambda span: span[1])
    for found in pattern.finditer(text, place):
        while at < len(spans) and spans[at][1] <= found.start():
            at += 1
        inside = at < len(spans) and spans[at][0] < found.start()
        if not inside or (pattern is _END and found["alone"] is not None):
            return found
    return None
