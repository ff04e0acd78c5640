"""A file of JSON lines to which one process appends: whole lines, on disk before anyone acts on them.

A killed process leaves at most half a line, which the next one cuts off; a failed write leaves nothing of itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrl_suite.core.files import hold
from jaxrl_suite.errors import UserError


class Place(NamedTuple):
    """The place of a line in the file."""

    offset: int
    size: int


class JsonLines:
    """An open file of lines. One process at a time may write to it, others may read.

    Args:
      path: the file, made if it does not exist.
      note: called with each line and its place, for those in the file and for each that is appended; raises
        ValueError, KeyError, TypeError, OverflowError or RecursionError for a line that is none of this kind.
      what: what it is called in messages.
      read_only: only look things up.
      missing: remedy, where a file to read does not exist.
      damaged: remedy, where a line cannot be read.
      failure: what a failed write raises.

    Raises:
      UserError: if the file is damaged, missing (`read_only`), cannot be opened, or is in use by another process.
    """

    def __init__(
        self,
        path: Path | str,
        note: Callable[[Any, Place], None],
        *,
        what: str,
        read_only: bool = False,
        missing: str = "choose another path",
        damaged: str = "restore the file, or choose another folder",
        failure: type[UserError] = UserError,
    ):
        self.path, self.read_only = Path(path), read_only
        self._note, self._name, self._damaged, self._failure = note, f"the {what} {path}", damaged, failure
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT | os.O_APPEND
        try:
            if not read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, flags, 0o666)
        except OSError as error:
            remedy = missing if read_only else "choose another path"
            raise UserError(f"cannot open {self._name} ({error.strerror}): {remedy}") from None
        try:
            if not read_only and not hold(self._handle):
                raise UserError(
                    f"{self._name} is in use by another process: wait for it, or give each process its own file"
                )
            self._size = self._load()
        except BaseException:
            self.close()
            raise

    def append(self, lines: Sequence[Any], *, sync: bool = True) -> None:
        """Appends lines, all or none, and returns when they are written; with `sync`, when they are on disk.

        Raises:
          UserError: (`failure`) if they cannot be written.
        """
        self.check_writable()
        encoded = [(json.dumps(line) + "\n").encode() for line in lines]
        data = b"".join(encoded)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._handle, data[written:])
            if sync and data:
                os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, self._size)
            raise self._failure(f"cannot write {self._name}: {error.strerror}; make room and resume") from None
        for raw in encoded:
            self._note(json.loads(raw), Place(self._size, len(raw)))
            self._size += len(raw)

    def read(self, place: Place) -> Any:
        """The line at a place that `note` was told of."""
        if self._handle < 0:
            raise UserError(f"{self._name} is closed: use it while it is open")
        os.lseek(self._handle, place.offset, os.SEEK_SET)
        data = b""
        while len(data) < place.size and (part := os.read(self._handle, place.size - len(data))):
            data += part
        return json.loads(data)

    def check_writable(self) -> None:
        if self.read_only or self._handle < 0:
            raise self._failure(f"{self._name} is not open for writing: open it without read_only")

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _load(self) -> int:
        """Reads the file and returns the size of its whole lines."""
        offset = 0
        with open(self.path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    self._note(json.loads(raw), Place(offset, len(raw)))
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                    if raw.endswith(b"\n"):
                        raise UserError(f"{self.path}, line {number} is damaged: {self._damaged}") from None
                    break  # a killed process was writing it
                offset += len(raw)
                if not raw.endswith(b"\n") and not self.read_only:  # complete, but for its end
                    os.write(self._handle, b"\n")
                    return offset + 1
        if not self.read_only:
            os.ftruncate(self._handle, offset)
        return offset
