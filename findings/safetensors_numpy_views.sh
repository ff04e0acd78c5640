#!/usr/bin/env bash
# safetensors 0.8.0 with numpy 2.2.6: a transposed view is written in memory order.
# Guess it contradicts: what `save_file` writes is what `load_file` reads, whatever the layout of the array.
# Seen: shape as given, numbers of the array before it was transposed, no error; a contiguous copy is written right.
# Source: safetensors/numpy.py, which takes the bytes as they lie. Remedy: np.ascontiguousarray before saving.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.2.6
cd "$work"
venv/bin/python - <<'PYTHON'
import numpy as np
from safetensors.numpy import load_file, save_file

rows = np.arange(6, dtype=np.float32).reshape(2, 3)
save_file({"view": rows.T, "copy": np.ascontiguousarray(rows.T)}, "x.safetensors")
found = load_file("x.safetensors")
print("given", rows.T.tolist(), "read back", found["view"].tolist())
assert found["view"].shape == (3, 2)
assert found["view"].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], "it is written right now"
assert found["copy"].tolist() == rows.T.tolist()
PYTHON
echo "as recorded: a transposed view is read back as other numbers"
