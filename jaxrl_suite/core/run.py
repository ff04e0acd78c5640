"""A run is a folder: what was asked for, what was measured, and what can be shown.

    config.json      the resolved experiment, preset, config, versions and devices
    metrics.jsonl    one JSON line a measurement
    checkpoint/      the carry of each loop
    tables/*.csv     figures/*.svg
    results.json     verdicts on claims, text, captions, compile times and throughput
    report.html      all of it on one page (see `report`)

Example:
    with Run.start("runs/mine", name="mine", config=config) as run:
        loop = run.chunks(100, (params, key), "training")
        for _ in loop:
            loop.carry, loss = train_chunk(loop.carry)
            run.log(loss=loss)
        run.table("final", rows)
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxrl_suite.core.claims import Claim, Measurement, Verdict, report_entry
from jaxrl_suite.core.config import config_hash, to_json, update_json
from jaxrl_suite.core.files import Row, check_name, to_csv, write_atomic
from jaxrl_suite.core.folder import CONFIG, RESULTS, Metrics, check_folder, environment, lock
from jaxrl_suite.errors import UserError

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from matplotlib.figure import Figure

    from jaxrl_suite.core.devices import Compiled
    from jaxrl_suite.core.loop import Loop


class Run:
    """An open run folder; make it with `Run.start`, as a context manager: it is finished if nothing was raised."""

    def __init__(
        self,
        folder: Path,
        header: dict[str, Any],
        *,
        metrics: Metrics,
        resumed: bool,
        handle: int,
        claims: Mapping[str, Claim],
        devices: int | None,
        command: str,
        console: Console,
    ):
        self.folder, self.header, self.resumed, self.console = folder, header, resumed, console
        self._lock: int | None = handle
        self._claims, self._devices = claims, devices
        self._metrics = metrics
        self._loops: dict[str, Loop] = {}
        self._started = time.monotonic()
        self._restored = not resumed  # until then the results of the earlier process stay as they are
        self._results: dict[str, Any] = {"status": "unfinished", "command": command}
        self._results["devices"] = environment()["devices"]
        self._results |= {kind: [] for kind in ("claims", "texts", "figures", "tables", "compiled", "throughput")}

    @classmethod
    def start(
        cls,
        folder: Path | str,
        *,
        name: str,
        config: Any,
        preset: str = "",
        resume: bool = False,
        renamed: Mapping[str, str] | None = None,
        claims: Mapping[str, Claim] | None = None,
        devices: int | None = None,
        command: str = "",
        console: Console | None = None,
    ) -> Run:
        """Opens a folder for a new run, or continues the one in it.

        Args:
          folder: must not exist or be empty, unless `resume`.
          name: of the experiment.
          config: a frozen dataclass.
          preset: where the config came from.
          resume: continue the run in `folder` if there is one; it must be of this experiment with this config.
          renamed: old path to new path of fields of the config, for a run that an earlier version began.
          claims: the published claims that `result` may refer to, by id.
          devices: how many devices `mesh` has; all by default.
          command: what was typed, for the report.
          console: where progress goes; stderr by default.

        Raises:
          UserError: if the folder cannot be used; nothing on disk has changed then.
        """
        folder = Path(folder)
        asked = {"experiment": name, "preset": preset, "config": to_json(config), "hash": config_hash(config)}
        update = functools.partial(update_json, type(config), renamed=renamed or {})
        header = check_folder(folder, asked, resume=resume, update=update)
        now = environment()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {folder}: {error.strerror}; choose another one (--out)") from None
        if header is None:
            write_atomic(folder / CONFIG, json.dumps({**asked, **now}, indent=2) + "\n")
        run = cls(
            folder,
            header or {**asked, **now},
            metrics=Metrics(folder / "metrics.jsonl", resume=header is not None),
            resumed=header is not None,
            handle=lock(folder),
            claims=claims or {},
            devices=devices,
            command=command,
            console=console or Console(stderr=True),
        )
        if header is not None and header["versions"] != now["versions"]:
            run.say("The versions of packages changed since this run began: it may not continue bit for bit.")
        return run

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for loop in self._loops.values() if kind is not None and issubclass(kind, KeyboardInterrupt) else ():
            loop.keep()
        self.close(finished=kind is None)

    def close(self, finished: bool = True) -> None:
        """Writes the results and releases the folder."""
        if self._lock is not None:
            self._results["status"] = "finished" if finished else "unfinished"
            if finished:
                self._metrics.flush()
            self._results["seconds"] = round(time.monotonic() - self._started, 1)
            self._write_results()
            os.close(self._lock)
            self._lock = None

    def say(self, text: str) -> None:
        """A line on stderr, above the progress bar."""
        from jaxrl_suite.core.loop import plain

        plain(self.console, text)

    def mesh(self, batch: int | None = None) -> Mesh:
        """The mesh over this run's devices; with `batch`, over as many of them as divide that number of rows."""
        from jaxrl_suite.core import devices

        mesh, whole = devices.mesh(self._devices, batch), devices.mesh(self._devices)
        if mesh.size < whole.size:
            self.say(f"uses {mesh.size} of {whole.size} devices: no larger number divides a batch of {batch}")
        return mesh

    def chunks(self, total: int, carry: Any, description: str = "", *, name: str = "main", every: float = 30.0) -> Loop:
        """The loop over jitted chunks; restores the carry when the run is resumed.

            loop = run.chunks(config.chunks, carry, "self-play")
            for step in loop:
                loop.carry, score = chunk(loop.carry)
                run.log(score=score)
            policy = loop.carry.policy

        Args:
          total: steps; step `i` of them is yielded, from 0 or from where the checkpoint was made.
          carry: the state before step 0, any pytree, keys included; also tells where restored arrays are placed.
          description: for the progress bar.
          name: tells several loops of one run apart.
          every: seconds between checkpoints; one is always written at the end.

        Raises:
          UserError: if the name is taken, another loop is running, or the checkpoint is damaged.
        """
        from jaxrl_suite.core.loop import Loop

        check_name(name)
        if name in self._loops:
            raise UserError(f"this run has a loop {name!r} already: give each its own name=")
        if total < 0:
            raise UserError(f"total must be at least 0, got {total}")
        self._outside_loops()
        loop = Loop(
            name, total, carry, description=description, every=every, folder=self.folder / "checkpoint" / name,
            resume=self.resumed, console=self.console, metrics=self._metrics,
        )  # fmt: skip
        if self.resumed:
            self._metrics.rewind(name, loop.step)
            self._restored = True
        self._loops[name] = loop
        return loop

    def log(self, **values: Any) -> None:
        """Appends one line to `metrics.jsonl`, with the running loop and its step."""
        loop = next((loop for loop in self._loops.values() if loop.active), None)
        if loop is None:
            self._metrics.log(values)
        else:
            self._metrics.log(values, loop.name, loop.step)

    def table(self, name: str, rows: Sequence[Row], columns: Sequence[str] | None = None, caption: str = "") -> Path:
        """Writes `tables/NAME.csv`; the same numbers give the same bytes.

        Args:
          name: of the file.
          rows: one mapping a row, of numbers, text, bools or None.
          columns: their order; that of the first row by default.
          caption: for the report.
        """
        check_name(name)
        path = self.folder / "tables" / f"{name}.csv"
        write_atomic(path, to_csv(rows, columns))
        self._add("tables", {"name": name, "caption": caption})
        return path

    def figure(self, name: str, figure: Figure | str, caption: str = "") -> Path:
        """Writes `figures/NAME.svg` from a matplotlib figure (see `plot`) or SVG text."""
        from jaxrl_suite.core.plot import to_svg

        check_name(name)
        path = self.folder / "figures" / f"{name}.svg"
        write_atomic(path, figure if isinstance(figure, str) else to_svg(figure))
        self._add("figures", {"name": name, "caption": caption})
        return path

    def text(self, body: str, title: str = "") -> None:
        """A paragraph for the report; the ones without a title stand at its head."""
        self._add("texts", {"title": title, "body": body})

    def result(
        self,
        claim: str,
        measured: float | str,
        *,
        verdict: Verdict,
        scale: str,
        low: float | None = None,
        high: float | None = None,
        unit: str = "",
        note: str = "",
    ) -> None:
        """Records the verdict of this run on a published claim.

        Args:
          claim: its id in the table of claims.
          measured: the value, or a few words where it is not one number.
          verdict: held, partly, not held or not comparable.
          scale: at what scale it was measured: seeds, games, sizes.
          low: lower end of its interval.
          high: upper end.
          unit: of the value.
          note: what a reader must know to judge it.
        """
        measurement = Measurement(measured, low, high, unit, scale, verdict, note)
        entry = report_entry(claim, measurement, self._claims)
        self._results["claims"] = [x for x in self._results["claims"] if x["id"] != claim]
        self._add("claims", entry)

    def compile(self, fn: Callable[..., Any], *args: Any, name: str | None = None) -> Callable[..., Any]:
        """`devices.compile`, with its cost in the report and on stderr."""
        from jaxrl_suite.core import devices

        compiled, record = devices.compile(fn, *args, name=name)
        self.compiled(record)
        return compiled

    def compiled(self, record: Compiled) -> None:
        """Reports what a compiled function cost."""
        self.say(str(record))
        self._add("compiled", dataclasses.asdict(record))

    def throughput(self, what: str, amount: float, seconds: float) -> None:
        """Reports a rate, for instance `run.throughput("games", 4096 * loop.total, loop.seconds)`."""
        if seconds > 0 and amount > 0:
            self.say(f"{amount / seconds:,.0f} {what} per second")
            self._add("throughput", {"what": what, "amount": float(amount), "seconds": float(seconds)})

    def _outside_loops(self) -> None:
        active = [loop.name for loop in self._loops.values() if loop.active]
        if active:
            raise UserError(f"the loop {active[0]!r} is still running: loops of a run follow each other")

    def _add(self, kind: str, entry: dict[str, Any]) -> None:
        if kind in ("tables", "figures"):
            self._results[kind] = [x for x in self._results[kind] if x["name"] != entry["name"]]
        self._results[kind].append(entry)
        self._write_results()

    def _write_results(self) -> None:
        if self._restored or self._results["status"] == "finished":
            write_atomic(self.folder / RESULTS, json.dumps(self._results, indent=2) + "\n")
