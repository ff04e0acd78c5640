"""Benchmarks: functions that return rows, kept in `experiments/bench/experiment.py` as `BENCHES`, name to function."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.errors import UserError, suggest

Rows = Sequence[dict[str, Any]]
MODULE = "jaxrl_suite.experiments.bench.experiment"


def load() -> Mapping[str, Callable[[], Rows]]:
    """The benchmarks by name.

    Raises:
      UserError: if there are none.
    """
    if importlib.util.find_spec(MODULE) is None:
        raise UserError("there is no benchmark yet: write them in experiments/bench/experiment.py")
    return importlib.import_module(MODULE).BENCHES


def run(name: str | None, out: str | None, show: Callable[[Rows, str], None]) -> int:
    """Runs one benchmark or all.

    Args:
      name: which one; None for all.
      out: file for the rows and the machine as JSON.
      show: prints a table, given its rows and title.

    Returns:
      The exit code.
    """
    path = Path(out) if out else None
    if path is not None:
        if path.is_dir():
            raise UserError(f"{path} is a folder: give the name of a file (--out)")
        base = next(p for p in path.absolute().parents if p.exists())
        if not base.is_dir() or not os.access(base, os.W_OK):
            raise UserError(f"cannot write in {base}: choose another file (--out)")
    benches = load()
    if name is not None and name not in benches:
        raise UserError(f"unknown benchmark {name!r}{suggest(name, benches)}")
    from jaxrl_suite.core import devices
    from jaxrl_suite.core.folder import environment

    devices.setup()
    results = {}
    for title in [name] if name else benches:
        results[title] = [dict(row) for row in benches[title]()]
        show(results[title], title)
    if path is not None:
        rows = {title: [{k: _plain(v) for k, v in row.items()} for row in rows] for title, rows in results.items()}
        write_atomic(path, json.dumps({**environment(), "benches": rows}, indent=2) + "\n")
    return 0


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
