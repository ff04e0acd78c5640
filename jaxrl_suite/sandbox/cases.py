"""Tests of a program: a call and its value, test code, and standard input with what must be printed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.inside import plain
from jaxrl_suite.sandbox.records import SHOWN


@dataclasses.dataclass(frozen=True)
class Case:
    """One call and what it must return.

    Args:
      args: plain data: None, bools, numbers (complex, Fraction and Decimal too), strings, bytes, lists, tuples, dicts,
        sets, deques, ranges, dates and times.
      expected: plain data; compared as `==` does, nan equal to nan.
      kwargs: the same, by name.
      tolerance: largest absolute or relative difference of floats.

    Raises:
      UserError: if a value is not plain data, or the tolerance is negative.
    """

    args: tuple[Any, ...]
    expected: Any
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tolerance: float = 0.0

    def __post_init__(self):
        _check_tolerance(self.tolerance)
        for value in (self.args, dict(self.kwargs), self.expected):
            try:
                plain.check(plain.encode(value))
            except plain.NotPlainError as error:
                raise UserError(f"a test holds {error}: use numbers, strings, lists, tuples, dicts and sets") from None

    def __str__(self) -> str:
        shown = [plain.show(plain.encode(value), SHOWN) for value in (*self.args, *self.kwargs.values())]
        named = [f"{name}={value}" for name, value in zip(self.kwargs, shown[len(self.args) :], strict=True)]
        return plain.shorten(", ".join(shown[: len(self.args)] + named), SHOWN)


@dataclasses.dataclass(frozen=True)
class Check:
    """Test code that passes if it calls the program and raises nothing.

    All that it defines is run: statements, those under `if __name__ == "__main__"`, a function `check`, which is called
    with the candidate as HumanEval has it, functions and classes of pytest's form, and test cases of unittest. The
    entry is there by its name and as `candidate`; other names of the program are there too, unless the test code or
    `setup` defines them. pytest is not in the sandbox; its `raises`, `approx`, fixtures and parameters are.

    Args:
      code: test code.
      setup: trusted code that runs before it, a prompt for instance, whose imports and helpers the test uses. A helper
        that stands in the program alone is the program's word.
    """

    code: str
    setup: str = ""


@dataclasses.dataclass(frozen=True)
class StdinCase:
    """Standard input and what a program must print, as in programming contests; words are compared, not spaces.

    Args:
      stdin: text that the program reads.
      stdout: text that it must print, at least one word.
      tolerance: largest absolute or relative difference of numbers that have a point or an exponent.

    Raises:
      UserError: if nothing must be printed, or the tolerance is negative.
    """

    stdin: str
    stdout: str
    tolerance: float = 0.0

    def __post_init__(self):
        _check_tolerance(self.tolerance)
        if not self.stdout.split():
            raise UserError("a case without output tests nothing: give stdout at least one word")

    def __str__(self) -> str:
        return plain.shorten(repr(self.stdin), SHOWN)

    def accepts(self, printed: str) -> bool:
        """True if a program that printed this has solved it."""
        expected, actual = self.stdout.split(), printed.split()
        return len(expected) == len(actual) and all(map(self._same, expected, actual))

    def _same(self, expected: str, actual: str) -> bool:
        if expected == actual:
            return True
        if not self.tolerance or not set(".eE") & set(expected):
            return False
        try:
            first, second = float(expected), float(actual)
        except ValueError:
            return False
        return math.isfinite(first) and abs(first - second) <= self.tolerance * max(1.0, abs(first))


Test = Case | Check | StdinCase


def _check_tolerance(tolerance: float) -> None:
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UserError(f"tolerance must be a number of at least 0, got {tolerance}")
