"""The subcommands of `jaxrl-suite` but `run`.

What they need beyond the standard library is imported when one needs it: listing and help start neither JAX nor
matplotlib.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxrl_suite.cli import catalog
from jaxrl_suite.errors import UserError

if TYPE_CHECKING:
    import argparse

    from rich.console import Console


def _list(*_: Any) -> int:
    experiments = catalog.discover()
    out = _stdout()
    rows = [{"experiment": e.name, "system": e.system or "-", "what it does": e.summary} for e in experiments.values()]
    _print_table(out, rows or [{"experiment": "none yet", "system": "", "what it does": ""}])
    rows = [
        {
            "system": s.name,
            "paper": s.paper,
            "reference": s.reference,
            "experiments": ", ".join(s.experiments) or "not built yet",
        }
        for s in catalog.systems(experiments)
    ]
    _print_table(out, rows)
    return 0


def _envs(*_: Any) -> int:
    from jaxrl_suite.envs import registry

    _print_table(_stdout(), [{"environment": name, "what it is": about} for name, about in registry.describe_envs()])
    return 0


def _reproduce(arguments: argparse.Namespace, _: Any, argv: list[str]) -> int:
    from jaxrl_suite.cli import runner

    names = [name.strip() for name in (arguments.only or "").split(",") if name.strip()]
    if arguments.only is not None and not names:
        raise UserError("--only needs names of experiments, separated by commas")
    page, failures = runner.reproduce(
        names,
        arguments.preset,
        Path(arguments.out),
        resume=arguments.resume,
        devices=arguments.devices,
        command=_command(argv),
        console=_stderr(),
    )
    print(page)
    return 1 if failures else 0


def _bench(arguments: argparse.Namespace, *_: Any) -> int:
    from jaxrl_suite.cli import benches

    return benches.run(arguments.name, arguments.out, lambda rows, title: _print_table(_stdout(), rows, title))


def _report(arguments: argparse.Namespace, *_: Any) -> int:
    from jaxrl_suite.cli import runner
    from jaxrl_suite.core import report
    from jaxrl_suite.core.folder import CONFIG, read_header

    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give the folder of a run")
    if not (folder / CONFIG).exists() and any(folder.glob(f"*/{CONFIG}")):
        print(runner.overview(folder))
        return 0
    known = catalog.discover().get(read_header(folder)["experiment"])
    print(report.build_report(folder, summary=known.summary if known else ""))
    return 0


def _fetch(arguments: argparse.Namespace, *_: Any) -> int:
    from jaxrl_suite.llm.transformer import fetch

    print(fetch.fetch(arguments.name, lambda line: print(line, file=sys.stderr)))
    return 0


COMMANDS = {  # but `run`, which `runner` has
    "list": _list,
    "envs": _envs,
    "reproduce": _reproduce,
    "bench": _bench,
    "report": _report,
    "fetch": _fetch,
}


def _print_table(out: Console, rows: Sequence[dict[str, Any]], title: str | None = None) -> None:
    from rich import box
    from rich.table import Table

    from jaxrl_suite.core.files import format_cell

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in rows[0]:
        numeric = all(not isinstance(row[column], str) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        table.add_row(*(format_cell(value) for value in row.values()))
    out.print(table, markup=False)


def _stdout() -> Console:
    from rich.console import Console

    return Console(markup=False) if sys.stdout.isatty() else Console(markup=False, width=150)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _command(argv: Sequence[str]) -> list[str]:
    return ["jaxrl-suite", *argv]
