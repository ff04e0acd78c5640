"""Array functions that a model wrote, as StableHLO that this process compiles and calls; their Python never runs here.

A request holds source and example states. In the sandbox the source is parsed, checked against what is allowed, traced
and exported at a symbolic batch size. The bytes go to a second process in the sandbox, where nothing written has run:
it verifies them operation by operation, compiles them and runs them on the examples. Then they are verified here once
more and become an `ExportedFunction`. Whatever goes wrong on the way is a verdict with a line for a repair prompt.

What is called here then: a pure function of arrays, of bounded size, arithmetic and memory for one state, without
custom calls; a batch takes as much for each of its rows. What is not promised: that it compiles fast on another
platform than a CPU, is finite on states that were not among the examples, or is any good. Bytes that were forged,
rather than traced, could still ask for more memory at a batch far larger than the one tried here; and XLA's reader of
programs, which sees them first in the sandbox, sees them here too.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.exported import ExportedFunction
from jaxrl_suite.sandbox.inside import plain, stablehlo
from jaxrl_suite.sandbox.records import SHOWN, Limits, Process, SandboxJob, SandboxOutcome, SandboxVerdict, read_reply
from jaxrl_suite.sandbox.sandbox import Sandbox, Toolset

EXPORT = Toolset(
    "trace",
    packages=("jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy", "flatbuffers"),
    environment=(
        ("JAX_PLATFORMS", "cpu"),
        ("JAX_ENABLE_COMPILATION_CACHE", "false"),
        ("OPENBLAS_NUM_THREADS", "1"),  # a worker forks, and must have one thread when it does
        ("OMP_NUM_THREADS", "1"),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        # XLA hands some sums and products to YNNPACK, which fails inside the sandbox: unsupported parameter
        ("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type="),
    ),
)
EXPORT_LIMITS = Limits(seconds=30.0, cpu_seconds=60, memory_bytes=4 << 30, processes=128, reply_bytes=4 << 20)
PLATFORMS = ("cpu", "cuda", "tpu")
MAX_AUXILIARY = 32
BATCH = 64  # examples are repeated to at least this many, which also tries a larger batch


@dataclasses.dataclass(frozen=True, eq=False)
class ExportRequest:
    """A request for an export.

    Args:
      source: Python with `jnp`, `jax`, `lax` and `nn` at hand; defines the function.
      entry: its name. It takes one state and returns a value, or (value, dict of named numbers).
      examples: a pytree of arrays [B, ...]: states to try it on; records (NamedTuples, dataclasses), dicts and tuples
        reach the function with the same field names.
      output: the value's structure: a `jax.ShapeDtypeStruct` or a pytree of them.
      platforms: where it shall run.

    Raises:
      UserError: if the examples are not arrays with the same number of rows, or a platform is unknown.
    """

    source: str
    entry: str
    examples: Any
    output: Any = dataclasses.field(default_factory=lambda: jax.ShapeDtypeStruct((), jnp.float32))
    platforms: tuple[str, ...] = PLATFORMS

    def __post_init__(self):
        leaves = jax.tree.leaves(self.examples)
        if not leaves or any(jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) for x in leaves):
            raise UserError("examples must be arrays of numbers: leave random keys out of what a written function sees")
        if any(x.ndim == 0 or x.shape[0] != leaves[0].shape[0] or x.shape[0] == 0 for x in leaves):
            raise UserError("examples must have the same number of rows in each array, at least 1")
        if not self.platforms or not set(self.platforms) <= set(PLATFORMS):
            raise UserError(f"platforms must be of {', '.join(PLATFORMS)}, got {self.platforms}")


@dataclasses.dataclass(frozen=True, eq=False)
class ExportReport:
    """The result of a request.

    Args:
      verdict: PASS with a function, else why not.
      feedback: one line for a repair prompt; empty after a pass.
      function: the exported function.
      seconds: wall time in the sandbox.
      compile_seconds: the part that compilation for the examples took.
      work: array elements that it computes for one state, roughly; products count by their multiplications.
      memory_bytes: of arrays that are alive at a time for one state, roughly.
    """

    verdict: SandboxVerdict
    feedback: str
    function: ExportedFunction | None = None
    seconds: float = 0.0
    compile_seconds: float = 0.0
    work: int = 0
    memory_bytes: int = 0


def export_functions(
    sandbox: Sandbox, requests: Sequence[ExportRequest], limits: Limits = EXPORT_LIMITS
) -> list[ExportReport]:
    """Exports written functions, each on its own.

    Args:
      sandbox: of the toolset `EXPORT`.
      requests: what to export.
      limits: of tracing one, and again of compiling and trying it.

    Returns:
      A report for each request. Nothing that a function does raises here.
    """
    tasks = [_task(request) for request in requests]
    jobs = [SandboxJob((Process("trace", json.dumps(task).encode()),), limits) for task in tasks]
    traced = [_read_trace(outcome) for outcome in sandbox.run(jobs)]
    outcomes = [
        (request, name, blob, seconds)
        for request, (name, blob, _, seconds) in zip(requests, traced, strict=True)
        if name is not None
    ]
    checked = iter(check_functions(sandbox, [(r, a, b) for r, a, b, _ in outcomes], limits))
    reports = []
    for auxiliary, _, report, seconds in traced:
        report = next(checked) if auxiliary is not None else report
        reports.append(dataclasses.replace(report, seconds=report.seconds + seconds))
    return reports


def check_functions(
    sandbox: Sandbox, items: Sequence[tuple[ExportRequest, Sequence[str], bytes]], limits: Limits = EXPORT_LIMITS
) -> list[ExportReport]:
    """Verifies serialised functions from anywhere, a file for instance, and loads those that are what they should be.

    Args:
      sandbox: of the toolset `EXPORT`.
      items: (what it should be, names of its auxiliary values, `ExportedFunction.serialized`); the source is not used.
      limits: of compiling and trying one.
    """
    tasks = [_check_task(request, names) for request, names, _ in items]
    jobs = [
        SandboxJob((Process("check", json.dumps(task).encode() + b"\n" + rows + blob),), limits)
        for (task, rows), (_, _, blob) in zip(tasks, items, strict=True)
    ]
    reports = []
    for (request, names, blob), (task, _), outcome in zip(items, tasks, sandbox.run(jobs), strict=True):
        report = _read_check(task, names, outcome)
        if report.verdict is SandboxVerdict.PASS:
            try:
                exported = jax.export.deserialize(bytearray(blob))
                inputs, outputs = (
                    [(tuple(leaf["shape"]), leaf["dtype"]) for leaf in task[x]] for x in ("inputs", "outputs")
                )
                stablehlo.verify(exported, inputs, outputs, request.platforms)
                function = ExportedFunction(
                    exported,
                    jax.tree.structure(request.examples),
                    jax.tree.structure(request.output),
                    tuple(names),
                    blob,
                )
                report = dataclasses.replace(report, function=function)
            except Exception as error:  # the process that checked it said otherwise: believe the worse of the two
                report = ExportReport(
                    SandboxVerdict.REFUSED, plain.shorten(str(error), 3 * SHOWN), None, report.seconds
                )
        reports.append(report)
    return reports


def _task(request: ExportRequest) -> dict[str, Any]:
    return {
        "source": request.source,
        "entry": request.entry,
        "inputs": _leaves(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), request.examples)),
        "outputs": _leaves(request.output),
        "platforms": list(request.platforms),
        "x64": bool(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
        "promotion": jax.config.jax_numpy_dtype_promotion,  # pyright: ignore[reportAttributeAccessIssue]
    }


def _check_task(request: ExportRequest, names: Sequence[str]) -> tuple[dict[str, Any], bytes]:
    """The task, and the examples' bytes, repeated to a larger batch."""
    task = _task(request)
    arrays = [np.asarray(x) for x in jax.tree.leaves(request.examples)]
    rows = arrays[0].shape[0]
    repeats = -(-BATCH // rows)
    task["inputs"] = [leaf | {"rows": rows * repeats} for leaf in task["inputs"]]
    task["outputs"] = task["outputs"] + [{"path": [], "shape": [], "dtype": "float32"} for _ in names]
    task["rows"] = rows
    return task, b"".join(np.concatenate([x] * repeats).tobytes() for x in arrays)


def _leaves(tree: Any) -> list[dict[str, Any]]:
    """Path, shape and dtype of each leaf."""
    return [
        {"path": [_step(key) for key in path], "shape": list(leaf.shape), "dtype": str(leaf.dtype)}
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    ]


def _step(key: Any) -> tuple[str, Any]:
    if isinstance(key, jax.tree_util.GetAttrKey):
        return "attr", key.name
    if isinstance(key, jax.tree_util.DictKey):
        return "key", key.key
    if isinstance(key, jax.tree_util.SequenceKey):
        return "index", key.idx
    raise UserError(f"a written function can see records, dicts and tuples, and not {key!r}: give it a NamedTuple")


def _read_trace(outcome: SandboxOutcome) -> tuple[list[str] | None, bytes, ExportReport, float]:
    """(names of auxiliary values or None, the bytes, the report if it failed, seconds)."""
    head, _, blob = (outcome.replies[0] if outcome.replies else b"").partition(b"\n")
    reply = read_reply(head) if outcome.verdict is None else None
    names = reply.get("auxiliary") if reply is not None else None
    if (
        isinstance(names, list)
        and all(isinstance(name, str) and re.fullmatch(r"\w{1,64}", name) for name in names)
        and len(set(names)) == len(names) <= MAX_AUXILIARY
    ):
        return names, blob, ExportReport(SandboxVerdict.CRASH, ""), outcome.seconds
    return None, b"", _failure(outcome, reply), outcome.seconds


def _read_check(task: dict[str, Any], names: Sequence[str], outcome: SandboxOutcome) -> ExportReport:
    try:
        return _checked(task, names, outcome)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):  # of one function; others wait for theirs
        return ExportReport(SandboxVerdict.CRASH, "it ended without an answer", None, outcome.seconds)


