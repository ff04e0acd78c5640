#!/usr/bin/env bash
# chex 0.1.92 with jax 0.10.2: typed keys are compared by assert_trees_all_equal, and are an error in its sisters.
# Guess it contradicts: what one assertion on trees takes, the others take; a key is equal to itself, and finite.
# Seen: assert_trees_all_equal passes on equal keys and fails on others; assert_trees_all_close and
# assert_tree_all_finite raise an error of jax on any tree that holds a key. Remedy: jax.random.key_data first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet chex==0.1.92 jax==0.10.2 jaxlib==0.10.2
cd "$work"
JAX_PLATFORMS=cpu venv/bin/python - <<'PYTHON'
import chex
import jax

one, other = {"key": jax.random.key(0)}, {"key": jax.random.key(1)}
chex.assert_trees_all_equal(one, one)
for name, call in (
    ("assert_trees_all_equal, other keys", lambda: chex.assert_trees_all_equal(one, other)),
    ("assert_trees_all_close, the same key", lambda: chex.assert_trees_all_close(one, one)),
    ("assert_tree_all_finite", lambda: chex.assert_tree_all_finite(one)),
):
    try:
        call()
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
    else:
        raise SystemExit(f"{name} passes now")
PYTHON
echo "as recorded"
