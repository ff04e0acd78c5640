"""Roles of a worker for array functions: `trace` turns written code into an exported function, `check` tries it.

They are different processes: what `check` says about the exported bytes is said by a process in which written code
never ran as Python.
"""

from __future__ import annotations

import collections
import json
import math
import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from . import stablehlo
from .allowed import ContractError, RefusedError, load
from .raised import describe
from .worker import Role, write_all

NAME = "<program>"
MAX_AUXILIARY = 32
FORBIDDEN = ("callback", "debug", "infeed", "outfeed", "ffi_call", "while", "random_seed")

warnings.filterwarnings("ignore", message="os.fork")  # no backend has started when the worker forks


def trace(payload: bytes, reply: int, peer: int) -> None:
    """Source to the bytes of an exported function; the answer is a JSON line, then the bytes."""
    task = json.loads(payload)
    try:
        jax.config.update("jax_enable_x64", task["x64"])
        jax.config.update("jax_numpy_dtype_promotion", task["promotion"])
        jax.config.update("jax_traceback_in_locations_limit", 0)
        auxiliary, blob = export_source(task)
        answer, tail = {"auxiliary": auxiliary}, blob
    except RefusedError as error:
        answer, tail = {"refused": str(error)}, b""
    except ContractError as error:
        answer, tail = {"contract": str(error)}, b""
    except BaseException as error:
        answer, tail = {"error": describe(error, NAME, task["source"])}, b""
    write_all(reply, json.dumps(answer).encode() + b"\n" + tail)


def export_source(task: dict) -> tuple[list[str], bytes]:
    """Names of auxiliary values and the serialised function of flat leaves [b, ...]."""
    paths = [[tuple(step) for step in leaf["path"]] for leaf in task["inputs"]]
    fields = {key for path in paths for kind, key in path if kind == "attr"}
    space = load(task["source"], fields, {"numpy": jnp, "lax": jax.lax, "nn": jax.nn, "jax": jax})
    function = space.get(task["entry"])
    if not callable(function):
        raise RefusedError(f"there is no function named {task['entry']}")
    names: list[str] = []

    def flat(*leaves: Any) -> tuple[Any, ...]:
        value, auxiliary = _split(function(_build(list(zip(paths, leaves, strict=True)))))
        names[:] = sorted(auxiliary)
        return (*_results(value, task["outputs"]), *(_scalar(name, auxiliary[name]) for name in names))

    leaves = [jax.ShapeDtypeStruct(tuple(leaf["shape"]), leaf["dtype"]) for leaf in task["inputs"]]
    _check_jaxpr(jax.make_jaxpr(flat)(*leaves))
    (batch,) = export.symbolic_shape("b")
    rows = [jax.ShapeDtypeStruct((batch, *leaf.shape), leaf.dtype) for leaf in leaves]
    exported = export.export(jax.jit(jax.vmap(flat)), platforms=task["platforms"])(*rows)
    return names, bytes(exported.serialize())


def check(payload: bytes, reply: int, peer: int) -> None:
    """Verifies exported bytes and runs them on given states; answers with what was seen."""
    head, blob = payload.split(b"\n", 1)
    task = json.loads(head)
    try:
        jax.config.update("jax_enable_x64", task["x64"])
        arrays, blob = _arrays(task["inputs"], blob)
        exported = export.deserialize(bytearray(blob))
        inputs, outputs = ([(tuple(leaf["shape"]), leaf["dtype"]) for leaf in task[x]] for x in ("inputs", "outputs"))
        cost = stablehlo.verify(exported, inputs, outputs, tuple(task["platforms"]))
        start = time.perf_counter()
        program = jax.jit(exported.call).lower(*arrays).compile()
        seconds = time.perf_counter() - start
        results = [np.asarray(x) for x in program(*arrays)]
        answer = {
            "work": cost.work,
            "memory": cost.memory_bytes,
            "compile_seconds": seconds,
            "nonfinite": _nonfinite(results, task["rows"]),
        }
    except RefusedError as error:
        answer = {"refused": str(error)}
    except BaseException as error:
        answer = {"error": describe(error, NAME, "")}
    write_all(reply, json.dumps(answer).encode())


