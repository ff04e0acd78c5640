#!/usr/bin/env bash
# scipy 1.17.1: milp that stops at its node limit reports status 4, "The HiGHS status code was not recognized".
# Guess it contradicts: node_limit is an option of milp, so stopping there is status 1, as for time ("Iteration or time
# limit reached"), and status 4 means that there is nothing to use.
# Seen: status 4 and success False, with the incumbent in x and its bound in mip_dual_bound; the message ends in
# "(HiGHS Status 16: ...)". Remedy: accept status 4 where the message names HiGHS status 16.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet scipy==1.17.1 numpy==2.4.2
cd "$work"
venv/bin/python - <<'PYTHON'
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

rng = np.random.default_rng(0)
weights, worth = rng.integers(100, 1000, (20, 60)).astype(float), rng.integers(100, 1000, 60).astype(float)
result = milp(
    -worth,
    integrality=np.ones(60),
    bounds=Bounds(0, 1),
    constraints=LinearConstraint(weights, -np.inf, weights.sum(1) / 3),
    options={"node_limit": 5},
)
print(result.status, result.message, result.x is not None, result.mip_dual_bound)
assert result.status == 4 and not result.success and "not recognized" in result.message
assert "HiGHS Status 16" in result.message and result.x is not None and np.isfinite(result.mip_dual_bound)
PYTHON
echo "as recorded"
