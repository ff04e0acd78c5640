"""Run folders: checks before a run uses one, its header, and its lock."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxrl_suite.core.files import hold, is_temporary
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
