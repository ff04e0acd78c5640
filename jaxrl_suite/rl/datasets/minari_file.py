"""Minari data sets on disk, read and written without Minari: a folder with HDF5 episodes and a JSON of metadata.

    <root>/<namespace>/<name>-v<version>/data/main_data.hdf5      groups episode_0, episode_1, ...
    <root>/<namespace>/<name>-v<version>/data/metadata.json

An episode of T steps has T + 1 observations and infos, the last ones after its last action. In `OfflineData` they are
`next_observations`, and `episodes/final_infos/...` beside `infos/...`.

Shapes: `T` steps, `E` episodes.

Reference: Farama's Minari 0.5.4, HDF5 storage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets import hdf5
from jaxrl_suite.rl.datasets.episodes import episodes
from jaxrl_suite.rl.datasets.minari_spaces import Coding, box, number_of_actions, read_actions, read_observations
from jaxrl_suite.rl.datasets.offline import Metadata, OfflineData, make_data

_VERSION = "0.5.4"  # of Minari, whose layout is written
# Minari refuses to list a whole root if the namespace of one data set there has a single character.
_NAME = re.compile(r"(?!./[^/]*$)(?:[-\w]+/)*[-\w]+-v\d+")
_STEPS = {"actions": "actions", "rewards": "rewards", "terminals": "terminations", "timeouts": "truncations"}
_SCORES = ("ref_min_score", "ref_max_score")


def write_minari(root: str | Path, name: str, data: OfflineData) -> Path:
    """Writes `data` as Minari's data set `name`, which `minari.load_dataset` finds if MINARI_DATASETS_PATH is `root`.

    Args:
      root: the folder of all data sets.
      name: `namespace/name-v0`; the namespace may have several parts or be absent.
      data: with `next_observations`; numbers and text of its `extra` go to the JSON, arrays of it must be infos/ or
        episodes/.

    Returns:
      The data set's folder.

    Raises:
      UserError: if the name is not Minari's (a namespace has 2 characters at least), something is there already, or
        `data` does not fit the layout.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name of a Minari data set: write namespace/name-v0, a namespace of 2 characters at least"
        )
    folder = Path(root) / name
    if (folder / "data").exists():
        raise UserError(f"{folder} exists already: choose another version, or delete it")
    tree, notes = _episodes_tree(data), {}
    for key, value in data.extra.items():
        if not key.startswith(("infos/", "episodes/")):
            if np.ndim(value) or not isinstance(value, (str, int, float, np.number, np.bool_)):
                raise UserError(f"Minari has no place for {key}: leave it out of extra")
            notes[key] = value.item() if isinstance(value, np.generic) else value
    meta, bounds = data.metadata, episodes(data)
    path = folder / "data" / "main_data.hdf5"
    hdf5.write_tree(path, tree)
    if data.discrete:
        action_space = {"type": "Discrete", "dtype": "int64", "start": 0, "n": data.num_actions}
    else:
        bound = 1.0 if np.abs(data.actions).max() <= 1 else np.inf
        action_space = box(data.actions, -bound, bound)
    described: dict[str, Any] = {
        "dataset_id": name,
        "minari_version": _VERSION,
        "data_format": "hdf5",
        "jpeg_encoding": False,  # images stay as they are
        "total_episodes": len(bounds.starts),
        "total_steps": len(data),
        "dataset_size": round(path.stat().st_size / 1e6, 1),
        "observation_space": json.dumps(box(data.observations)),
        "action_space": json.dumps(action_space),
        "env": meta.env,
        "backend": meta.backend,
        "algorithm_name": meta.teacher,
        "extra": notes,
    }
    if meta.num_actions is not None:
        described["num_actions"] = meta.num_actions
    described |= {key: value for key in _SCORES if (value := getattr(meta, key)) is not None}
    for parent in list(Path(name).parents)[:-1]:
        if not (Path(root) / parent / "namespace_metadata.json").exists():
            write_atomic(Path(root) / parent / "namespace_metadata.json", "{}")
    write_atomic(folder / "data" / "metadata.json", json.dumps(described))  # last: a folder without it is no data set
    return folder


