"""The forms of test code: statements, `check(candidate)`, functions and classes of pytest, unittest, a main guard.

All that a file of tests defines is run: assertions that stand in a function that nobody calls would let any program
pass. Functions that the file itself calls when it runs are not run twice.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import random
import sys
import types
import unittest
from collections.abc import Callable
from typing import Any

from . import pytest_parts
from .candidate import add_site_names
from .judge import CheckJudge, Names


class ProgramModule(types.ModuleType):
    """A module under a name that test code imports the program by."""

    def __init__(self, name: str, names: Names):
        super().__init__(name)
        self.__dict__["_names"] = names

    def __getattr__(self, name: str) -> Any:
        try:
            return self._names[name]
        except KeyError:
            raise AttributeError(name) from None


class RaisedResult(unittest.TestResult):
    """The exceptions of test cases as they were raised."""

    def __init__(self):
        super().__init__()
        self.raised: list[BaseException] = []

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.raised.append(err[1])

    addFailure = addError  # noqa: N815

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.raised.append(err[1])

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self.raised.append(AssertionError(f"{test} passed, and is marked to fail"))


def run(judge: CheckJudge, setup: str, code: str) -> None:
    """Runs test code in every form it has; raises what a test raises.

    Args:
      judge: reaches the program.
      setup: runs before, in the same names; what it says of the entry is forgotten.
      code: test code.
    """
    entry = judge.task["entry"]
    add_site_names()  # here too: a test that leaves with `exit(1)` must not find the program's
    tree = ast.parse(code)
    start = {"__name__": "__main__", "__builtins__": __builtins__, "__file__": "<test>"}
    names = Names(judge, start, _modules(tree) - {entry})
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    for name in ("candidate", "solution", "program", *_imported(tree, entry)):
        sys.modules[name] = ProgramModule(name, names)
    if "random.seed" in code:
        _share_seeds(judge)
    sys.modules.setdefault("pytest", pytest_parts.module())
    unittest.main = lambda *_, **__: None  # pyright: ignore[reportAttributeAccessIssue]  # all cases are run below
    unittest.TextTestRunner.run = lambda *_: unittest.TestResult()  # pyright: ignore[reportAttributeAccessIssue]
    if setup:
        exec(compile(setup, "<setup>", "exec", dont_inherit=True), names)
        names.pop(entry, None)
        names.pop("candidate", None)
    before = dict(names)
    main.__dict__.update(names)
    try:
        exec(compile(tree, "<test>", "exec", dont_inherit=True), names)
    except SystemExit as error:
        if error.code or getattr(error, "described", None) is not None:
            raise
    called = _called(tree)
    own = {name: value for name, value in names.items() if before.get(name) is not value and name not in called}
    main.__dict__.update(own)
    _check(judge, own.get("check"), names)
    for name, value in own.items():
        if isinstance(value, type) and getattr(value, "__module__", "__main__") == "__main__":
            if issubclass(value, unittest.TestCase):
                _unittest(value)
            elif name.startswith("Test"):
                pytest_parts.run_class(value, own)
        elif inspect.isfunction(value) and value.__globals__ is names and name.startswith("test"):
            pytest_parts.run_function(value, own)


def _modules(tree: ast.Module) -> set[str]:
    """Modules of the standard library that test code uses by name, as in `math.isclose`; a program imported them."""
    used = (node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.id for node in used if isinstance(node, ast.Name)} & sys.stdlib_module_names


def _imported(tree: ast.Module, entry: str) -> set[str]:
    """Modules that the entry is imported from, with those they lie in: they stand for the program."""
    found = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == entry for alias in node.names)
    }
    parents = {name[:end] for name in found for end in range(len(name)) if name[end] == "."}
    return {name for name in found | parents if name.partition(".")[0] not in sys.stdlib_module_names}


def _share_seeds(judge: CheckJudge) -> None:
    """Seeds the program's random numbers with the test's: in Python the two are in one process."""
    original = random.seed

    def seed(*args: Any) -> None:
        original(*args)
        judge.ask({"do": "seed", "of": None, "args": judge.encode(args)})

    random.seed = seed


def _called(tree: ast.Module) -> set[str]:
    """Names of functions that the statements of a module call, those in the bodies of functions and classes aside."""
    found: set[str] = set()
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
        stack += ast.iter_child_nodes(node)
    return found


def _check(judge: CheckJudge, function: Callable[..., Any] | None, names: Names) -> None:
    """Calls a function `check` with the candidate, as HumanEval has it, if it takes one argument."""
    if not inspect.isfunction(function) or judge.task["entry"] == "check":
        return
    needed = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(needed) == 1:
        result = function(names["candidate"])
        if inspect.iscoroutine(result):
            asyncio.run(result)


def _unittest(case: type[unittest.TestCase]) -> None:
    result = RaisedResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    for error in result.raised:
        raise error
