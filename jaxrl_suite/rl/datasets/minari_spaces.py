"""Minari's spaces: what its files hold of an observation or an action, as the arrays of offline data.

| space | observations | actions |
|---|---|---|
| Box | as they are; numbers get an axis; images stored as JPEG are decoded | float vectors, flattened |
| Discrete(n, start) | one-hot [N, n], or numbers [N, 1] | whole numbers from 0 on: `start` is subtracted |
| MultiDiscrete(nvec), MultiBinary | one-hots side by side, or numbers | one number, the last component fastest |
| Dict, Tuple | the entries that are asked for, side by side | refused |

Shapes: `T` steps, `n` values of a discrete space.

Reference: Farama's Minari 0.5.4, serialisation of spaces and HDF5 storage.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxrl_suite.errors import UserError, suggest

Coding = Literal["one_hot", "number"]
_MOST_ONE_HOT = 1 << 14
_MOST_ACTIONS = 2**31 - 1


def read_observations(
    group: Mapping[str, Any], space: Mapping[str, Any], fields: Sequence[str], coding: Coding, source: str
) -> np.ndarray:
    """number[T + 1, ...] of one episode.

    Args:
      group: the episode's arrays by their names.
      space: of observations, as Minari describes it; empty if it is not known.
      fields: of a Dict or Tuple, by its name or path; none for any other space.
      coding: of discrete observations.
      source: for messages.

    Raises:
      UserError: if they cannot be read; the message names an option of `read_minari` that helps, where there is one.
    """
    plain = group.get("observations")
    if isinstance(plain, np.ndarray):
        if fields:
            raise UserError(f"{source}: observations have no fields: leave fields out")
        return _vectors(plain, space, coding, source, "observations")
    entries = {key.removeprefix("observations/"): value for key, value in group.items() if key[:13] == "observations/"}
    if not entries:
        raise UserError(f"{source} has no observations: write the data set again")
    if not fields:
        raise UserError(f"{source}: an observation has the fields {', '.join(sorted(entries))}: say which in fields")
    for name in fields:
        if name not in entries:
            raise UserError(f"{source}: observations have no field {name!r}{suggest(name, entries)}")
    columns = []
    for name in fields:
        if not isinstance(entries[name], np.ndarray) or not entries[name].ndim:
            raise UserError(f"{source}: the field {name!r} has not one row a step: read others")
        columns.append(_vectors(entries[name], _entry(space, name), coding, source, f"field {name!r}"))
    if any(len(column) != len(columns[0]) for column in columns):
        raise UserError(f"{source}: the fields of the observations differ in length: read fewer of them")
    if len(columns) == 1:
        return columns[0]
    return np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)


def read_actions(actions: np.ndarray, space: Mapping[str, Any], source: str) -> np.ndarray:
    """float[T, A], or int[T] from 0 on.

    Args:
      actions: [T, ...] as the file holds them.
      space: as Minari describes it; empty if it is not known.
      source: for messages.

    Raises:
      UserError: if a discrete action lies outside its space, or there are too many of them together.
    """
    if actions.dtype.kind == "f":
        return actions if actions.ndim == 2 else actions.reshape(len(actions), -1)
    if actions.dtype.kind not in "iub":
        return actions  # refused by `make_data`
    sizes = sizes_of(space, source)
    if sizes is None:
        if space.get("type") == "Box":
            return actions.reshape(len(actions), -1).astype(np.float64)
        return actions
    rows = _from_zero(actions.reshape(len(actions), -1), *sizes, source, "actions")
    if math.prod(sizes[0]) > _MOST_ACTIONS:
        raise UserError(
            f"{source}: {math.prod(sizes[0]):,} joint actions are more than a learner can tell apart: keep fewer "
            "components when the data are collected"
        )
    place = np.cumprod([1, *sizes[0][:0:-1]], dtype=np.int64)[::-1]
    return rows @ place


def number_of_actions(space: Mapping[str, Any], source: str) -> int | None:
    """Number of actions of a discrete space; None for any other.

    Raises:
      UserError: if its size is no whole number.
    """
    sizes = sizes_of(space, source)
    return None if sizes is None else math.prod(sizes[0])


def sizes_of(space: Mapping[str, Any], source: str) -> tuple[list[int], list[int]] | None:
    """Number of values of each component of a discrete space, and the first of them; None for any other space.

    Raises:
      UserError: if they are no whole numbers.
    """
    kind = space.get("type")
    sizes: list[Any]
    starts: list[Any]
    if kind == "Discrete":
        sizes, starts = [space.get("n")], [space.get("start", 0)]
    elif kind == "MultiDiscrete":
        sizes = _flat(space.get("nvec"))
        starts = _flat(space["start"]) if "start" in space else [0] * len(sizes)
    elif kind == "MultiBinary":
        count = space.get("n")
        whole = all(type(part) is int and 0 < part < 10**6 for part in _flat(count))
        sizes = [2] * math.prod(_flat(count)) if whole else [None]
        starts = [0] * len(sizes)
    else:
        return None
    whole = all(type(part) is int for part in (*sizes, *starts)) and len(sizes) == len(starts)
    if not whole or not sizes or min(sizes) < 1:
        raise UserError(f"{source}: the sizes of a {kind} space must be whole numbers of at least 1: correct the JSON")
    return sizes, starts


def box(values: np.ndarray, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Minari's JSON of a Box space; without bounds, all that the type can hold."""
    if low is None or high is None:
        low, high = (-np.inf, np.inf) if values.dtype.kind == "f" else (0, 1)
        if values.dtype.kind in "iu":
            low, high = int(np.iinfo(values.dtype).min), int(np.iinfo(values.dtype).max)
    shape = list(values.shape[1:])
    filled = [np.full(shape, bound).tolist() for bound in (low, high)]
    return {"type": "Box", "dtype": str(values.dtype), "shape": shape, "low": filled[0], "high": filled[1]}