def read_minari(
    folder: str | Path, *, fields: Sequence[str] = (), infos: bool = True, coding: Coding = "one_hot"
) -> OfflineData:
    """A Minari data set; `minari_spaces` says how each of its spaces is read.

    An episode that the file neither terminates nor truncates is marked as cut off, unless it is the last one.

    Args:
      folder: of the data set, `<root>/<namespace>/<name>-v<version>`.
      fields: of an observation that is a dictionary, which of its entries to read, side by side as one vector.
      infos: False leaves infos out, which the episodes of some data sets do not all have in one shape.
      coding: of discrete observations, `one_hot` or `number`.

    Raises:
      UserError: if a file is absent or damaged, or its arrays cannot be used.
    """
    folder = Path(folder)
    if (folder / "data").is_dir():
        folder = folder / "data"
    if coding not in get_args(Coding):
        raise UserError(f"coding must be one of {', '.join(get_args(Coding))}, got {coding!r}")
    described = _read_json(folder / "metadata.json")
    if described.get("data_format", "hdf5") != "hdf5":
        raise UserError(f"{folder} holds {described['data_format']}: convert it to hdf5 with Minari first")
    tree = hdf5.read_tree(folder / "main_data.hdf5")
    groups = _by_episode(tree, str(folder))
    spaces = [_space(described, name, str(folder)) for name in ("observation_space", "action_space")]
    parts: dict[str, list[np.ndarray]] = {}
    for number, group in enumerate(groups):
        source = f"{folder}: episode {number}"
        steps = _one_episode(group, spaces, fields, coding, source)
        if number < len(groups) - 1 and not (steps["terminals"][-1] or steps["timeouts"][-1]):
            steps["timeouts"] = np.append(steps["timeouts"][:-1], True)
        if infos:
            steps |= _infos(group, len(steps["rewards"]), source)
        for name, value in steps.items():
            parts.setdefault(name, []).append(value)
    joined = {name: _join(name, values, len(groups), str(folder)) for name, values in parts.items()}
    extra = {name: joined.pop(name) for name in list(joined) if "/" in name}
    seeds = [int(seed) for group in groups if isinstance(seed := group.get("@seed"), (int, np.integer))]
    if len(seeds) == len(groups):
        extra["episodes/seed"] = np.array(seeds, np.uint64 if max(seeds) > np.iinfo(np.int64).max else np.int64)
    if spaces[1].get("start") or spaces[1].get("type") in ("MultiDiscrete", "MultiBinary"):
        extra["metadata/action_space"] = described["action_space"]  # which the numbers are to be turned back into
    if isinstance(notes := described.get("extra"), dict):
        extra |= notes
    metadata = _metadata(described, spaces[1], joined["actions"], str(folder))
    return make_data(joined, metadata, extra=extra, unfinished="keep", source=str(folder))


def _episodes_tree(data: OfflineData) -> dict[str, Any]:
    bounds = episodes(data)
    following = data.next_observations
    if following is None:
        raise UserError("Minari stores the observation after each episode's last action: collect next_observations")
    inner = np.ones(len(data), bool)
    inner[bounds.ends - 1] = False
    rows = np.flatnonzero(inner)
    if not np.array_equal(following[rows], data.observations[rows + 1]):
        raise UserError("next_observations differ from the next row within an episode: write a D4RL file instead")
    tree: dict[str, Any] = {}
    final, final_prefix = {}, "episodes/final_infos/"
    for key, value in data.extra.items():
        if key.startswith(final_prefix):
            final[f"infos/{key.removeprefix(final_prefix)}"] = value
    for e, (start, end) in enumerate(zip(bounds.starts.tolist(), bounds.ends.tolist(), strict=True)):
        group = f"episode_{e}"
        tree |= {f"{group}@id": e, f"{group}@total_steps": end - start}
        if "episodes/seed" in data.extra:
            tree[f"{group}@seed"] = int(data.extra["episodes/seed"][e])
        tree[f"{group}/observations"] = np.concatenate([data.observations[start:end], following[end - 1 : end]])
        for ours, theirs in _STEPS.items():
            tree[f"{group}/{theirs}"] = getattr(data, ours)[start:end]
        for key, value in data.extra.items():
            if key.startswith("infos/"):
                last = [final[key][e : e + 1]] if key in final else []
                tree[f"{group}/{key}"] = np.concatenate([value[start:end], *last])
    return tree