def _build(leaves: list[tuple[list[tuple[str, Any]], Any]]) -> Any:
    """A pytree from its leaves and their paths: records with fields, dicts and tuples."""
    if len(leaves) == 1 and not leaves[0][0]:
        return leaves[0][1]
    groups: dict[Any, list] = {}
    for path, leaf in leaves:
        groups.setdefault(path[0], []).append((path[1:], leaf))
    children = {key: _build(group) for (_, key), group in groups.items()}
    kind = leaves[0][0][0][0]
    if kind == "attr":
        return collections.namedtuple("View", list(children))(**children)
    return children if kind == "key" else tuple(children.values())


def _split(result: Any) -> tuple[Any, dict[str, Any]]:
    """(value, auxiliary values) from what a function returned."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
        value, auxiliary = result
        if len(auxiliary) > MAX_AUXILIARY or not all(isinstance(k, str) and k.isidentifier() for k in auxiliary):
            raise ContractError(
                f"the dict of auxiliary values must have at most {MAX_AUXILIARY} keys that are plain names"
            )
        return value, auxiliary
    return result, {}


def _results(value: Any, outputs: list[dict]) -> list[Any]:
    """The leaves of a value, in the order asked for."""
    leaves = []
    for leaf in outputs:
        part, where = value, "the value"
        for kind, key in leaf["path"]:
            where += f"[{key!r}]"
            try:
                part = getattr(part, key) if kind == "attr" and hasattr(part, key) else part[key]
            except (TypeError, KeyError, IndexError):
                raise ContractError(f"{where} is missing from what it returned") from None
        leaves.append(_array(part, tuple(leaf["shape"]), leaf["dtype"], where))
    return leaves


def _scalar(name: str, value: Any) -> Any:
    array = jnp.asarray(value)
    if array.shape != () or (not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != bool):
        raise ContractError(f"the auxiliary value {name} must be one number, got {array.dtype}{list(array.shape)}")
    return array.astype(jnp.float32)


def _array(value: Any, shape: tuple[int, ...], dtype: str, where: str) -> Any:
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise ContractError(f"{where} must be {dtype}{list(shape)}, got a {type(value).__name__}") from None
    got = array.dtype
    if getattr(array, "weak_type", False) or isinstance(
        value, (bool, int, float)
    ):  # a Python number becomes what is asked for
        kinds = [np.dtype(x).kind for x in (got, dtype)]
        if kinds[0] == kinds[1]:
            array = array.astype(dtype)
    if array.shape != shape or str(array.dtype) != dtype:
        raise ContractError(f"{where} must be {dtype}{list(shape)}, got {got}{list(array.shape)}")
    return array


def _check_jaxpr(closed: Any) -> None:
    """Refuses effects and what the exported module may not hold, with words that its writer understands."""
    if closed.effects:
        raise RefusedError("the function has side effects: return what you want to keep")
    for constant in closed.consts:
        if np.size(constant) > stablehlo.MAX_CONSTANT:
            limit = stablehlo.MAX_CONSTANT
            raise RefusedError(f"a constant has {np.size(constant)} elements, and {limit} are allowed")
    stack = [closed.jaxpr]
    while stack:
        for equation in stack.pop().eqns:
            name = equation.primitive.name
            if any(word in name for word in FORBIDDEN):
                raise RefusedError(f"{name} is not allowed: a fixed loop (scan, fori_loop) and pure arithmetic are")
            for value in equation.params.values():
                for inner in value if isinstance(value, (tuple, list)) else (value,):
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns"):
                        stack.append(inner)


def _arrays(inputs: list[dict], data: bytes) -> tuple[list[np.ndarray], bytes]:
    arrays = []
    for leaf in inputs:
        shape, dtype = (leaf["rows"], *leaf["shape"]), np.dtype(leaf["dtype"])
        size = math.prod(shape) * dtype.itemsize
        arrays.append(np.frombuffer(data[:size], dtype).reshape(shape))
        data = data[size:]
    return arrays, data


def _nonfinite(results: list[np.ndarray], rows: int) -> list[list[int]]:
    """(leaf, first row) of each result with a value that is not finite."""
    nonfinite = []
    for index, array in enumerate(results):
        if array.dtype.kind == "f" or "float" in str(array.dtype):
            bad = ~np.isfinite(array.astype(np.float64)).reshape(array.shape[0], -1).all(1)
            nonfinite += [[index, int(np.argmax(bad)) % rows]] if bad.any() else []
    return nonfinite


ROLES: dict[str, Role] = {"trace": trace, "check": check}
