#!/usr/bin/env bash
# Run by .ci/run in an empty folder, with the built wheel installed: the package is whole without its checkout.
set -euo pipefail
python - <<'PYTHON'
import importlib.util

import jaxrl_suite.envs
import jaxrl_suite.search

assert importlib.util.find_spec("envs") is None, "the wheel installs a top-level `envs`"
assert importlib.util.find_spec("tests") is None, "the wheel installs the tests"
assert jaxrl_suite.envs.make("gops-6").num_cards == 6
assert "solve_gops" in dir(jaxrl_suite.search), "the wheel has no stubs of public names"
PYTHON
jaxrl-suite list
jaxrl-suite envs
jaxrl-suite run gops_search --out run --rules regret_matching --seeds 0,1 --num-cards 3 --simulations 4,8 --rival-simulations 4 --games 8 --policy-samples 1
test -s run/report.html
jaxrl-suite run gops_search --out run --rules regret_matching --resume --seeds 0,1 --num-cards 3 --simulations 4,8 --rival-simulations 4 --games 8 --policy-samples 1
if jaxrl-suite run gops_serach 2>error; then exit 1; fi
grep -q "gops_search" error
