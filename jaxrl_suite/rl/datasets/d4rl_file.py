"""D4RL's flat HDF5 files: one array for each field, over all episodes, and whatever else a file holds.

    observations, actions, rewards, terminals, timeouts, next_observations   (other names of ends: see `ends`)
    infos/qpos, infos/qvel, infos/action_log_probs, ...                      one row a transition
    metadata/env, backend, teacher, ref_min_score, ref_max_score, num_actions
    metadata/algorithm, metadata/policy/fc0/weight, ...                      as in D4RL's own files

Reference: Fu et al., "D4RL" (arXiv 2004.07219); its release 2 of the locomotion data added next_observations.
"""

from __future__ import annotations

import dataclasses
from numbers import Integral, Real
from pathlib import Path
from typing import Literal

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets import hdf5
from jaxrl_suite.rl.datasets.ends import take_ends
from jaxrl_suite.rl.datasets.offline import ARRAYS, Metadata, OfflineData, make_data
from jaxrl_suite.rl.datasets.scores import D4RL, reference_scores

_FOLDER = "metadata/"
_FIELDS = {"env": str, "backend": str, "teacher": str, "ref_min_score": Real, "ref_max_score": Real}
_FIELDS |= {"num_actions": Integral}
_WORDS = {str: "text", Real: "a number", Integral: "a whole number"}
_PYTHON = {str: str, Real: float, Integral: int}


def write_d4rl(path: str | Path, data: OfflineData) -> None:
    """Writes `data`; `read_d4rl` gives it back bit for bit, and D4RL's own loader reads it.

    Raises:
      UserError: if the file cannot be written.
    """
    tree = {name: value for name in ARRAYS if (value := getattr(data, name)) is not None}
    fields = dataclasses.asdict(data.metadata)
    tree |= {f"{_FOLDER}{name}": value for name, value in fields.items() if value not in ("", None)}
    clash = sorted(tree.keys() & data.extra.keys())
    if clash:
        raise UserError(f"extra holds {clash[0]}, which the record itself has: rename it there")
    hdf5.write_tree(path, tree | dict(data.extra))


def read_d4rl(
    path: str | Path,
    *,
    name: str | None = None,
    episode_steps: int | None = None,
    unfinished: Literal["refuse", "keep", "drop"] = "keep",
) -> OfflineData:
    """A D4RL file as it is.

    Args:
      path: the file.
      name: D4RL's name of the data set, `hopper-medium-v2` for instance, whose reference scores it gets. By default
        the file's own scores, or else those of the data set that the file is named after.
      episode_steps: the time limit (1000 in D4RL's locomotion), for a file that does not mark where episodes were cut
        off, as those of version 0, or does not tell that from an episode's own end; see `make_data`, `ends.take_ends`.
      unfinished: see `make_data`. Several of D4RL's files end within an episode.

    Raises:
      UserError: if the file cannot be read, its arrays cannot be used, or it does not say where episodes end.
    """
    path = Path(path)
    tree = hdf5.read_tree(path)
    if episode_steps is not None and (not isinstance(episode_steps, int) or episode_steps < 1):
        raise UserError(f"episode_steps must be a whole number of at least 1, got {episode_steps!r}")
    ends = take_ends(tree, str(path), episode_steps)
    arrays = {key: tree.pop(key) for key in ARRAYS if key in tree} | ends
    # A column in some files, which D4RL's own loader flattens as well.
    if "rewards" in arrays and np.shape(arrays["rewards"])[1:] == (1,):
        arrays["rewards"] = arrays["rewards"][:, 0]
    fields = {}
    for key, kind in _FIELDS.items():
        if (value := tree.pop(_FOLDER + key, None)) is not None:
            if not isinstance(value, kind):
                raise UserError(f"{path}: metadata/{key} must be {_WORDS[kind]}, got {value!r}: write it again")
            fields[key] = _PYTHON[kind](value)
    stem = path.stem.replace("_", "-")
    if name is None and "ref_min_score" not in fields and stem in D4RL:
        name = stem
    if name is not None:
        fields |= reference_scores(name)._asdict() | {"env": fields.get("env", name)}
    return make_data(
        arrays, Metadata(**fields), extra=tree, episode_steps=episode_steps, unfinished=unfinished, source=str(path)
    )
