"""A file of all draws that were paid for: one JSON line a draw, on disk before anyone sees it.

A line holds the draw's key (`Request.identity`), its number, the completion, and its part of what the exchange cost;
what an exchange costs as a whole (the request, the prompt, the time) stands with its first draw. A draw of null notes
what was paid without a completion. One more line a sampler names its capabilities, and others what was learnt of how
its server takes requests. The file holds no prompt and no
secret.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from jaxrl_suite.core.files import NO_SUCH_LINE, JsonLines, Place
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import (
    Capabilities,
    Completion,
    Finish,
    Usage,
    completion_from_json,
    completion_to_json,
)


class RecordingError(UserError):
    """A recording could not be written: a run must stop, as what it pays from now on would be lost."""


class Draw(NamedTuple):
    """A completion and its part of what was paid."""

    completion: Completion
    usage: Usage


class Recording:
    """An open recording; a context manager. Safe to share between threads; one process at a time may write to it.

    A last line that a killed process left half-written is cut off.

    Args:
      path: the file, made if it does not exist.
      read_only: only answer from it; another process may be writing.

    Raises:
      UserError: if the file is damaged, missing (`read_only`), cannot be opened, or is in use by another process.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False):
        self.path, self.read_only = Path(path), read_only
        self.samplers: dict[str, Capabilities] = {}
        self.dialects: dict[str, dict[str, Any]] = {}  # the last of each sampler, see `http.dialect`
        self.by_role: dict[str, Usage] = {}  # all that was paid; charge it to a new ledger to go on under one budget
        self._index: dict[tuple[str, int], Place] = {}
        self._lock = threading.Lock()
        self._lines = JsonLines(
            path,
            what="recording",
            read_only=read_only,
            missing="record it first",
            damaged="delete that line (what it holds is paid for again) or restore the file",
            failure=RecordingError,
        )
        for line, place in self._lines:
            try:
                self._note(line, place)
            except NO_SUCH_LINE:
                self._lines.reject()

    def get(self, key: str, draw: int) -> Draw | None:
        """A draw on record, or None."""
        with self._lock:
            place = self._index.get((key, draw))
            if place is None:
                return None
            line = self._lines.read(place)
        return Draw(completion_from_json(line["completion"]), _usage_from_json(line["usage"]))

    def add_sampler(self, name: str, capabilities: Capabilities) -> None:
        """Notes a sampler once, so that a replay can stand in for it.

        Raises:
          UserError: if the recording cannot be written, before anything is paid for it.
        """
        with self._lock:
            self._lines.check_writable()
            if name not in self.samplers:
                self._append([{"sampler": name, "capabilities": capabilities._asdict()}])

    def add_dialect(self, name: str, dialect: dict[str, Any]) -> None:
        """Notes how the server of a sampler takes requests, as JSON values."""
        with self._lock:
            capabilities = self.samplers[name]._asdict()
            self._append([{"sampler": name, "capabilities": capabilities, "dialect": dialect}])

    def add(self, key: str, role: str, draws: Iterable[tuple[int, Draw]]) -> None:
        """Appends draws and returns when they are on disk; those on record already stay as they are.

        Args:
          key: `Request.identity` of the request that they answer.
          role: of that request.
          draws: number and content of each.
        """
        lines = [
            {
                "key": key,
                "draw": number,
                "role": role,
                "completion": completion_to_json(draw.completion),
                "usage": _usage_to_json(draw.usage),
            }
            for number, draw in draws
        ]
        with self._lock:
            self._append([line for line in lines if (key, line["draw"]) not in self._index])

    def add_cost(self, key: str, role: str, usage: Usage, error: str) -> None:
        """Appends what was paid for no completion."""
        with self._lock:
            self._append([{"key": key, "draw": None, "role": role, "error": error, "usage": _usage_to_json(usage)}])

    def close(self) -> None:
        self._lines.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of draws on record."""
        return len(self._index)

    def __repr__(self) -> str:
        return f"Recording({str(self.path)!r}, {len(self)} draws)"

    def _append(self, lines: Sequence[dict[str, Any]]) -> None:
        for line, place in self._lines.append(lines):
            self._note(line, place)

    def _note(self, line: dict[str, Any], place: Place) -> None:
        line = _checked(line)
        if "sampler" in line:
            self.samplers.setdefault(line["sampler"], Capabilities(**line["capabilities"]))
            if "dialect" in line:
                self.dialects[line["sampler"]] = line["dialect"]
            return
        if line["draw"] is not None:
            self._index.setdefault((line["key"], line["draw"]), place)
        role = line["role"]
        self.by_role[role] = self.by_role.get(role, Usage()) + _usage_from_json(line["usage"])


def split_usage(usage: Usage, completions: Sequence[Completion]) -> list[Usage]:
    """The part of each completion of one exchange; they add up to `usage`, the first has all that is not a sample's."""
    rest = [Usage(samples=1, output_tokens=completion.num_tokens) for completion in completions[1:]]
    taken = sum(rest, Usage())
    parts = (field.name for field in dataclasses.fields(Usage))
    return [Usage(**{part: getattr(usage, part) - getattr(taken, part) for part in parts}), *rest]


def _usage_to_json(usage: Usage) -> dict[str, Any]:
    return {part: value for part, value in dataclasses.asdict(usage).items() if value}


def _usage_from_json(data: dict[str, Any]) -> Usage:
    return Usage(**data)


def _checked(line: Any) -> dict[str, Any]:
    """A line, if it is one of a recording.

    Raises:
      ValueError, KeyError, TypeError: if it is not.
    """
    if "sampler" in line:
        Capabilities(**line["capabilities"])
        if not isinstance(line.get("dialect", {}), dict):
            raise ValueError(line)
        return line
    completion_fits = line["draw"] is None or (
        isinstance(line["draw"], int)
        and line["draw"] >= 0
        and completion_from_json(line["completion"]).finish in get_args(Finish)
    )
    usage = dataclasses.asdict(_usage_from_json(line["usage"])).values()
    numbers = all(isinstance(value, (int, float)) for value in usage)
    if not (completion_fits and numbers and isinstance(line["key"], str) and isinstance(line["role"], str)):
        raise ValueError(line)
    return line
