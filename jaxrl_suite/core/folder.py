"""Run folders: checks before a run uses one, its header, and its lock."""

from __future__ import annotations

import json
import math
import os
import platform
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxrl_suite.core.files import hold, is_temporary, write_atomic
from jaxrl_suite.errors import UserError

CONFIG, RESULTS = "config.json", "results.json"
PACKAGES = ("jaxrl-suite", "jax", "jaxlib", "flax", "optax", "mctx", "brax", "orbax-checkpoint", "numpy")


def check_folder(
    folder: Path,
    asked: Mapping[str, Any],
    *,
    resume: bool,
    update: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> dict[str, Any] | None:
    """Checks that a run may use `folder`; reads only.

    Args:
      folder: the run folder.
      asked: the header's experiment, preset, config and hash.
      resume: whether to continue what is there.
      update: the config that an earlier version wrote, as today's version would write it, see `config.update_json`.

    Returns:
      The header of the run to continue, or None for a new one.

    Raises:
      UserError: if it may not; the message is one line with the remedy.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: choose a folder (--out)")
        entries = [p for p in folder.iterdir() if not is_temporary(p)] if folder.exists() else []
    except OSError as error:
        raise UserError(f"cannot use {folder}: {error.strerror}; choose another folder (--out)") from None
    base = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not base.is_dir() or not os.access(base, os.W_OK):
        raise UserError(f"cannot write in {base}: choose another folder (--out)")
    if not entries:
        return None
    if not resume:
        if (folder / CONFIG).exists():
            raise UserError(
                f"{folder} holds a run already: continue it with --resume, or choose another folder (--out)"
            )
        raise UserError(f"{folder} is not empty: choose another folder (--out)")
    header = read_header(folder)
    if header["experiment"] != asked["experiment"]:
        raise UserError(
            f"{folder} holds a run of {header['experiment']!r}, not of {asked['experiment']!r}: "
            "choose another folder (--out)"
        )
    there = header["config"]
    if update is not None and there != asked["config"]:
        try:
            there = update(there)
        except ValueError as error:
            raise UserError(
                f"{folder} holds a run of another version, which this one cannot continue "
                f"({' '.join(str(error).split())}): choose another folder (--out)"
            ) from None
    if there != asked["config"]:
        raise UserError(
            f"{folder} holds a run with another config ({_difference(there, asked['config'])}): "
            "give the same options, or choose another folder (--out)"
        )
    return header


def read_header(folder: Path) -> dict[str, Any]:
    """The content of a run's `config.json`.

    Raises:
      UserError: if the folder holds no run, or the file is damaged.
    """
    path = Path(folder) / CONFIG
    if not path.exists():
        raise UserError(f"{folder} holds no run ({CONFIG} is missing): choose another folder")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        complete = {"experiment", "preset", "config", "hash", "versions", "devices"} <= set(header)
        complete &= isinstance(header["experiment"], str) and isinstance(header["config"], dict)
    except (OSError, ValueError, TypeError, KeyError):
        complete, header = False, {}
    if not complete:
        raise UserError(f"{path} is damaged: delete the folder {folder} and start the run again")
    return header


def _difference(there: Any, here: Any, where: str = "") -> str:
    """The first field in which two configs differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in [*there, *(n for n in here if n not in there)]:
            if there.get(name) != here.get(name):
                return _difference(there.get(name), here.get(name), f"{where}.{name}" if where else name)
    return f"{where or 'config'} is {json.dumps(there)} there and {json.dumps(here)} here"


def environment() -> dict[str, Any]:
    """The versions of what a result may depend on, and the devices; starts the backend."""
    from jaxrl_suite.core import devices

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "devices": devices.describe()}


def lock(folder: Path) -> int:
    """Holds the folder for this process; the system lets go of it however the process ends."""
    handle = os.open(folder / CONFIG, os.O_RDONLY)
    if not hold(handle):
        os.close(handle)
        raise UserError(f"{folder} is in use by another process: wait for it, or choose another folder (--out)")
    return handle


