"""Random carries are read bit for bit by another process than the one that saved them and was killed."""

import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from fixtures.random_carries import carry, change

from jaxrl_suite.core import checkpoint
from jaxrl_suite.core.trees import leaf_paths
from jaxrl_suite.errors import UserError

PROGRAM = Path(__file__).parent.parent / "fixtures" / "random_carries.py"


def bits(leaf):
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes()
    return str(getattr(leaf, "dtype", type(leaf))), getattr(leaf, "shape", None), np.asarray(leaf).tobytes()


def check(folder, count):
    done = subprocess.run([sys.executable, str(PROGRAM), str(folder), str(count)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for seed in range(count):
        saved = carry(seed)
        restored = checkpoint.restore(folder / str(seed), carry(seed)).tree
        assert [bits(x) for x in jax.tree.leaves(restored)] == [bits(x) for x in jax.tree.leaves(saved)]
        rng = np.random.default_rng([seed, 1])
        leaves, treedef = jax.tree.flatten(carry(seed))
        i = int(rng.integers(len(leaves)))
        leaves[i] = change(leaves[i], rng)
        with pytest.raises(UserError) as caught:
            checkpoint.restore(folder / str(seed), jax.tree.unflatten(treedef, leaves))
        assert f"another shape: {leaf_paths(saved)[i]} is " in str(caught.value), str(caught.value)
        assert "\n" not in str(caught.value)


def test_random_carries(tmp_path):
    check(tmp_path, 4)


@pytest.mark.tier2
def test_200_random_carries(tmp_path):
    check(tmp_path, 200)
