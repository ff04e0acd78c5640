"""Running experiments: from names and overrides to run folders and pages."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shlex
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from rich.console import Console

from jaxrl_suite.cli import catalog
from jaxrl_suite.cli.catalog import leaves
from jaxrl_suite.core import report
from jaxrl_suite.core.claims import load_claims
from jaxrl_suite.core.config import config_hash, override, to_json, update_json
from jaxrl_suite.core.config_paths import flatten, option, renamed_path, suggest_path
from jaxrl_suite.core.folder import CONFIG, RESULTS, check_folder
from jaxrl_suite.errors import UserError, suggest


class PreparedRun(NamedTuple):
    """An experiment that is ready to start."""

    experiment: catalog.Experiment
    module: ModuleType
    config: Any
    preset: str


def run_command(arguments: argparse.Namespace, overrides: dict[str, list[str]], argv: list[str]) -> int:
    """`jaxrl-suite run`; prints the page and returns the exit code."""
    job = prepare(arguments.name, arguments.preset, overrides)
    if arguments.describe:
        print(describe_networks(job))
        return 0
    folder = Path(arguments.out) if arguments.out else default_folder(job)
    page = run_job(
        job,
        folder,
        resume=arguments.resume,
        devices=arguments.devices,
        command=["jaxrl-suite", *argv],
        console=Console(stderr=True),
    )
    print(page)
    return 0


def prepare(name: str, preset: str, overrides: Mapping[str, Sequence[str]] | None = None) -> PreparedRun:
    """Resolves an experiment and its config; touches nothing.

    Raises:
      UserError: for an unknown experiment, preset or field, or a value that the config refuses.
    """
    experiment = catalog.find(name)
    if experiment.presets and preset not in experiment.presets:
        raise UserError(f"unknown preset {preset!r} of {experiment.name}{suggest(preset, experiment.presets)}")
    _check_options(experiment, overrides or ())
    module = catalog.load(experiment)
    if preset not in module.PRESETS:
        raise UserError(f"unknown preset {preset!r} of {experiment.name}{suggest(preset, module.PRESETS)}")
    try:
        config = override(module.PRESETS[preset], overrides or {})
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from None
    return PreparedRun(experiment, module, config, preset)


def default_folder(job: PreparedRun) -> Path:
    """The folder of a run unless told otherwise: its name tells experiment, preset and config apart."""
    return Path("runs") / f"{job.experiment.name}-{job.preset}-{config_hash(job.config)}"


def run_job(
    job: PreparedRun, folder: Path, *, resume: bool, devices: int | None, command: Sequence[str], console: Console
) -> Path:
    """Runs an experiment in a folder.

    Returns:
      The path of its report.

    Raises:
      UserError: if the folder cannot be used.
      Exception: whatever the experiment raises.
    """
    begun = _check_folder(job, folder, resume=resume)
    _set_up(devices)
    if not begun and hasattr(job.module, "check"):
        job.module.check(job.config)
    from jaxrl_suite.core.devices import describe
    from jaxrl_suite.core.run import Run

    claims = load_claims(catalog.experiments_folder() / "claims.csv")
    with Run.start(
        folder,
        name=job.experiment.name,
        config=job.config,
        preset=job.preset,
        resume=resume,
        renamed=job.experiment.renamed,
        claims=claims,
        devices=devices,
        command=shlex.join(command),
        console=console,
    ) as run:
        run.say(f"{job.experiment.name}: {job.experiment.summary}")
        run.say(f"devices: {describe()}")
        run.say(f"config:  {_one_line(job.config)}")
        run.say(f"folder:  {folder}")
        job.module.main(job.config, run)
    return report.build_report(folder, title=job.experiment.name, summary=job.experiment.summary)


def describe_networks(job: PreparedRun) -> str:
    """Tables of the layers of an experiment's networks, which its function `networks(config)` lists.

    Raises:
      UserError: if it has none.
    """
    if not hasattr(job.module, "networks"):
        raise UserError(f"{job.experiment.name} lists no networks: it would need networks(config), name to Described")
    _set_up(None)
    from jaxrl_suite.networks.describe import describe

    return "\n\n".join(describe(name, network) for name, network in job.module.networks(job.config).items())


def reproduce(
    names: Sequence[str],
    preset: str,
    out: Path,
    *,
    resume: bool,
    devices: int | None,
    command: Sequence[str],
    console: Console,
) -> tuple[Path, dict[str, str]]:
    """Runs experiments one after the other and writes one page; one that fails does not stop the rest.

    Returns:
      The path of the page, and the error of each experiment that failed, in a line.
    """
    experiments = catalog.discover()
    for name in names:
        if name not in experiments:
            raise UserError(f"unknown experiment {name!r}{suggest(name, experiments)}")
    chosen = [name for name in experiments if (name in names if names else name != "solve")]  # that needs a task
    if not chosen:
        raise UserError("there is no experiment yet: write one as experiments/NAME.py")
    _check_out(out, experiments, resume=resume)
    jobs = [prepare(name, preset) for name in chosen]
    for job in jobs:
        _check_folder(job, out / job.experiment.name, resume=resume)
    _set_up(devices)
    failures: dict[str, str] = {}
    for job in jobs:
        name = job.experiment.name
        if resume and _finished(out / name):
            console.print(f"{name}: finished already", markup=False, highlight=False)
            continue
        try:
            run_job(job, out / name, resume=resume, devices=devices, command=command, console=console)
        except UserError as error:
            failures[name] = " ".join(str(error).split())[:160]
            console.print(f"{name}: {failures[name]}", markup=False, highlight=False)
        except Exception as error:
            traceback.print_exc()
            failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
    return overview(out, failures), failures


def overview(out: Path, failures: Mapping[str, str] | None = None) -> Path:
    """Writes the page of a `reproduce` folder from the runs in it."""
    experiments = catalog.discover()
    folders = sorted(path.parent for path in out.glob(f"*/{CONFIG}"))
    for folder in folders:
        single = experiments.get(folder.name)
        report.build_report(folder, summary=single.summary if single else "")
    return report.build_overview(
        out / report.REPORT,
        catalog.systems(experiments),
        folders,
        title="What reproduces",
        summary="The published claims of eleven systems beside what was measured here.",
        summaries={e.name: e.summary for e in experiments.values()},
        failures=failures,
    )


def _check_options(experiment: catalog.Experiment, names: Iterable[str]) -> None:
    """Refuses options that no field has, and old names of fields."""
    paths = [path for path, _ in leaves(experiment.fields)]
    for name in names:
        path = name.replace("-", "_")
        if new := renamed_path(path, experiment.renamed):
            raise UserError(f"--{name} is now {option(new)}")
        if paths and not any(f"{known}.".startswith(f"{path}.") or path.startswith(f"{known}.") for known in paths):
            raise UserError(f"unknown option --{name} of {experiment.name}{suggest_path(path, paths)}")


def _check_folder(job: PreparedRun, folder: Path, *, resume: bool) -> bool:
    """Whether there is a run to continue in a folder, which may be used."""
    asked = {"experiment": job.experiment.name, "config": to_json(job.config)}
    update = functools.partial(update_json, type(job.config), renamed=job.experiment.renamed)
    return check_folder(folder, asked, resume=resume, update=update) is not None


def _check_out(out: Path, experiments: Mapping[str, Any], *, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: choose a folder (--out)")
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    if there and not resume:
        raise UserError(f"{out} is not empty: continue it with --resume, or choose another folder (--out)")
    odd = sorted(
        name for name in there if name not in experiments and name != report.REPORT and not name.startswith(".")
    )
    if odd:
        raise UserError(f"{out} holds {odd[0]!r}, which is no run of an experiment: choose another folder (--out)")


def _finished(folder: Path) -> bool:
    try:
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))["status"] == "finished"
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _set_up(devices: int | None) -> None:
    from jaxrl_suite.core.devices import mesh, setup

    setup(num_devices=_cpu_devices(devices))
    if devices is not None:
        mesh(devices)  # refuses more than there are


def _cpu_devices(devices: int | None) -> int | None:
    """The number of CPU devices to make, at most one a core; none where the environment has set it."""
    from jaxrl_suite.core.devices import cpu_count

    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return None
    return None if devices is None else min(devices, cpu_count())


def _one_line(config: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in flatten(to_json(config)).items())
