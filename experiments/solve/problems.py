"""Problems of a user's file: JSON lines, one problem each.

    {"prompt": "...", "entry": "add", "tests": ["assert add(1, 2) == 3"], "hidden_tests": "def check(f): ..."}
    {"prompt": "What is 6 times 7?", "answer": "42"}

`prompt` alone is needed. `id` names a problem, else its line does. `entry` is the function that a program must define;
`tests` are seen by the search; `hidden_tests` and `answer` decide at the end, and no search can reach them: it is given
a `VisibleTask`, which has no such field. `setup` is code that tests use.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.sandbox import Check

FIELDS = ("id", "prompt", "entry", "setup", "tests", "hidden_tests", "answer")


@dataclasses.dataclass(frozen=True)
class VisibleTask:
    """The part of a problem that a search may see."""

    id: str
    prompt: str
    entry: str
    setup: str
    tests: tuple[str, ...]  # test code


@dataclasses.dataclass(frozen=True)
class HiddenTask:
    """The part of a problem that decides at the end."""

    tests: tuple[str, ...]
    answer: str | None


def read_problems(path: str, limit: int = 0) -> list[tuple[VisibleTask, HiddenTask]]:
    """All problems of a file, or the first `limit`.

    Raises:
      UserError: with the line that cannot be used.
    """
    found: list[tuple[VisibleTask, HiddenTask]] = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # JSON may hold what else ends a line
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip() and (not limit or len(found) < limit):
            found.append(_read(line, number, path))
    if not found:
        raise UserError(f"{path} holds no problem: write a JSON object a line, with a prompt")
    seen: set[str] = set()
    for visible, _ in found:
        if visible.id in seen:
            raise UserError(f"{path} has two problems called {visible.id!r}: give each its own id")
        seen.add(visible.id)
    return found


def checks(tests: Sequence[str], setup: str) -> list[Check]:
    """Test code as the sandbox takes it."""
    return [Check(code, setup) for code in tests]


def _read(line: str, number: int, path: str) -> tuple[VisibleTask, HiddenTask]:
    where = f"{path}, line {number}"
    try:
        data = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{where} is no JSON object: write {{...}} with a prompt")
    odd = next((name for name in data if name not in FIELDS), None)
    if odd is not None:
        raise UserError(f"{where} has an unknown field {odd!r}{suggest(str(odd), FIELDS)}")
    for name in ("prompt", "entry", "setup"):
        if not isinstance(data.get(name, ""), str):
            raise UserError(f"{where}: {name} must be text, got {data[name]!r}")
    if not data.get("prompt", "").strip():
        raise UserError(f"{where} has no prompt: say what is asked")
    visible, hidden = (_tests(data, name, where) for name in ("tests", "hidden_tests"))
    entry = data.get("entry", "")
    if (visible or hidden) and not entry.isidentifier():
        raise UserError(f"{where} has tests and no entry: name the function that they call")
    answer = data.get("answer")
    if answer is not None and (isinstance(answer, bool) or not isinstance(answer, str | int | float)):
        raise UserError(f"{where}: answer must be text or a number, got {answer!r}")
    name = str(data.get("id", number))
    return (
        VisibleTask(name, data["prompt"], entry, data.get("setup", ""), visible),
        HiddenTask(hidden, None if answer is None else str(answer)),
    )


def _tests(data: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = data.get(name, ())
    value = (value,) if isinstance(value, str) else value
    if not isinstance(value, list | tuple) or not all(isinstance(code, str) and code.strip() for code in value):
        raise UserError(f"{where}: {name} must be test code, or a list of such")
    return tuple(value)
