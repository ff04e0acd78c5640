"""One error type: what a user can cause is a `UserError`, in every package."""

import ast
from pathlib import Path

from jaxrl_suite.envs.check import EnvError
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.recording import RecordingError

ROOT = Path(__file__).parents[1]
PLAIN = {"ValueError", "TypeError", "KeyError", "IndexError", "LookupError", "RuntimeError", "Exception"}
CAUGHT_BESIDE = {"jaxrl_suite/evolve/journal.py", "jaxrl_suite/llm/recording.py"}  # a torn line, seen by its reader


def raised(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            yield node.lineno, ast.unparse(error)


def test_no_module_raises_a_plain_error_at_a_user():
    plain = [
        f"{name}:{line} raises {error}"
        for folder in ("envs", "jaxrl_suite", "experiments")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not (name := path.relative_to(ROOT).as_posix()).startswith("jaxrl_suite/sandbox/inside/")  # another process
        and name not in CAUGHT_BESIDE
        for line, error in raised(path)
        if error in PLAIN
    ]
    assert plain == []


def test_errors_of_their_own_are_user_errors_and_those_are_value_errors():
    assert issubclass(EnvError, UserError)
    assert issubclass(RecordingError, UserError)
    assert issubclass(UserError, ValueError)
