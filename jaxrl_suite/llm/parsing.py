"""Prompts that are filled in, and what is read from a model's answers: code, worksheets, ideas, prose.

A prompt is a file of the package that asks, `prompts/NAME.md` with `$fields`. This is the one place where an answer is
read, for every method. Nothing here raises, whatever the answer, and nothing of it runs: code is text until the sandbox
takes it.
"""

from __future__ import annotations

import functools
import re
import textwrap
from importlib import resources
from string import Template
from typing import NamedTuple

from jaxrl_suite.llm.fences import PYTHON, CodeBlock, StringState, blocks_of, thinks_to_the_end, without_thinking

MAX_CODE = 40_000  # characters
MAX_PROSE = 4_000
MAX_IDEA = 600
MAX_NESTING = 3  # blocks within a block of Markdown
MAX_HELPERS = 20  # blocks before the one that is wanted
MAX_LINE = 500  # characters of a line that tell code from prose

# Languages of blocks that hold no Python; a name that is none of a language does not count.
FOREIGN = frozenset(
    name
    for line in (
        "bash sh shell zsh console terminal powershell cmd json jsonl yaml yml toml ini xml html css diff patch output",
        "stdout javascript js typescript ts java kotlin c cpp c++ csharp c# go rust ruby php perl lua r julia scala",
        "swift haskell sql latex tex math mermaid dockerfile makefile csv log svg",
    )
    for name in line.split()
)
PROSE = frozenset({"markdown", "md", "text", "txt", "plaintext", "plain"})
WRAPPERS = re.compile(
    r"\[PYTHON\](?P<a>.*?)(?:\[/PYTHON\]|\Z)|<(?P<tag>code|python|answer|solution)>(?P<b>.*?)(?:</(?P=tag)>|\Z)",
    re.DOTALL | re.IGNORECASE,
)

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.-]*)[^\n]*$", re.MULTILINE)
# Possessive (`*+`), so that a megabyte of spaces takes no longer than it should.
_ITEM = re.compile(
    r"^\s*+(?:[-*+•]|\(?\d{1,3}[.):]|\*{0,2}idea\s*+\d{0,3}\s*+[:.)-])\s*+\**+\s*+(\S.*)$", re.IGNORECASE
)
_TOP = re.compile(r"^(?:(?:async[ \t]++)?def|class)[ \t]++(\w++)|^([A-Z_][A-Z_0-9]++)[ \t]*+(?::|=)", re.MULTILINE)
_IMPORTED = re.compile(r"^(?:from[ \t]++[\w.]++[ \t]++)?import[ \t]++\(?(.+)$", re.MULTILINE)
_CODE_LINE = re.compile(
    r"\s|$|@|#|[)\]}]|[rfb]?(?:\"\"\"|''')|pass$|[\w.]+\(.*\)\s*$"
    r"|(?:(?:async\s+)?def|class|import|assert|return|raise|del|global)\s|from\s+[\w.]+\s+import\b|print\("
    r"|(?:if|for|while|with|try|elif|else|except|finally|match)\b.*:\s*(?:#.*)?$"
    r"|[\w.\[\]\"', ()]++(?:[-+*/|&^%]|//|\*\*|<<|>>)?=[^=]|\w[\w.]*+\s*+:\s*+[\w\[\]., |\"']++="
)
_SCRIPT = re.compile(r"^(?:import |from [\w.]+ import |[a-z_]\w* = |print\(|for \w+ in |while )", re.MULTILINE)
_PROMPT = re.compile(r"^(?:>>>|\.\.\.)(?: |$)")


@functools.cache
def prompt(package: str, name: str) -> str:
    """The text of `prompts/NAME.md` of a package, for instance `prompt("jaxrl_suite.evolve", "ideas")`."""
    return resources.files(package).joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")


def fill(package: str, name: str, **words: str) -> str:
    """The prompt `name` of a package with its `$fields` filled in; every field must be given.

    A dollar sign within `words` is left as it is.
    """
    return Template(prompt(package, name)).substitute(words).strip()


class ParsedText(NamedTuple):
    """A text found in an answer, or what to tell the model instead."""

    text: str
    problem: str = ""


def code_of(answer: str, entry: str = "") -> ParsedText:
    """The Python source in an answer: the last block that is not empty, one that defines `entry` before others.

    Blocks before it that define what it uses go with it. A block that the answer breaks off in counts; without any
    block an answer that itself defines `entry` does.

    Args:
      answer: what a model wrote.
      entry: name of the function that is wanted; "" if any code is.
    """
    reply = without_thinking(answer).replace("\r\n", "\n").lstrip("\ufeff")
    name = re.escape(entry) if entry else r"\w++"
    defines = re.compile(rf"^[ \t]*+(?:async[ \t]++)?def[ \t]++{name}[ \t]*+\(", re.MULTILINE)
    found = _python_blocks(reply, defines)
    if not (entry and any(defines.search(text) for text, _ in found)) and any(is_named for _, is_named in found):
        found = [part for part in found if part[1]]  # a block without a language is often output
    blocks = [_plain(text) for text, _ in found]
    chosen = [i for i, block in enumerate(blocks) if defines.search(block)] if entry else []
    if blocks:
        code = _with_helpers(blocks, chosen[-1], defines) if chosen else blocks[-1]
    else:
        code = _bare_code(reply, defines if entry or defines.search(reply) else _SCRIPT)
    if not code.strip():
        return ParsedText(answer[:MAX_CODE], _no_code(answer, entry))
    if len(code) > MAX_CODE:
        return ParsedText(code[:MAX_CODE], f"the code has more than {MAX_CODE} characters: shorten it")
    return ParsedText(code.strip("\n").rstrip() + "\n")


