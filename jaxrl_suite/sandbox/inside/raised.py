"""Exceptions as data, and back: class, bases, arguments and attributes survive the way between two processes.

Classes of the standard library are themselves on both sides. A class that the other side defined becomes one of the
same name with the same bases, the same each time. What ends a loop or a test early, `StopIteration` for instance, does
not come from the other side: a subclass of RuntimeError of that name does, as Python itself has it in a generator.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from . import plain

ENDS = (StopIteration, StopAsyncIteration, GeneratorExit)
NOT_CARRIED = (*(kind.__name__ for kind in ENDS), "CancelledError", "SkipTest")
Code = Callable[[Any], Any]
_MIRRORS: dict[str, type[BaseException]] = {}


def describe(
    error: BaseException, name: str, source: str, encode: Code | None = None, depth: int = 0
) -> dict[str, Any]:
    """An exception as data: its type, its message, and the last line of the source that it came through.

    Args:
      error: what was raised.
      name: of the file that the source was compiled as.
      source: its text.
      encode: makes data of a value; the arguments and attributes it can encode come along then, class and cause too.
      depth: how many exceptions this one is the cause of.
    """
    line, trace = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = source.splitlines()
    text = lines[line - 1].strip() if isinstance(line, int) and 0 < line <= len(lines) else ""
    try:
        message = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:
        message = ""
    data = {"type": type(error).__name__, "message": message[:500], "line": line, "text": text[:200]}
    if encode is None:
        return data
    attributes = {}
    for key, value in list(getattr(error, "__dict__", {}).items()):
        if key.isidentifier() and not key.startswith("_"):
            with contextlib.suppress(Exception):
                attributes[key] = encode(value)
    try:
        arguments = [encode(value) for value in error.args]
    except Exception:  # not plain: what is printed is what can be told
        arguments = [message]
    cause = error.__cause__ if depth < 5 else None
    return data | {
        "class": describe_class(type(error)),
        "arguments": arguments,
        "attributes": attributes,
        "cause": None if cause is None else describe(cause, name, source, encode, depth + 1),
    }


def describe_class(kind: type, depth: int = 0) -> list[Any]:
    """[module, name, the same of each base that is an exception]."""
    bases = [base for base in kind.__bases__ if issubclass(base, BaseException)] if depth < 10 else []
    return [str(kind.__module__), str(kind.__qualname__), [describe_class(base, depth + 1) for base in bases]]


def class_of(data: Any, own: str = "") -> type[BaseException]:
    """The class that a description names, or one made after it.

    Args:
      data: what `describe_class` returned, or anything.
      own: a module whose classes count as known besides those of the standard library.
    """
    try:
        module, name, bases = data
        kind = _known(module, name, own)
        if kind is not None:
            return kind
        text = json.dumps(data)
        if text not in _MIRRORS:
            parents = tuple(class_of(base, own) for base in bases) or (RuntimeError,)
            space = {"__module__": str(module), "__str__": _message}
            _MIRRORS[text] = type(str(name).rpartition(".")[2], parents, space)
        return _MIRRORS[text]
    except (TypeError, ValueError, RecursionError):
        return RuntimeError


def as_exception(data: Any, decode: Code, own: str = "") -> BaseException:
    """An exception from its description, with the description as its attribute `described`."""
    data = data if isinstance(data, dict) else {}
    kind, message = class_of(data.get("class"), own), str(data.get("message", ""))
    try:
        arguments = [decode(value) for value in data["arguments"]]
    except (KeyError, TypeError, ValueError):
        arguments = [message]
    try:
        error = kind(*arguments)
    except Exception:
        try:
            error = kind.__new__(kind)
            error.args = tuple(arguments)
        except Exception:
            error = RuntimeError(message)
    attributes = data.get("attributes")
    for name, value in (attributes if isinstance(attributes, dict) else {}).items():
        if name.isidentifier() and not name.startswith("_") and name not in plain.ANSWERS:
            with contextlib.suppress(Exception):
                setattr(error, name, decode(value))
    if isinstance(data.get("cause"), dict):
        error.__cause__ = as_exception(data["cause"], decode, own)
    error.described = data  # pyright: ignore[reportAttributeAccessIssue]
    return error


def _known(module: str, name: str, own: str) -> type[BaseException] | None:
    space = sys.modules.get(module) if module == own or module.partition(".")[0] in sys.stdlib_module_names else None
    kind = getattr(builtins if module == "builtins" else space, name, None)
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        return None
    if issubclass(kind, ENDS) or kind.__name__ == "CancelledError" or module.partition(".")[0] in ("unittest", "bdb"):
        return _ended(kind)
    return kind


def _ended(kind: type[BaseException]) -> type[BaseException]:
    if kind.__name__ not in _MIRRORS:
        _MIRRORS[kind.__name__] = type(kind.__name__, (RuntimeError,), {"__module__": kind.__module__})
    return _MIRRORS[kind.__name__]


def _message(error: BaseException) -> str:
    described = getattr(error, "described", None)
    return str(described["message"]) if isinstance(described, dict) else BaseException.__str__(error)
