"""`metrics.jsonl`: one JSON line a measurement, appended whole, and rewound to what a checkpoint has seen.

A line logged in a loop names the loop and its step. On resume a loop drops its own lines from the restored step on and
writes them again. Lines logged outside loops stay, and are skipped as the program passes them a second time, so that
the file has the same lines in the same order as that of a run which was never stopped.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from jaxrl_suite.core.files import write_atomic

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
        if self._torn:
            self._rewrite(read_metrics(self.path))
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)

    def rewind(self, loop: str, step: int) -> None:
        """Drops the lines of `loop` from `step` on, and a torn last line."""
        self._rewrite([x for x in read_metrics(self.path) if x.get(LOOP) != loop or x[STEP] < step])

    def _rewrite(self, lines: list[dict[str, Any]]) -> None:
        if self.path.exists():
            write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self._torn = False


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; a torn last one is left out, a missing file has none."""
    lines = []
    if Path(path).exists():
        for raw in Path(path).read_bytes().split(b"\n")[:-1]:
            try:
                line = json.loads(raw)
            except ValueError:
                break
            if not isinstance(line, dict):
                break
            lines.append(line)
    return lines


def _plain(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # strict JSON has no NaN
    return value
