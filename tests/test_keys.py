"""Every key of jax.random is used once: split, drawn from, or folded with different numbers, and no two of these.

With jax 0.10 `split(key, n)[i]` is `fold_in(key, i)`, so a key that is both split and folded gives one stream twice.
The check reads the source of each function: uses of a name in their order, until it is assigned again.
"""

import ast
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("jaxrl_suite", "envs", "experiments", "examples")
NEITHER = {"key", "PRNGKey", "key_data", "wrap_key_data", "key_impl", "clone", "bits_dtype"}
BUILT_IN = {"len", "list", "zip", "enumerate", "print", "isinstance", "sorted", "issubdtype"}
ALLOWED = {
    ("jaxrl_suite/strategist/learners/deeprole/play.py", "key"): "of three draws by one key, the phase takes one",
}


class Keys(ast.NodeVisitor):
    """Uses of keys in one module; `found` has the second use of each that is used twice."""

    def __init__(self):
        self.used: dict[str, str] = {}
        self.found: list[tuple[int, str, str]] = []

    def visit_FunctionDef(self, node):
        self._scope(node, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_Lambda(self, node):
        self._scope(node, [node.body])

    def _scope(self, node, body):
        before = dict(self.used)
        arguments = node.args
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self._forget(one.arg)
        for part in body:
            self.visit(part)
        self.used = before

    def visit_If(self, node):
        self.visit(node.test)
        self._branches([node.body, node.orelse])

    def visit_IfExp(self, node):
        self.visit(node.test)
        self._branches([[node.body], [node.orelse]])

    def _branches(self, branches):
        before, after = dict(self.used), {}
        for body in branches:
            self.used = dict(before)
            for part in body:
                self.visit(part)
            if not (body and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))):
                after |= self.used
        self.used = after

    def visit_Assign(self, node):
        self.visit(node.value)
        for target in node.targets:
            self._assigned(target)

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)
        self._assigned(node.target)

    def visit_NamedExpr(self, node):
        self.visit(node.value)
        self._assigned(node.target)

    def visit_For(self, node):
        self.visit(node.iter)
        for _ in range(2):  # the second time after the first
            self._assigned(node.target)
            for part in node.body:
                self.visit(part)
        for part in node.orelse:
            self.visit(part)

    def visit_While(self, node):
        for _ in range(2):
            for part in (node.test, *node.body):
                self.visit(part)
        for part in node.orelse:
            self.visit(part)

    def visit_comprehension(self, node):
        self.visit(node.iter)
        self._assigned(node.target)
        for part in node.ifs:
            self.visit(part)

    def _comprehension(self, node):
        before = dict(self.used)
        for part in (
            *node.generators,
            *(getattr(node, name) for name in ("key", "value", "elt") if hasattr(node, name)),
        ):
            self.visit(part)
        self.used = {name: use for name, use in self.used.items() if name in before} | before

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension  # noqa: N815

    def _assigned(self, target):
        for part in ast.walk(target):
            if isinstance(part, (ast.Name, ast.Attribute)):
                self._forget(ast.unparse(part))

    def _forget(self, name):
        self.used = {key: use for key, use in self.used.items() if key != name and not key.startswith(f"{name}.")}

    def visit_Call(self, node):
        self.generic_visit(node)
        what = self._of_random(node.func)
        place = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "key"), None)
        if what is None:
            return self._passed(node)
        if not isinstance(place, (ast.Name, ast.Attribute)):
            return
        name, use = ast.unparse(place), {"split": "split", "fold_in": "folded"}.get(what, "drawn from")
        before = self.used.get(name)
        if before is not None and (before, use) != ("folded", "folded"):
            self.found.append((node.lineno, name, f"{before}, then {use}"))
        self.used[name] = use

    def _passed(self, node):
        """A key that another function gets is used by it; that two functions get one key is for them to settle."""
        last = ast.unparse(node.func).split(".")[-1]
        if last in BUILT_IN or last[:1].isupper() or ast.unparse(node.func).startswith("jax.random."):
            return  # a record keeps it for later
        for place in (*node.args, *(word.value for word in node.keywords)):
            name = ast.unparse(place)
            if isinstance(place, (ast.Name, ast.Attribute)) and name.endswith(("key", "keys")):
                if self.used.get(name, "passed on") != "passed on":
                    self.found.append((node.lineno, name, f"{self.used[name]}, then passed on"))
                self.used.setdefault(name, "passed on")

    def _of_random(self, function):
        """The name of a function of jax.random, also under vmap."""
        if isinstance(function, ast.Call) and ast.unparse(function.func) in ("jax.vmap", "vmap") and function.args:
            return self._of_random(function.args[0])
        text = ast.unparse(function)
        name = text.removeprefix("jax.random.")
        return name if text != name and name.isidentifier() and name not in NEITHER else None


