"""`report.html`: one page from a run folder, or from many; it opens without a network.

The page is made from the files alone, so it can be made again at any time, also of a run that did not finish.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jaxrl_suite.core.config_paths import flatten
from jaxrl_suite.core.files import read_csv, write_atomic
from jaxrl_suite.core.folder import RESULTS, read_header, read_metrics
from jaxrl_suite.errors import UserError

REPORT = "report.html"
LONG_TABLE = 24  # rows shown before the rest of a table is left to its file
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?%?|nan|-?inf|", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class System:
    """A row of the systems table.

    Args:
      name: of the system.
      paper: its title or subject.
      reference: such as "arXiv 2408.10635".
      built: whether the project runs it today.
      experiments: names of the experiments that serve it.
    """

    name: str
    paper: str
    reference: str
    built: bool = False
    experiments: tuple[str, ...] = ()


def build_report(folder: Path, title: str | None = None, summary: str = "") -> Path:
    """Writes `report.html` of one run.

    Args:
      folder: a run folder.
      title: heading; the experiment's name by default.
      summary: a sentence below it.

    Returns:
      The path of the page.

    Raises:
      UserError: if the folder holds no run.
    """
    folder = Path(folder)
    run = _load(folder, summary)
    page = _render(title=title or run["name"], summary=summary, systems=[], runs=[run], several=False)
    write_atomic(folder / REPORT, page)
    return folder / REPORT


def build_overview(
    path: Path,
    systems: Sequence[System],
    folders: Sequence[Path],
    *,
    title: str,
    summary: str = "",
    summaries: Mapping[str, str] | None = None,
    failures: Mapping[str, str] | None = None,
) -> Path:
    """Writes one page for many runs: a row per system, then what each run found.

    Args:
      path: of the page.
      systems: all of them; those that are not built are listed as such.
      folders: the run folders.
      title: heading.
      summary: a sentence below it.
      summaries: a sentence for each experiment, by name.
      failures: experiments that stopped with an error, and the error in a line.
    """
    runs = [_load(Path(folder), (summaries or {}).get(Path(folder).name, "")) for folder in folders]
    rows = [_system_row(system, runs, failures or {}) for system in systems]
    page = _render(title=title, summary=summary, systems=rows, runs=runs, several=True)
    write_atomic(path, page)
    return path


def _system_row(system: System, runs: Sequence[dict[str, Any]], failures: Mapping[str, str]) -> dict[str, Any]:
    own_runs = [run for run in runs if run["name"] in system.experiments]
    claims = [claim for run in own_runs for claim in run["claims"]]
    counts = {
        v: sum(claim["verdict"] == v for claim in claims) for v in ("held", "partly", "not held", "not comparable")
    }
    failed = [name for name in system.experiments if name in failures]
    if not system.built:
        status = "not built yet"
    elif failed:
        status = f"failed: {failures[failed[0]]}"
    elif not own_runs:
        status = "not run"
    else:
        status = "run" if all(run["status"] == "finished" for run in own_runs) else "unfinished"
    return {
        "system": system,
        "status": status,
        "counts": {v: n for v, n in counts.items() if n},
        "runs": [(run["name"], run["anchor"]) for run in own_runs],
    }


def _load(folder: Path, summary: str) -> dict[str, Any]:
    """A run as the page shows it.

    Raises:
      UserError: if the folder holds no run, or a file in it is damaged.
    """
    header = read_header(folder)
    try:
        return _read(folder, header, summary)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"a file in {folder} is damaged ({type(error).__name__}: {error}): continue the run with --resume, which "
            "writes its results again, or delete the folder"
        ) from None


def _read(folder: Path, header: dict[str, Any], summary: str) -> dict[str, Any]:
    path = folder / RESULTS
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}  # a run that was killed early
    captions = {kind: {x["name"]: x["caption"] for x in results.get(kind, ())} for kind in ("figures", "tables")}
    figures = [
        {"name": path.stem, "caption": caption, "svg": path.read_text(encoding="utf-8")}
        for path, caption in _in_order(folder / "figures", "svg", captions["figures"])
    ]
    tables = [_table(path, caption) for path, caption in _in_order(folder / "tables", "csv", captions["tables"])]
    texts = results.get("texts", [])
    return {
        "name": header["experiment"],
        "anchor": re.sub(r"[^A-Za-z0-9]+", "-", header["experiment"]),
        "summary": summary,
        "preset": header["preset"],
        "status": results.get("status", "unfinished"),
        "claims": [_claim(claim) for claim in results.get("claims", ())],
        "headline": [x["body"] for x in texts if not x["title"]],
        "sections": [x for x in texts if x["title"]],
        "figures": figures,
        "tables": tables,
        "config": _facts(header["config"]),
        "environment": _environment(header, results),
        "measurements": len(read_metrics(folder / "metrics.jsonl")),
    }


def _in_order(folder: Path, suffix: str, captions: Mapping[str, str]) -> list[tuple[Path, str]]:
    """The files of a folder with their captions, in the order in which the run made them."""
    order = {name: place for place, name in enumerate(captions)}
    paths = sorted(folder.glob(f"*.{suffix}"), key=lambda p: (order.get(p.stem, len(order)), p.stem))
    return [(path, captions.get(path.stem, "")) for path in paths if not path.name.startswith(".")]


def _table(path: Path, caption: str) -> dict[str, Any]:
    columns, rows = read_csv(path)
    numeric = [all(_NUMBER.fullmatch(row[i].strip()) for row in rows) for i in range(len(columns))]
    return {
        "name": path.stem,
        "caption": caption,
        "columns": [c.replace("_", " ") for c in columns],
        "numeric": numeric,
        "rows": rows[:LONG_TABLE],
        "more": max(0, len(rows) - LONG_TABLE),
    }


def _claim(claim: dict[str, Any]) -> dict[str, Any]:
    unit = claim.get("unit") or ""
    unit = unit if unit in ("", "%") else f" {unit}"
    measured = claim["measured"]
    text = measured if isinstance(measured, str) else f"{_short(measured)}{unit}"
    low, high = claim.get("low"), claim.get("high")
    interval = f"{_short(low)} to {_short(high)}" if low is not None and high is not None else ""
    shown = {
        name: _signs(claim.get(name, "")) for name in ("claim", "metric", "published", "baseline", "system", "setting")
    }
    shown["claim"] = shown["claim"][:1].upper() + shown["claim"][1:]
    badge = claim["verdict"].replace(" ", "-")
    return {**claim, **shown, "measured": text, "interval": interval, "badge": badge}


def _environment(header: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("command", results.get("command") or ""), ("devices", results.get("devices") or header.get("devices", ""))]
    rows += [
        ("throughput", f"{x['amount'] / x['seconds']:,.0f} {x['what']} per second")
        for x in results.get("throughput", ())
    ]
    for x in results.get("compiled", ()):
        sizes = [x[f"{part}_bytes"] for part in ("argument", "output", "temp") if x.get(f"{part}_bytes") is not None]
        memory = f", {sum(sizes) / 1e6:,.3g} MB a device" if sizes else ""
        rows.append((f"compile {x['name']}", f"{x['seconds']:.1f} s{memory}"))
    if "seconds" in results:
        rows.append(("wall time", f"{results['seconds']:,.1f} s"))
    rows.append(("versions", ", ".join(f"{k} {v}" for k, v in header.get("versions", {}).items())))
    return [(name, value) for name, value in rows if value]


def _facts(config: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Path and value of each field of a config."""
    rows = flatten(config or {}).items()
    return [(path, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for path, value in rows]


def _signs(text: str) -> str:
    """Plus-minus, arrows and minus as they are printed."""
    text = text.replace("+-", "±").replace("->", "→")
    return re.sub(r"(?<![\w.])-(?=[\d.])", "−", text)  # noqa: RUF001


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")  # noqa: RUF001


def _render(**values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = resources.files("jaxrl_suite.core").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(**values)
