"""Devices: set-up before JAX starts, one mesh over the batch, and compilation that reports its cost.

A batch is split over the devices along its leading axis and each row carries its own key, so the same program gives
the same rows on one device and on many. On a CPU each core is made a device: XLA's CPU backend runs a small fused
kernel on one thread, and a sharded batch is how all cores are used.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrl_suite.errors import UserError

T = TypeVar("T")

AXIS = "data"  # the mesh axis that batches are split over
CACHE_VARIABLE = "JAXRL_SUITE_CACHE"  # a folder for compiled programs, or "off"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The cost of compiling a function and the needs of running it; None where the backend does not say."""

    name: str
    seconds: float  # tracing and compilation; near 0 when the persistent cache holds the program
    argument_bytes: int | None = None
    output_bytes: int | None = None
    temp_bytes: int | None = None
    flops: float | None = None

    def __str__(self) -> str:
        sizes = [x for x in (self.argument_bytes, self.output_bytes, self.temp_bytes) if x is not None]
        memory = f", {format_bytes(sum(sizes))} a device" if sizes else ""
        return f"{self.name} compiled in {self.seconds:.1f} s{memory}"


def setup(cache: bool = True, num_devices: int | None = None) -> None:
    """Configures JAX; call it before anything touches a device. Calling it again is harmless.

    Args:
      cache: keep compiled programs on disk, in `JAX_COMPILATION_CACHE_DIR`, else in `JAXRL_SUITE_CACHE`, else in the
        user's cache folder. `JAXRL_SUITE_CACHE=off` turns it off.
      num_devices: CPU devices to make; by default one a core, unless `XLA_FLAGS` or `JAX_NUM_CPU_DEVICES` say
        otherwise.

    Raises:
      UserError: if `num_devices` is given but the backend has already started with another number.
    """
    if cache:
        _enable_cache()
    chosen = "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in os.environ.get(
        "XLA_FLAGS", ""
    )
    if num_devices is None and chosen:
        return
    if num_devices is not None and chosen:
        raise UserError("the number of CPU devices is set in the environment and by --devices: set it in one place")
    wanted = num_devices or cpu_count()
    try:
        if jax.config.jax_num_cpu_devices != wanted:  # pyright: ignore[reportAttributeAccessIssue]
            jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError:
        if num_devices is not None and jax.default_backend() == "cpu" and jax.device_count() != num_devices:
            raise UserError(
                f"JAX already runs with {jax.device_count()} devices: call setup(num_devices={num_devices}) first"
            ) from None


def cpu_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> str:
    """The devices in words, for instance "2 CPU devices (x86_64, 2 cores, 8 GB)"; starts the backend."""
    first, count = jax.devices()[0], jax.device_count()
    plural = "" if count == 1 else "s"
    if first.platform == "cpu":
        memory = _host_memory()
        extra = f", {format_bytes(memory)}" if memory else ""
        return f"{count} CPU device{plural} ({_cpu_model()}, {cpu_count()} cores{extra})"
    stats = first.memory_stats() or {}
    extra = f", {format_bytes(stats['bytes_limit'])} each" if "bytes_limit" in stats else ""
    return f"{count} {first.platform.upper()} device{plural} ({first.device_kind}{extra})"