def worksheet_of(answer: str) -> ParsedText:
    """The worksheet in an answer: the last block with a question numbered 1, or the lines from there on."""
    reply = without_thinking(answer)
    first = re.compile(r"^[ \t]*+1[ \t]*+[.)][ \t]++\S", re.MULTILINE)
    blocks = [block.text for block in blocks_of(reply) if first.search(block.text)]
    text = blocks[-1] if blocks else reply[found.start() :] if (found := first.search(reply)) else ""
    if not text.strip():
        return ParsedText(
            answer[:MAX_CODE], "the answer holds no worksheet: put its numbered questions in one block of ```"
        )
    return ParsedText(text.strip()[:MAX_CODE] + "\n")


def ideas_of(answer: str, count: int) -> tuple[str, ...]:
    """Up to `count` ideas: the items of a list with what is indented below them, else the paragraphs."""
    answer = _FENCE.sub("", without_thinking(answer))
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


def _python_blocks(text: str, defines: re.Pattern[str], depth: int = 0) -> list[tuple[str, bool]]:
    """The contents of all blocks that may be Python, and whether they say so; those within a block of Markdown too."""
    found: list[tuple[str, bool]] = []
    for block in blocks_of(text):
        inner = _python_blocks(block.text, defines, depth + 1) if _holds_blocks(block) and depth < MAX_NESTING else []
        if inner:
            found += inner
        elif block.text.strip() and (block.language not in FOREIGN | PROSE or defines.search(block.text)):
            found.append((block.text, block.language in PYTHON and block.language != ""))
    if not found and depth == 0:
        wrapped = (part["a"] or part["b"] or "" for part in WRAPPERS.finditer(text))
        found = [(part, True) for part in wrapped if defines.search(part)]
    return found


def _holds_blocks(block: CodeBlock) -> bool:
    return block.language in PROSE | {"", "answer"} and ("```" in block.text or "~~~" in block.text)


def _plain(text: str) -> str:
    """The code of a block, without an indent that all of it has, or the prompts and output of a session."""
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first[:1] in (" ", "\t"):
        return textwrap.dedent(text)
    if not first.startswith(">>> "):
        return text
    return "\n".join(line[4:] for line in lines if _PROMPT.match(line))


def _with_helpers(blocks: list[str], place: int, defines: re.Pattern[str]) -> str:
    """The block at `place`, behind those before it that define a name which it uses and does not define."""
    code = blocks[place]
    for block in reversed(blocks[max(0, place - MAX_HELPERS) : place]):
        if defines.search(block) or len(code) > MAX_CODE:
            continue
        names = _top_names(block)
        used = {name for name in names if re.search(rf"\b{re.escape(name)}\b", code)}
        if used - _top_names(code):
            code = block.rstrip("\n") + "\n\n\n" + code.lstrip("\n")
    return code


def _top_names(code: str) -> set[str]:
    """Functions, classes, imports and constants that code defines at its top level."""
    names = {name for found in _TOP.finditer(code) for name in (found[1], found[2]) if name}
    for found in _IMPORTED.finditer(code):
        for part in found[1].split("#")[0].strip("() \\").split(","):
            words = part.split()
            if words:
                names.add(words[-1].split(".")[0])
    return names


def _bare_code(answer: str, defines: re.Pattern[str]) -> str:
    """The code of an answer without blocks, from helpers and imports above the definition to the first prose below."""
    found = defines.search(answer)
    if found is None:
        return ""
    start = _start_of_code(answer, found.start())
    state, kept = StringState(), []
    for line in answer[start:].splitlines(keepends=True):
        if not state.quotes and not _CODE_LINE.match(line[:MAX_LINE]):
            break
        kept.append(line)
        state.read(line)
    return "".join(kept)


def _start_of_code(answer: str, place: int) -> int:
    """The start of the code that has a definition at `place`: at helpers and imports right above it."""
    lines = answer[:place].splitlines(keepends=True)
    while lines and re.match(r"\s+\S|\s*$|def |class |import |from |@|#|\w+\s*=", lines[-1]):
        place -= len(lines.pop())
    return place


def _no_code(answer: str, entry: str) -> str:
    if thinks_to_the_end(answer):
        return "the answer broke off within its thoughts: think less, and put the code in one block of ```python"
    wanted = f"the whole function {entry}" if entry else "the whole program"
    return f"the answer holds no code: put {wanted} in one block of ```python"


def _tidy(text: str, limit: int) -> str:
    return re.sub(r"\s+", " ", text.replace("**", "")).strip()[:limit]
