"""Files that are either whole or absent, and tables with the same bytes for the same numbers."""

from __future__ import annotations

import csv
import io
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
        raise UserError(f"cannot write {path}: {error.strerror}") from None


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