LOOP, STEP = "loop", "step"


class Metrics:
    """The metrics of one run.

    Args:
      path: the file; made at the first line.
      resume: keep what is in it.
    """

    def __init__(self, path: Path, resume: bool = False):
        self.path = Path(path)
        self._torn = resume  # whether the file may end in half a line
        self._waiting: list[dict[str, Any]] | None = [] if resume else None  # until the file was checked
        self._skip = sum(LOOP not in line for line in read_metrics(self.path)) if resume else 0

    def log(self, values: dict[str, Any], loop: str | None = None, step: int = 0) -> None:
        """Appends one line.

        Args:
          values: numbers, strings, bools, None, or arrays of numbers; scalars and arrays on a device are fetched.
          loop: name of the loop that the line belongs to.
          step: its step.
        """
        line = {name: _plain(value) for name, value in values.items()}
        if loop is None:
            if self._skip:
                self._skip -= 1
                return
        else:
            line = {LOOP: loop, STEP: step, **line}
        if self._waiting is not None:
            self._waiting.append(line)
            return
        if self._torn:
            self._rewrite(read_metrics(self.path))
        self._append(line)

    def flush(self) -> None:
        """Writes what waited until it was known that the file is whole."""
        waiting, self._waiting = self._waiting or [], None
        for line in waiting:
            self.log(line)

    def _append(self, line: dict[str, Any]) -> None:
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise self._failed(error) from None
        try:
            size, written = os.fstat(handle).st_size, 0
            try:
                while written < len(data):
                    written += os.write(handle, data[written:])
            except OSError as error:
                os.ftruncate(handle, size)
                raise self._failed(error) from None
        finally:
            os.close(handle)

    def mark(self, loop: str, step: int) -> list[int]:
        """Size and checksum of what is in the file, for a checkpoint; without what `loop` wrote from `step` on."""
        lines = self._content().splitlines(keepends=True)
        while lines and (not lines[-1].endswith(b"\n") or _from(json.loads(lines[-1]), loop, step)):
            lines.pop()  # of a step that was interrupted
        data = b"".join(lines)
        return [len(data), zlib.crc32(data)]

    def check(self, mark: Sequence[int] | None) -> None:
        """Refuses to go on without lines that were there when a checkpoint was made.

        Args:
          mark: of that time; None where an earlier version made no mark.

        Raises:
          UserError: if the file does not begin with what it held then.
        """
        if mark is not None:
            data = self._content()[: mark[0]]
            if [len(data), zlib.crc32(data)] != list(mark):
                what = "has lost lines, or they were changed" if data else "is gone"
                raise UserError(f"{self.path} {what}: put it back as it was, or start a new run folder (--out)")

    def rewind(self, loop: str, step: int) -> None:
        """Drops the lines of `loop` from `step` on, and a torn last line."""
        self._rewrite([x for x in read_metrics(self.path) if not _from(x, loop, step)])
        self.flush()

    def _rewrite(self, lines: list[dict[str, Any]]) -> None:
        if self.path.exists():
            write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self._torn = False

    def _content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def _failed(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self.path}: {error.strerror}; make room, then continue with --resume")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; a torn last one is left out, a missing file has none.

    Raises:
      UserError: if another line is damaged.
    """
    lines = []
    if Path(path).exists():
        for number, raw in enumerate(Path(path).read_bytes().split(b"\n")[:-1], start=1):
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict) or (LOOP in line and not isinstance(line.get(STEP), int)):
                raise UserError(
                    f"{path}, line {number} is damaged: put the file back as it was, or start a new run folder (--out)"
                )
            lines.append(line)
    return lines


def _from(line: Mapping[str, Any], loop: str, step: int) -> bool:
    return line.get(LOOP) == loop and line[STEP] >= step


def _plain(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # strict JSON has no NaN
    return value
