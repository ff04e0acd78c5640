"""Prompts kept as files, `PACKAGE/prompts/NAME.md` with `$fields` to fill in, and what is read from the answers.

Nothing that reads raises, whatever the answer.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from string import Template
from typing import NamedTuple


@functools.cache
def prompt(package: str, name: str) -> str:
    """The text of `prompts/NAME.md` of a package, for instance `prompt("jaxrl_suite.evolve", "ideas")`."""
    return resources.files(package).joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")


def fill(package: str, name: str, **words: str) -> str:
    """The prompt `name` of a package with its `$fields` filled in; every field must be given.

    A dollar sign within `words` is left as it is.
    """
    return Template(prompt(package, name)).substitute(words).strip()


MAX_CODE = 40_000  # characters
MAX_PROSE = 4_000
MAX_IDEA = 600

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.-]*)[^\n]*$", re.MULTILINE)
# Possessive (`*+`), so that a megabyte of spaces takes no longer than it should.
_ITEM = re.compile(
    r"^\s*+(?:[-*+•]|\(?\d{1,3}[.):]|\*{0,2}idea\s*+\d{0,3}\s*+[:.)-])\s*+\**+\s*+(\S.*)$", re.IGNORECASE
)


class ParsedText(NamedTuple):
    """A text found in an answer, or what to tell the model instead."""

    text: str
    problem: str = ""


def code_of(answer: str, entry: str) -> ParsedText:
    """The source in an answer: the last block that is not empty, one that defines `entry` before others.

    A block that the answer breaks off in counts; without any block an answer that itself defines `entry` does.
    """
    answer = without_thinking(answer)
    blocks = [block for block in fenced(answer) if block.strip()]
    defines = re.compile(rf"^[ \t]*+def[ \t]++{re.escape(entry)}[ \t]*+\(", re.MULTILINE)
    chosen = [block for block in blocks if defines.search(block)] or blocks
    if not chosen and (found := defines.search(answer)):
        chosen = [answer[_start_of_code(answer, found.start()) :]]
    if not chosen:
        return ParsedText(
            answer[:MAX_CODE], f"the answer holds no code: put the whole function {entry} in one block of ```python"
        )
    if len(chosen[-1]) > MAX_CODE:
        return ParsedText(chosen[-1][:MAX_CODE], f"the code has more than {MAX_CODE} characters: shorten it")
    return ParsedText(chosen[-1].strip("\n") + "\n")


def worksheet_of(answer: str) -> ParsedText:
    """The worksheet in an answer: the last block with a question numbered 1, or the lines from there on."""
    answer = without_thinking(answer)
    first = re.compile(r"^[ \t]*+1[ \t]*+[.)][ \t]++\S", re.MULTILINE)
    blocks = [block for block in fenced(answer) if first.search(block)]
    text = blocks[-1] if blocks else answer[found.start() :] if (found := first.search(answer)) else ""
    if not text.strip():
        return ParsedText(
            answer[:MAX_CODE], "the answer holds no worksheet: put its numbered questions in one block of ```"
        )
    return ParsedText(text.strip()[:MAX_CODE] + "\n")


def ideas_of(answer: str, count: int) -> tuple[str, ...]:
    """Up to `count` ideas: the items of a list with what is indented below them, else the paragraphs."""
    answer = without_thinking(answer)
    answer = _FENCE.sub("", answer)
    items: list[str] = []
    for line in answer.splitlines():
        if (found := _ITEM.match(line)) and not (items and line[:2] in ("  ", "\t")):
            items.append(found[1])
        elif items and line.strip():
            items[-1] += " " + line.strip()
    if not items:
        items = re.split(r"\n\s*\n", answer.strip())
    tidy = (_tidy(item, MAX_IDEA) for item in items)
    return tuple(dict.fromkeys(item for item in tidy if any(c.isalpha() for c in item)))[:count]


def prose_of(answer: str, limit: int = MAX_PROSE) -> str:
    """An answer in words, at most `limit` characters of it."""
    return without_thinking(answer).strip()[:limit]


def without_thinking(answer: str) -> str:
    """The answer behind what a model thought aloud between <think> and </think>."""
    return answer.rpartition("</think>")[2] if "</think>" in answer else answer


def fenced(text: str) -> list[str]:
    """The contents of all fenced blocks; the last may be left open. A fence ends with one as long, or longer."""
    blocks, start, fence = [], 0, ""
    for found in _FENCE.finditer(text):
        if not fence:
            start, fence = found.end() + 1, found[1]
        elif found[1].startswith(fence) and not found[2]:
            blocks.append(text[start : found.start()])
            fence = ""
        elif found[1].startswith(fence):  # another block begins: the last was not closed
            blocks.append(text[start : found.start()])
            start, fence = found.end() + 1, found[1]
    return [*blocks, text[start:]] if fence else blocks


def _start_of_code(answer: str, place: int) -> int:
    """The start of the code that has a definition at `place`: at helpers and imports right above it."""
    lines = answer[:place].splitlines(keepends=True)
    while lines and re.match(r"\s+\S|\s*$|def |import |from |@|#|\w+\s*=", lines[-1]):
        place -= len(lines.pop())
    return place


def _tidy(text: str, limit: int) -> str:
    return re.sub(r"\s+", " ", text.replace("**", "")).strip()[:limit]
