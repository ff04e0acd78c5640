"""A distilled set on disk: one npz of plain arrays, with what is needed to train a student on it.

Shapes: `N` pairs, `A` action dimensions or actions; an observation has any shape.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.errors import UserError

_LAYOUT = "jaxrl_suite.distilled/1"
_ARRAYS = ("observations", "actions", "weights", "obs_mean", "obs_std", "inner_rate")
_LARGEST = 1 << 30  # bytes that an array of a distilled set may have


class DistilledSet(NamedTuple):
    """A distilled set as `write_distilled` keeps it."""

    observations: np.ndarray  # float32[N, ...], as students read them: (environment's - obs_mean) / obs_std
    actions: np.ndarray  # float32[N, A]: actions in [-1, 1], or probabilities of the discrete ones
    weights: np.ndarray  # float32[N], at least 0
    obs_mean: np.ndarray  # float32[...], of the data that was distilled
    obs_std: np.ndarray  # float32[...], above 0
    inner_rate: float  # learning rate of a student that was learned with the set
    config: Mapping[str, Any]  # of the run, as JSON values; free

    @property
    def raw_observations(self) -> np.ndarray:
        """float32[N, ...]: in the environment's own units, to look at."""
        return self.observations * self.obs_std + self.obs_mean


def write_distilled(path: str | Path, distilled: DistilledSet) -> None:
    """Writes an npz that is whole or absent.

    Raises:
      UserError: if the set is not one, or the file cannot be written.
    """
    path = Path(path)
    check_distilled(distilled, str(path))
    arrays: dict[str, np.ndarray] = {name: np.asarray(getattr(distilled, name), np.float32) for name in _ARRAYS[:-1]}
    arrays["inner_rate"] = np.asarray(distilled.inner_rate, np.float64)
    try:
        text = json.dumps({"layout": _LAYOUT, "config": dict(distilled.config)}, sort_keys=True)
    except TypeError as error:
        raise UserError(f"config must hold JSON values ({error}): use core.config.to_json") from None
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, json=np.frombuffer(text.encode(), np.uint8))  # pyright: ignore[reportArgumentType]
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def read_distilled(path: str | Path) -> DistilledSet:
    """The inverse of `write_distilled`. Pickled objects are never loaded.

    Raises:
      UserError: if the file is absent, damaged, or no distilled set.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path")
    damaged = UserError(f"{path} is no distilled set: write it with write_distilled")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.file_size > _LARGEST for member in archive.infolist()):
                raise damaged
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in (*_ARRAYS, "json") if name not in file]
            if missing:
                raise UserError(f"{path} has no {missing[0]}: a distilled set holds {', '.join(_ARRAYS)} and json")
            arrays = {name: file[name] for name in _ARRAYS}
            described = json.loads(file["json"].tobytes().decode())
    except UserError:
        raise
    except (OSError, EOFError, KeyError, ValueError, TypeError, NotImplementedError, RuntimeError, MemoryError):
        raise damaged from None
    except zipfile.BadZipFile:
        raise damaged from None
    if not isinstance(described, dict) or described.get("layout") != _LAYOUT:
        raise UserError(f"{path} has another layout than {_LAYOUT}: write it again with this version")
    if not isinstance(described.get("config"), dict):
        raise damaged
    rate = arrays.pop("inner_rate")
    if rate.ndim or rate.dtype.kind != "f":
        raise UserError(f"{path}: inner_rate must be one number, got {rate.dtype}{list(rate.shape)}")
    distilled = DistilledSet(**arrays, inner_rate=float(rate), config=described["config"])
    check_distilled(distilled, str(path))
    return distilled


def check_distilled(distilled: DistilledSet, source: str = "distilled set") -> None:
    """Checks shapes and numbers.

    Raises:
      UserError: with the first thing that is wrong.
    """
    arrays = {name: np.asarray(getattr(distilled, name)) for name in _ARRAYS}
    for name, value in arrays.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise UserError(f"{source}: {name} must hold finite numbers, got {value.dtype}: distil again or convert it")
    x, y, w = (arrays[name] for name in ("observations", "actions", "weights"))
    if x.ndim < 2 or y.ndim != 2 or w.ndim != 1 or not len(x) == len(y) == len(w) > 0:
        raise UserError(
            f"{source}: observations [N, ...], actions [N, A] and weights [N] must agree, "
            f"got {list(x.shape)}, {list(y.shape)} and {list(w.shape)}"
        )
    if arrays["obs_mean"].shape != x.shape[1:] or arrays["obs_std"].shape != x.shape[1:]:
        raise UserError(f"{source}: obs_mean and obs_std must have the shape of an observation, {list(x.shape[1:])}")
    if arrays["obs_std"].min() <= 0 or w.min() < 0 or w.max() <= 0 or arrays["inner_rate"] <= 0:
        raise UserError(f"{source}: obs_std and inner_rate must be above 0, weights at least 0 and not all 0")
