"""Files that are either whole or absent, tables with the same bytes for the same numbers, and files of JSON lines.

To a file of lines one process appends whole lines, on disk before anyone acts on them. A killed process leaves at most
half a line, which the next one cuts off; a failed write leaves nothing of itself.
"""

from __future__ import annotations

import csv
import io
import json
import numbers
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError

Row = Mapping[str, Any]


def write_atomic(path: Path, text: str) -> None:
    """Writes a file under another name and renames it: a reader, or a killed process, never sees half of it.

    Raises:
      UserError: if the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; make room, or choose another folder") from None


def hold(handle: int) -> bool:
    """Holds an open file for this process, however the process ends; False if another one holds it.

    A system without such locks always answers True.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass
    except OSError:
        return False
    return True


def is_temporary(path: Path) -> bool:
    """True if `path` is what `write_atomic` leaves when it is killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def format_cell(value: Any) -> str:
    """A table cell: integers in full, other numbers with six significant digits, None empty."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, numbers.Integral)):
        return str(value)
    if isinstance(value, numbers.Real):
        return f"{float(value) + 0.0:.6g}"  # + 0.0: no minus zero
    raise UserError(f"a table cell may be a number, text, a bool or None, got {type(value).__name__}")


def to_csv(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Rows as CSV.

    Args:
      rows: one mapping a row.
      columns: their order; that of the first row by default.

    Raises:
      UserError: if a row has other columns.
    """
    columns = list(columns if columns is not None else (rows[0] if rows else ()))
    if not columns:
        raise UserError("a table needs a row or its columns")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for i, row in enumerate(rows):
        if set(row) != set(columns):
            odd = sorted(set(row) ^ set(columns))
            raise UserError(
                f"row {i} of the table differs in {', '.join(odd)}: every row must have {', '.join(columns)}"
            )
        writer.writerow([format_cell(row[column]) for column in columns])
    return text.getvalue()


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """The columns and the rows of a CSV file, as text."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    return (lines[0], lines[1:]) if lines else ([], [])


def check_name(name: str) -> None:
    """Refuses a name that cannot be a file's.

    Raises:
      UserError: if it has other characters than letters, digits, `_`, `-` and `.`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(f"{name!r} cannot name a file: use letters, digits, '_', '-' and '.'")


# What reading a line raises if it is none of its kind, or only half of one.
NO_SUCH_LINE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


class Place(NamedTuple):
    """The place of a line in the file."""

    offset: int
    size: int


class JsonLines:
    """An open file of lines. One process at a time may write to it, others may read.

    Who opened it goes through the lines once, before anything is appended; a line that cannot be read as one of its
    kind is rejected, which is an error unless a killed process was writing it:

        for line, place in lines:
            try:
                note(line, place)
            except NO_SUCH_LINE:
                lines.reject()

    Args:
      path: the file, made if it does not exist.
      what: what it is called in messages.
      read_only: only look things up.
      missing: remedy, where a file to read does not exist.
      damaged: remedy, where a line cannot be read.
      failure: what a failed write raises.

    Raises:
      UserError: if the file is missing (`read_only`), cannot be opened, or is in use by another process; when
        its lines are gone through, if it is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        what: str,
        read_only: bool = False,
        missing: str = "choose another path",
        damaged: str = "restore the file, or choose another folder",
        failure: type[UserError] = UserError,
    ):
        self.path, self.read_only = Path(path), read_only
        self._name, self._damaged, self._failure = f"the {what} {path}", damaged, failure
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
            self._size = os.fstat(self._handle).st_size
        except BaseException:
            self.close()
            raise

    def append(self, lines: Sequence[Any], *, sync: bool = True) -> list[tuple[Any, Place]]:
        """Appends lines, all or none, and returns when they are written; with `sync`, when they are on disk.

        Returns:
          The lines as they will be read, and their places.

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
        appended = []
        for raw in encoded:
            appended.append((json.loads(raw), Place(self._size, len(raw))))
            self._size += len(raw)
        return appended

    def read(self, place: Place) -> Any:
        """The line at a place."""
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

    def __iter__(self) -> Iterator[tuple[Any, Place]]:
        """The lines of the file and their places; cuts off what a killed process left half-written."""
        try:
            self._size = yield from self._whole_lines()
        except BaseException:
            self.close()
            raise

    def reject(self) -> None:
        """The line that was given last is none of the kind that this file holds."""
        self._rejected = True

    def _whole_lines(self) -> Generator[tuple[Any, Place], None, int]:
        """Returns their size."""
        offset = 0
        with open(self.path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                self._rejected = False
                try:
                    line = json.loads(raw)
                except NO_SUCH_LINE:
                    self.reject()
                else:
                    yield line, Place(offset, len(raw))
                if self._rejected:
                    if raw.endswith(b"\n"):
                        raise UserError(f"{self.path}, line {number} is damaged: {self._damaged}")
                    break  # a killed process was writing it
                offset += len(raw)
                if not raw.endswith(b"\n") and not self.read_only:  # complete, but for its end
                    os.write(self._handle, b"\n")
                    return offset + 1
        if not self.read_only:
            os.ftruncate(self._handle, offset)
        return offset
