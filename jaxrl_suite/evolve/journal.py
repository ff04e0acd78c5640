"""A file of all that happened in searches over strategies: one JSON line for each thing, written as it happens.

Two kinds of lines. Results (`check`, `judge`) stand under a key that names all they depend on, and are on disk before
anyone acts on them; a run that starts again finds them instead of computing them. Events (`event`) belong to a job and
are numbered; a run that starts again makes the same ones, in the same order, which is checked: what has happened is
never written over. They reach the disk with the next result, so that a failing machine may lose the last ones.

Draws of a language model are kept apart, in a `jaxrl_suite.llm.Recording`, as they must be on disk the moment they are
paid for.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrl_suite.core.json_lines import JsonLines, Place
from jaxrl_suite.errors import UserError

Log = Callable[..., None]  # log("proposal", call=..., ...)


class Journal:
    """An open journal; a context manager. One process at a time may write to it.

    A last line that a killed process left half-written is cut off.

    Args:
      path: the file, made if it does not exist; None keeps everything in memory.
      read_only: only look things up.

    Raises:
      UserError: if the file is damaged, missing (`read_only`), cannot be opened, or is in use by another process.
    """

    def __init__(self, path: Path | str | None = None, *, read_only: bool = False):
        self._results: dict[tuple[str, str], Any] = {}
        self._events: dict[str, list[str]] = collections.defaultdict(list)
        self.path = Path(path) if path is not None else None
        self._lines = None if path is None else JsonLines(path, self._note, what="journal", read_only=read_only)

    def get(self, kind: str, key: str) -> Any:
        """A result on record, or None."""
        return self._results.get((kind, key))

    def put(self, kind: str, results: Mapping[str, Any]) -> None:
        """Appends results by their key and returns when they are on disk; those on record stay as they are."""
        new = {key: value for key, value in results.items() if (kind, key) not in self._results}
        # In the order given, not sorted: prompts show what stands in a result.
        self._append([{"kind": kind, "key": key, "value": value} for key, value in new.items()])

    def log(self, job: str) -> Log:
        """The log of one job from its first event on; what is on record already is compared, not written again."""
        number = 0

        def note(event: str, **data: Any) -> None:
            nonlocal number
            line = json.dumps({"event": event, **data}, sort_keys=True)
            known = self._events[job]
            if number < len(known):
                if known[number] != line:
                    raise UserError(
                        f"event {number} of {job} in {self.path} is another one now: the journal is of another "
                        "config or version; give the same options, or choose another folder"
                    )
            else:
                self._append([{"kind": "event", "job": job, "number": number, "data": json.loads(line)}], sync=False)
            number += 1

        return note

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(job for job, events in self._events.items() if events)

    def events(self, job: str) -> list[dict[str, Any]]:
        """All events of a job, in order."""
        return [json.loads(line) for line in self._events.get(job, [])]

    def proposals(self, job: str) -> dict[tuple[str, tuple[int, ...]], Any]:
        """Proposals of a job, by call and path, for a `ReplayProposer`."""
        made = [event for event in self.events(job) if event["event"] == "proposal"]
        return {(event["call"], tuple(event["path"])): event["result"] for event in made}

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({str(self.path)!r}, {len(self._results)} results, {len(self.jobs)} jobs)"

    def _append(self, lines: Sequence[Mapping[str, Any]], *, sync: bool = True) -> None:
        if self._lines is not None and lines:
            self._lines.append(lines, sync=sync)
        elif self._lines is None:
            for line in lines:
                self._note(json.loads(json.dumps(line)))

    def _note(self, line: Mapping[str, Any], _: Place | None = None) -> None:
        if line["kind"] == "event":
            events = self._events[line["job"]]
            if line["number"] != len(events):
                raise ValueError(line)
            events.append(json.dumps(line["data"], sort_keys=True))
        else:
            self._results.setdefault((line["kind"], line["key"]), line["value"])
