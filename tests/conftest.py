"""What all tests share: two CPU devices, cheap compilation, programs kept between files, and what was not tested."""

import contextlib
import ctypes
import gc
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Most tests compile for longer than they run; those that do not are marked `optimised`.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Reading a program is several times cheaper than compiling it, also a small one; commands of tests inherit this.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAXRL_SUITE_TEST_CACHES"] = os.path.join(tempfile.gettempdir(), f"jaxrl_suite-tests-{os.getuid()}")
if "JAXRL_SUITE_TEST_CACHES" in os.environ:  # one a worker: JAX does not write its entries atomically
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(
        os.environ["JAXRL_SUITE_TEST_CACHES"], os.environ.get("PYTEST_XDIST_WORKER", "main")
    )

import chex
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
CHEAP = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"

MAPS, MEMORY = Path("/proc/self/maps"), Path("/proc/self/statm")
MOST_MAPS = 15_000  # of the 65,530 that Linux gives a process; each compiled program takes some
MOST_MEMORY = 2 << 30  # bytes; what two workers may hold on a machine of 8 GB, with room for a file's own programs
ENTRY_AGE = 5.0  # seconds after its last write; a younger entry may still be in the writing

SECOND_TIER = "tests of the second tier (experiments whole, many players): python -m pytest -n 2 -m tier2"
SLOW = "what takes minutes a test: python -m pytest -m slow"
BUBBLEWRAP = "the sandbox at its first level: install bubblewrap (apt-get install bubblewrap)"
HUB = "the language model beside transformers: pip install -e '.[hub]', then jaxrl-suite fetch smollm2"
LEFT_OUT = {"tier2": SECOND_TIER, "slow": SLOW}  # marker -> the same
REMEDIES = {  # part of the reason of a skip -> what was not tested, and how to get it
    "bwrap": BUBBLEWRAP,
    "the extra hub": HUB,
    "jaxrl-suite fetch": HUB,
    "JAXRL_SUITE_TEST_SERVER": "a running server: JAXRL_SUITE_TEST_SERVER=URL python -m pytest -m real_server",
}


def pytest_runtest_setup(item):
    chex.clear_trace_counter()  # each test counts the traces of its own functions
    if CHEAP:
        jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("optimised") is None)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Lets go of compiled programs between files: a process that has kept too many is aborted by the compiler."""
    _take_programs_of_other_workers()
    yield
    if MAPS.exists() and (MAPS.read_bytes().count(b"\n") > MOST_MAPS or _resident_bytes() > MOST_MEMORY):
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    return int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _take_programs_of_other_workers() -> None:
    """Links what other workers have compiled, entries that are whole only, into the cache of this one."""
    if "JAXRL_SUITE_TEST_CACHES" not in os.environ:
        return
    own, now = Path(jax.config.jax_compilation_cache_dir), time.time()
    own.mkdir(parents=True, exist_ok=True)
    known = {entry.name for entry in own.iterdir()}
    for entry in Path(os.environ["JAXRL_SUITE_TEST_CACHES"]).glob("*/*-cache"):
        if entry.name not in known and now - entry.stat().st_mtime > ENTRY_AGE:
            known.add(entry.name)
            with contextlib.suppress(FileExistsError):  # a command of a test was faster
                (own / entry.name).hardlink_to(entry)


def _reasons(terminalreporter) -> list[str]:
    """Why tests were skipped, one for each."""
    return [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]


def pytest_sessionfinish(session):
    """Fails where CI is set and the sandbox's first level was skipped: it would never be tested."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    if reporter is not None and in_ci and any("bwrap" in reason for reason in _reasons(reporter)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    """Says last what was not tested, and how to get it."""
    yield
    reasons, expression = _reasons(terminalreporter), config.option.markexpr
    missing = Counter(text for reason in reasons for part, text in REMEDIES.items() if part in reason)
    lines = [f"{count} skipped: {text}" for text, count in missing.items()]
    lines += [f"left out: {text}" for marker, text in LEFT_OUT.items() if f"not {marker}" in expression]
    if lines:
        terminalreporter.section("not tested here")
        for line in lines:
            terminalreporter.write_line(line)
