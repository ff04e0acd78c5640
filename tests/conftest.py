"""What all tests share: two CPU devices, a compilation cache for each worker, and no silent broadcasting of ranks."""

import gc
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # one a worker: JAX does not write its entries atomically
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(
        Path(tempfile.gettempdir()) / f"jaxrl_suite-tests-{os.getuid()}" / worker
    )

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

MAPS = Path("/proc/self/maps")
MOST_MAPS = 15_000  # of the 65,530 that Linux gives a process; each compiled program takes some


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Lets go of compiled programs between files: a process that has kept too many is aborted by the compiler."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()