def _checked(task: dict[str, Any], names: Sequence[str], outcome: SandboxOutcome) -> ExportReport:
    reply = read_reply(outcome.replies[0]) if outcome.verdict is None else None
    if reply is None or "nonfinite" not in reply:
        return dataclasses.replace(_failure(outcome, reply), seconds=outcome.seconds)
    compiled, work, memory = float(reply["compile_seconds"]), int(reply["work"]), int(reply["memory"])
    if reply["nonfinite"]:
        leaf, row = reply["nonfinite"][0]
        first = len(task["outputs"]) - len(names)
        what = f"the auxiliary value {names[leaf - first]}" if leaf >= first else "the value"
        line = f"{what} is not finite on example state {row}"
        return ExportReport(SandboxVerdict.WRONG, line, None, outcome.seconds, compiled, work, memory)
    return ExportReport(SandboxVerdict.PASS, "", None, outcome.seconds, compiled, work, memory)


def _failure(outcome: SandboxOutcome, reply: dict[str, Any] | None) -> ExportReport:
    if outcome.verdict is not None:
        return ExportReport(outcome.verdict, f"it did not finish: {outcome.verdict} ({outcome.detail})")
    if reply is not None and "refused" in reply:
        return ExportReport(SandboxVerdict.REFUSED, plain.shorten(str(reply["refused"]), 3 * SHOWN))
    if reply is not None and "contract" in reply:
        return ExportReport(SandboxVerdict.WRONG, plain.shorten(str(reply["contract"]), 3 * SHOWN))
    if reply is not None and isinstance(reply.get("error"), dict):
        return ExportReport(*_error(reply["error"]))
    return ExportReport(SandboxVerdict.CRASH, "it ended without an answer")


def _error(error: dict[str, Any]) -> tuple[SandboxVerdict, str]:
    """An exception in a line: the first of its message, for JAX explains at length, and where it was raised."""
    kind, text = (plain.shorten(str(error.get(name) or ""), SHOWN) for name in ("type", "text"))
    message = str(error.get("message") or "")
    if kind == "MemoryError" or "RESOURCE_EXHAUSTED" in message or "Out of memory" in message:
        return SandboxVerdict.MEMORY, "it needs more memory than allowed"
    line, lines = error.get("line"), message.strip().splitlines()
    where = f" at line {line}, {text!r}" if isinstance(line, int) and text else ""
    return SandboxVerdict.ERROR, f"{kind}{where}: {plain.shorten(lines[0] if lines else '', 3 * SHOWN)}"
