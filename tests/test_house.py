"""The shape of the house: sizes of modules and folders, and no two files that import each other."""

import ast
from collections import Counter
from pathlib import Path

TOP = Path(__file__).parent.parent
MOST_LINES, MOST_MODULES = 300, 20


def modules() -> dict[str, Path]:
    """Import name to file, for all modules of envs, jaxrl_suite and experiments."""
    found = {}
    for folder, package in (
        ("envs", "jaxrl_suite.envs"),
        ("experiments", "jaxrl_suite.experiments"),
        ("jaxrl_suite", "jaxrl_suite"),
    ):
        for path in (TOP / folder).rglob("*.py"):
            parts = path.relative_to(TOP / folder).with_suffix("").parts
            if folder == "jaxrl_suite" and parts[0] in ("envs", "experiments"):
                continue  # links to the folders above
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it, for types alone too."""
    targets = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            targets |= inside or {node.module}
        elif isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
    return targets & MODULES.keys() - {name}


def test_finds_the_package():
    assert len(MODULES) > 300
    assert "jaxrl_suite.core.run" in MODULES
    assert "jaxrl_suite.core.config" in imports("jaxrl_suite.core.run")


def test_modules_are_short():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_a_folder_is_small():
    sizes = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_no_two_files_import_each_other():
    graph = {name: imports(name) for name in MODULES}
    assert [(a, b) for a in graph for b in graph[a] if a < b and a in graph.get(b, ())] == []