def _vectors(values: np.ndarray, space: Mapping[str, Any], coding: Coding, source: str, what: str) -> np.ndarray:
    """number[T + 1, ...] of one space that has no parts."""
    if space.get("type") == "Text":
        raise UserError(f"{source}: {what} are text, which no policy reads: name other fields")
    if values.ndim and (values.dtype == object or _is_jpeg(values, space)):
        return _decode(values, source, what)
    if (sizes := sizes_of(space, source)) is not None and values.ndim and values.dtype.kind in "iub":
        rows = _from_zero(values.reshape(len(values), -1), *sizes, source, what)
        if coding == "number":
            return rows
        if sum(sizes[0]) > _MOST_ONE_HOT:
            many = f"{source}: {what} have {sum(sizes[0]):,} values"
            raise UserError(f'{many}, too many for one-hot vectors: read with coding="number"')
        if space.get("type") == "MultiBinary":
            return rows.astype(np.float32)
        hot = [np.eye(size, dtype=np.float32)[rows[:, place]] for place, size in enumerate(sizes[0])]
        return np.concatenate(hot, axis=1)
    return values[:, None] if values.ndim == 1 else values


def _from_zero(rows: np.ndarray, sizes: list[int], starts: list[int], source: str, what: str) -> np.ndarray:
    """int64[T, components], each from 0 on."""
    if rows.shape[1] != len(sizes):
        raise UserError(f"{source}: {what} have {rows.shape[1]} components, their space {len(sizes)}: get it again")
    first, last = np.array(starts), np.array(starts) + np.array(sizes) - 1
    wrong = np.argwhere((rows < first) | (rows > last))
    if len(wrong):
        step, place = wrong[0]
        raise UserError(
            f"{source}: {what} of step {step} are {rows[step, place]}, outside {first[place]} to {last[place]}, as "
            "metadata.json has it: get the data set again"
        )
    return rows.astype(np.int64) - first


def _entry(space: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The space of a Dict's or Tuple's entry; empty if it is not described."""
    found: Any = space
    for name in path.split("/"):
        parts = found.get("subspaces") if isinstance(found, Mapping) else None
        if isinstance(parts, Mapping):
            found = parts.get(name)
        elif isinstance(parts, list) and (place := name.removeprefix("_index_")).isdigit() and int(place) < len(parts):
            found = parts[int(place)]
        else:
            return {}
    return found if isinstance(found, Mapping) else {}


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [part for entry in value for part in _flat(entry)]
    return [value]


def _is_jpeg(value: np.ndarray, space: Mapping[str, Any]) -> bool:
    """Frames of one size in bytes come as a matrix, and each starts as a JPEG does; a described vector does not."""
    if isinstance(space.get("shape"), list) and len(space["shape"]) < 2:
        return False
    starts = value.ndim == 2 and value.dtype == np.uint8 and value.shape[1] > 2
    return starts and bool((value[:, :2] == (255, 216)).all())


def _decode(frames: np.ndarray, source: str, what: str) -> np.ndarray:
    from PIL import Image

    try:
        return np.stack([np.asarray(Image.open(io.BytesIO(np.asarray(frame, np.uint8).tobytes()))) for frame in frames])
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        raise UserError(
            f"{source}: {what} are no JPEG images that can be read ({error}): get the data set again"
        ) from None
