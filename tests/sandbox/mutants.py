"""Mutants of Python functions: one operator, constant or branch changed; and a plain run of tests, to see which break.

`main` reads JSON [[program, test code, name], ...] from standard input and prints the outcome of each: "" if it ran to
its end, else what stopped it. Each runs in a process of its own, without a sandbox: for our own texts only.
"""

import ast
import copy
import json
import os
import signal
import sys

OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitXor: ast.BitOr, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt,
    ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
SECONDS = 3


def mutants(source: str, first_line: int) -> list[str]:
    """Programs that differ from `source` in one place at or after a line; a value returned changes last."""
    tree = ast.parse(source)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found, returned = [], []
    for place, node in enumerate(ast.walk(tree)):
        if getattr(node, "lineno", 0) < first_line or id(node) in documented:
            continue
        for change in range(len(changes(node))):
            twin = copy.deepcopy(tree)
            changes(list(ast.walk(twin))[place])[change]()
            group = returned if isinstance(node, ast.Return) else found
            group.append(ast.unparse(ast.fix_missing_locations(twin)))
    return found + returned  # eight of HumanEval's solutions have no other place


def changes(node: ast.AST) -> list:
    """Functions that change a node in place, each its own way."""
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in OTHER:
        return [lambda: setattr(node, "op", OTHER[type(node.op)]())]
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
        return [lambda: node.ops.__setitem__(0, OTHER[type(node.ops[0])]())]
    if isinstance(node, (ast.If, ast.IfExp)):
        return [lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))]
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str)):
        value = node.value
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, (int, float)) else value + "x"
        return [lambda: setattr(node, "value", other)]
    if isinstance(node, ast.Return) and node.value is not None:
        return [lambda: setattr(node, "value", ast.Constant(None))]
    return []


def plain_run(program: str, test: str, name: str) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        problem = "ended"
        try:
            signal.alarm(SECONDS)
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            space = {"__name__": "program"}
            exec(program, space)
            exec(test, space)
            if "check" in space:
                space["check"](space[name])
            problem = ""
        except BaseException as error:
            problem = type(error).__name__
        os.write(writer, problem.encode() or b"-")
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 100).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return "" if answer == "-" else answer or "timeout"


def main():
    json.dump([plain_run(*item) for item in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
