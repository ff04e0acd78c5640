"""The parts of pytest that tests of programs use, where pytest itself is not: raises, approx, parametrize, fixtures.

A part that is not here raises `MissingPartError`, which is no verdict on the program.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Any


class MissingPartError(Exception):
    """Test code needs what is not in the sandbox."""


class SkippedError(Exception):
    """A test asks not to be run."""


class Raises:
    """A block that must raise; `value` is what it raised."""

    def __init__(self, kinds: Any, match: str | None = None):
        self.kinds, self.match, self.value = kinds, match, None

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        if kind is None:
            raise AssertionError(f"DID NOT RAISE {self.kinds}")
        if not issubclass(kind, self.kinds):
            return False
        self.value, self.type = value, kind
        if self.match is not None and not re.search(self.match, str(value)):
            raise AssertionError(f"{self.match!r} is not found in {str(value)!r}")
        return True


def raises(kinds: Any, *call: Any, match: str | None = None, **kwargs: Any) -> Raises:
    block = Raises(kinds, match)
    if call:
        with block:
            call[0](*call[1:], **kwargs)
    return block


class Approx:
    """A value that equals what is close to it."""

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False):  # noqa: A002
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, actual: Any) -> bool:
        return self._close(self.expected, actual)

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def _close(self, expected: Any, actual: Any) -> bool:
        if isinstance(expected, Mapping):
            return expected.keys() == actual.keys() and all(self._close(expected[k], actual[k]) for k in expected)
        if isinstance(expected, (list, tuple)):
            return len(expected) == len(actual) and all(map(self._close, expected, actual))
        if expected == actual:
            return True
        if not isinstance(expected, (int, float, complex)) or not isinstance(actual, (int, float, complex)):
            return False
        if expected != expected:
            return self.nan_ok and actual != actual
        if not math.isfinite(abs(expected)) or isinstance(expected, bool):
            return False
        relative = (1e-6 if self.rel is None else self.rel) * abs(expected)
        absolute = 1e-12 if self.abs is None else self.abs
        bound = absolute if self.rel is None and self.abs is not None else max(relative, absolute)
        return abs(expected - actual) <= bound


def parametrize(names: Any, values: Any, ids: Any = None) -> Callable[[Any], Any]:
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

    def mark(function: Any) -> Any:
        rows = [dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in map(_plain_row, values)]
        function._rows = [*getattr(function, "_rows", []), rows]
        return function

    return mark


def fixture(function: Any = None, **options: Any) -> Any:
    if options.keys() & {"autouse", "params"}:
        raise MissingPartError("a fixture with autouse or params")
    if function is None:
        return fixture
    function._fixture = True
    return function


def skip(reason: str = "") -> None:
    raise SkippedError(reason)


def fail(reason: str = "", **_: Any) -> None:
    raise AssertionError(reason)


class Marks:
    """`pytest.mark`: parametrize, and marks that change nothing."""

    parametrize = staticmethod(parametrize)

    def __getattr__(self, name: str) -> Any:
        if name in ("skip", "skipif", "xfail", "usefixtures"):
            raise MissingPartError(f"pytest.mark.{name}")
        return lambda *args, **_: args[0] if len(args) == 1 and callable(args[0]) else lambda function: function


def module() -> types.ModuleType:
    """A module `pytest` that holds the parts."""
    made = types.ModuleType("pytest")

    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingPartError(f"pytest.{name}")

    parts = {"raises": raises, "approx": Approx, "fixture": fixture, "skip": skip, "fail": fail, "mark": Marks()}
    made.__dict__.update(parts, param=lambda *values, **_: values, __getattr__=missing, main=lambda *_, **__: 0)
    return made


def run_function(function: Any, names: Mapping[str, Any], instance: Any = None) -> None:
    """Runs a test function, once for each row of its parameters, with the fixtures it asks for."""
    for rows in itertools.product(*getattr(function, "_rows", [])):
        values = {name: value for row in rows for name, value in row.items()}
        open_: list[Any] = []
        given: dict[str, Any] = {}
        bound = function if instance is None else function.__get__(instance)
        arguments = {name: _argument(name, values, names, given, open_, instance) for name in _asked(bound)}
        try:
            result = bound(**arguments)
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except SkippedError:
            pass
        finally:
            for generator in reversed(open_):
                next(generator, None)


def run_class(kind: type, names: Mapping[str, Any]) -> None:
    """Runs the test methods of a class, each on an object of its own."""
    getattr(kind, "setup_class", lambda: None)()
    for name in [name for name in dir(kind) if name.startswith("test")]:
        instance, method = kind(), inspect.getattr_static(kind, name)
        if not inspect.isfunction(method):
            continue
        getattr(instance, "setup_method", lambda *_: None)(*_one(getattr(instance, "setup_method", None), method))
        run_function(method, names, instance)
        getattr(instance, "teardown_method", lambda *_: None)(*_one(getattr(instance, "teardown_method", None), method))


def _argument(name: str, values: Any, names: Any, given: dict, open_: list, instance: Any) -> Any:
    """A parameter's value, or what the fixture of that name returns or yields."""
    if name in values:
        return values[name]
    if name not in given:
        found: Any = getattr(instance, name, None) if hasattr(type(instance), name) else names.get(name)
        if not getattr(found, "_fixture", False):
            raise MissingPartError(f"the fixture {name}")
        result = found(**{part: _argument(part, values, names, given, open_, instance) for part in _asked(found)})
        if inspect.isgenerator(result):
            open_.append(result)
            result = next(result)
        given[name] = result
    return given[name]


def _asked(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def _one(function: Any, method: Any) -> tuple[Any, ...]:
    return (method,) if function is not None and _asked(function) else ()


def _plain_row(row: Any) -> Any:
    return row[0] if isinstance(row, tuple) and len(row) == 1 else row