def _by_episode(tree: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    groups: dict[int, dict[str, Any]] = {}
    for path, value in tree.items():
        if match := re.match(r"episode_(\d+)(@|/)", path):
            key = path[match.start(2) :].removeprefix("/")
            groups.setdefault(int(match[1]), {})[key] = value
    if not groups or sorted(groups) != list(range(len(groups))):
        raise UserError(f"{source}: episodes must be numbered from 0 on, found {len(groups)}: write the data set again")
    return [groups[number] for number in range(len(groups))]


def _one_episode(
    group: Mapping[str, Any], spaces: Sequence[Mapping[str, Any]], fields: Sequence[str], coding: Coding, source: str
) -> dict[str, np.ndarray]:
    steps: dict[str, np.ndarray] = {}
    for ours, theirs in _STEPS.items():
        if not isinstance(group.get(theirs), np.ndarray) or not group[theirs].ndim:
            raise UserError(f"{source} has no array {theirs}, one row a step: actions of a Dict or Tuple are not read")
        steps[ours] = group[theirs]
    steps["actions"] = read_actions(steps["actions"], spaces[1], source)
    seen = read_observations(group, spaces[0], fields, coding, source)
    count = len(steps["rewards"])
    for name, value in steps.items():
        if len(value) != count or not count:
            raise UserError(f"{source} has {count} rewards and {len(value)} {name}: write the data set again")
    if len(seen) != count + 1:
        raise UserError(f"{source} has {count} steps and {len(seen)} observations: it must have one more than steps")
    return steps | {"observations": seen[:-1], "next_observations": seen[1:]}


def _infos(group: Mapping[str, Any], count: int, source: str) -> dict[str, np.ndarray]:
    infos = {}
    for name, value in group.items():
        if name.startswith("infos/"):
            if not isinstance(value, np.ndarray) or value.ndim < 1 or len(value) not in (count, count + 1):
                raise UserError(f"{source}: {name} has not one row a step: read with infos=False")
            infos[name] = value[:count]
            if len(value) > count:
                infos["episodes/final_" + name] = value[count:]
    return infos


def _join(name: str, values: list[np.ndarray], count: int, source: str) -> np.ndarray:
    if len(values) != count or len({(value.shape[1:], value.dtype.str) for value in values}) > 1:
        remedy = "read with infos=False" if "/" in name else "write the data set again"
        raise UserError(f"{source}: {name} differs in shape or type between episodes: {remedy}")
    return np.concatenate(values)


def _space(described: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    space = described.get(name)
    return _loads(space, f"{source}: {name}") if isinstance(space, str) else {}


def _metadata(described: Mapping[str, Any], space: Mapping[str, Any], actions: np.ndarray, source: str) -> Metadata:
    num_actions = described.get("num_actions")
    if actions.ndim == 1 and (counted := number_of_actions(space, source)) is not None:
        num_actions = counted
    spec = described.get("env_spec")
    env = described.get("env") or (_loads(spec, source).get("id") if isinstance(spec, str) else "")
    texts = [
        text if isinstance(text, str) else "" for text in (env, *map(described.get, ("backend", "algorithm_name")))
    ]
    scores = [described.get(key) for key in _SCORES]
    if not all(score is None or type(score) in (int, float) for score in scores):
        raise UserError(f"{source}: ref_min_score and ref_max_score must be numbers: correct them in metadata.json")
    if num_actions is not None and type(num_actions) is not int:
        raise UserError(
            f"{source}: the number of actions must be whole, got {num_actions!r}: correct it in metadata.json"
        )
    low, high = (None if score is None else float(score) for score in scores)
    return Metadata(*texts, ref_min_score=low, ref_max_score=high, num_actions=num_actions)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"there is no readable {path}: give the folder of one data set, <name>-v<version>") from None
    return _loads(text, str(path))


def _loads(text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{source} is not JSON ({error}): get the data set again") from None
    if not isinstance(value, dict):
        raise UserError(f"{source} must be a JSON object, got {type(value).__name__}: get the data set again")
    return value