def found_in(source):
    keys = Keys()
    keys.visit(ast.parse(source))
    return keys.found


CAUGHT = {
    "split and folded": "a, b = jax.random.split(key)\nc = jax.random.fold_in(key, 1)",
    "folded and split": "c = jax.random.fold_in(key, 1)\nkeys = jax.random.split(key, 3)",
    "split twice": "a = jax.random.split(key)\nb = jax.random.split(key, 3)",
    "drawn from twice": "a = jax.random.normal(key)\nb = jax.random.uniform(key, (2,))",
    "drawn from and split": "a = jax.random.normal(key)\nb = jax.random.split(key)",
    "by name": "a = jax.random.normal(key=key)\nb = jax.random.split(key)",
    "under vmap": "a = jax.vmap(jax.random.split)(keys)\nb = jax.vmap(jax.random.fold_in, (0, None))(keys, 3)",
    "of a record": "a = jax.random.split(state.key)\nb = jax.random.fold_in(state.key, 3)",
    "within a function": "a = jax.random.split(key)\ndef f():\n    return jax.random.fold_in(key, 1)",
    "in a branch": "if x:\n    a = jax.random.split(key)\nb = jax.random.fold_in(key, 1)",
    "in a loop": "for i in x:\n    b = jax.random.fold_in(key, i)\na = jax.random.split(key)",
}
CAUGHT |= {
    "passed on and folded": "state = init(net, keys)\nnow = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)",
    "from turn to turn": "for i in x:\n    key, a = jax.random.split(key)\n    f(a, jax.random.fold_in(key, 1))",
}
FINE = {
    "assigned again": "key, a = jax.random.split(key)\nkey, b = jax.random.split(key)",
    "folded twice": "a = jax.random.fold_in(key, 1)\nb = jax.random.fold_in(key, 2)",
    "either way": "if x:\n    a = jax.random.split(key)\nelse:\n    b = jax.random.fold_in(key, 1)",
    "returned": "def f(key):\n    if x:\n        return jax.random.split(key)\n    return jax.random.fold_in(key, 1)",
    "another's": "a = jax.random.split(key)\nf = lambda key: jax.random.normal(key)",
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_second_use_is_caught(name):
    assert found_in(CAUGHT[name])


@pytest.mark.parametrize("name", FINE)
def test_one_use_is_fine(name):
    assert not found_in(FINE[name])


def test_a_split_key_is_a_folded_key():
    """Why the rule is there; where this fails, the rule may be loosened."""
    key = jax.random.key(3)
    folded = [jax.random.fold_in(key, i) for i in range(3)]
    np.testing.assert_array_equal(
        jax.random.key_data(jax.random.split(key, 3)), np.stack([jax.random.key_data(one) for one in folded])
    )


def test_every_key_of_the_product_is_used_once():
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 200
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name} is {how}"
        for path in files
        for line, name, how in found_in(path.read_text(encoding="utf-8"))
        if (path.relative_to(ROOT).as_posix(), name) not in ALLOWED
    ]
    assert not found, "\n".join(found)
