#!/usr/bin/env bash
# minari 0.5.4: a data set under a namespace of a single character makes every data set of the root unlistable.
# Guess it contradicts: a folder that is no data set of Minari's is skipped, as one without a name of its form is.
# Seen: `list_local_datasets` raises "Malformed dataset ID" for the whole root; the others still load by their names.
# A namespace of one character is fine where another follows it (a/set/toy-v0).
# Source: minari/dataset/minari_dataset.py, NAMESPACE_RE, and minari/storage/local.py, whose sort key parses every id.
# Remedy: `write_minari` asks for two characters.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'minari[hdf5]==0.5.4' gymnasium==1.4.0 pillow
cd "$work"
MINARI_DATASETS_PATH="$work/root" venv/bin/python -W ignore - <<'PYTHON'
import os
import pathlib
import shutil

import gymnasium
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer

root = pathlib.Path(os.environ["MINARI_DATASETS_PATH"])
root.mkdir()
box = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
episode = EpisodeBuffer(
    observations=np.zeros((3, 2), np.float32), actions=np.zeros((2, 2), np.float32), rewards=np.ones(2),
    terminations=np.array([False, True]), truncations=np.zeros(2, bool), infos={},
)
minari.create_dataset_from_buffers("good/toy-v0", [episode], observation_space=box, action_space=box)
assert list(minari.list_local_datasets()) == ["good/toy-v0"]
minari.create_dataset_from_buffers("a/deep/toy-v0", [episode], observation_space=box, action_space=box)
assert "a/deep/toy-v0" in minari.list_local_datasets()
shutil.copytree(root / "good" / "toy-v0", root / "a" / "toy-v0")
try:
    minari.list_local_datasets()
    raise AssertionError("it is listed right now")
except ValueError as error:
    print("list_local_datasets:", error)
    assert "Malformed dataset ID: a/toy-v0" in str(error)
assert minari.load_dataset("good/toy-v0").total_episodes == 1
PYTHON
echo "as recorded: one namespace of a single character hides every data set of the root"