def mesh(num_devices: int | None = None, batch: int | None = None) -> Mesh:
    """A one-dimensional mesh over the first devices.

    Args:
      num_devices: how many; all by default.
      batch: rows of the batch that will be split over them; of `num_devices`, only as many are then taken as divide it.

    Raises:
      UserError: if there are not that many.
    """
    available = jax.devices()
    num_devices = len(available) if num_devices is None else num_devices
    if not 1 <= num_devices <= len(available):
        raise UserError(f"{num_devices} devices asked for and {len(available)} present: choose 1 to {len(available)}")
    if batch is not None:
        num_devices = next(n for n in range(num_devices, 0, -1) if batch % n == 0)
    return jax.make_mesh((num_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=available[:num_devices])


def shard_batch(tree: T, mesh: Mesh) -> T:
    """Places arrays `[B, ...]` on the mesh, split along B.

    Raises:
      UserError: if B is not a multiple of the number of devices.
    """
    _check_rows(tree, mesh)
    return jax.device_put(tree, NamedSharding(mesh, P(AXIS)))


def replicate(tree: T, mesh: Mesh) -> T:
    """Places a copy of every array on each device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, P()))


def map_batch(fn: Callable[..., Any], mesh: Mesh, *, replicated: Sequence[int] = ()) -> Callable[..., Any]:
    """`fn` over the devices of a mesh, each on its share of the batch; jitted.

    Args:
      fn: takes and returns pytrees of arrays `[b, ...]` with any b, row by row: row i of the results depends on row i
        of the arguments alone (its key among them), which is what makes the result independent of the mesh.
      mesh: from `mesh`.
      replicated: positions of arguments that every device gets whole, such as parameters.

    Returns:
      A function of arrays `[B, ...]`, B a multiple of the number of devices; else it raises UserError.
    """

    def call(*args: Any) -> Any:
        _check_rows([arg for i, arg in enumerate(args) if i not in replicated], mesh)
        specs = tuple(P() if i in replicated else P(AXIS) for i in range(len(args)))
        return jax.shard_map(fn, mesh=mesh, in_specs=specs, out_specs=P(AXIS), check_vma=False)(*args)

    return jax.jit(call)


def compile(fn: Callable[..., Any], *args: Any, name: str | None = None) -> tuple[Callable[..., Any], Compiled]:  # noqa: A001
    """Compiles `fn` for the shapes, dtypes and placement of `args`.

    Args:
      fn: a function of arrays, jitted or not (`functools.partial` for what is static).
      *args: arguments, or `jax.ShapeDtypeStruct`s in their place.
      name: for the record; the function's own by default.

    Returns:
      The compiled function, and what it cost.
    """
    jitted: Any = fn if hasattr(fn, "lower") else jax.jit(fn)
    start = time.perf_counter()
    compiled = jitted.lower(*args).compile()
    seconds = time.perf_counter() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    sizes = {
        f"{part}_bytes": int(size)
        for part in ("argument", "output", "temp")
        if (size := getattr(memory, f"{part}_size_in_bytes", None)) is not None
    }
    cost = cost[0] if isinstance(cost, list) and cost else cost
    flops = cost.get("flops") if isinstance(cost, dict) else None
    title = name or getattr(fn, "__name__", None) or getattr(getattr(fn, "func", None), "__name__", "function")
    return compiled, Compiled(title, seconds, flops=flops, **sizes)


def format_bytes(size: float) -> str:
    """A size with three digits, for instance "1.5 GB" (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def cache_folder() -> Path | None:
    """The folder of compiled programs, unless JAX was told a folder already; None if turned off."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is not None:
        return None if chosen.lower() in ("", "0", "off", "no", "false") else Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jaxrl_suite" / f"xla-{_host_tag()}"


def _enable_cache() -> None:
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        folder = cache_folder()
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # a read-only home: the programs are compiled each time
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if not isinstance(warnings.showwarning, _CacheMender):
        warnings.showwarning = _CacheMender(warnings.showwarning)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


class _CacheMender:
    """Shows warnings, but for those of damaged entries of the compilation cache: JAX never replaces an entry.

    It names the function alone, so its other programs go with the damaged one; all are compiled again when needed.
    """

    def __init__(self, show: Callable[..., None]):
        self._show = show

    def __call__(self, message: Warning | str, *rest: Any, **more: Any) -> None:
        found = re.match(r"Error reading persistent compilation cache entry for '([^'/]+)'", str(message))
        folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
        if found is None or not folder:
            return self._show(message, *rest, **more)
        try:
            for path in Path(folder).glob(f"{glob.escape(found[1])}-*-cache"):
                path.unlink(missing_ok=True)
            done = "it was deleted and is compiled again"
        except OSError as error:
            done = f"it cannot be deleted ({error.strerror}): empty that folder, or set {CACHE_VARIABLE}=off"
        print(f"The compilation cache {folder} holds a damaged program of {found[1]}: {done}.", file=sys.stderr)


def _check_rows(tree: Any, mesh: Mesh) -> None:
    for leaf in jax.tree.leaves(tree):
        if leaf.ndim == 0 or leaf.shape[0] % mesh.size:
            raise UserError(
                f"a batch of shape {leaf.shape} cannot be split over {mesh.size} devices: "
                f"make its leading axis a multiple of {mesh.size}"
            )


def _host_tag() -> str:
    """Tells machines apart that share a home but not an instruction set."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    text = platform.machine() + (flags.group(1) if flags else platform.processor())
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _host_memory() -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
