"""The catalogue of what there is to run, read from the sources without importing them, so that listing is quick.

An experiment of the package is a folder: `config.py` with a frozen dataclass `Config` that has `seeds`, and `PRESETS`
(name to config, "quick" among them), at the bottom, its parts above it, and `experiment.py` on top, with a docstring,
`SYSTEM`, `CLAIMS` and `main(config, run)`; with `check(config)` it may refuse what is not there, such as a file or a
server, before a run begins. It is found by the name of its folder. One of your own is found by its path:
a file that holds all of this. Fields of a config may be configs themselves, `--maze.levels 8`. Where a field is called
otherwise than it was, `RENAMED` beside the config leads from its old path to the new one: old options are refused with
the new name, and run folders of earlier versions can be continued.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxrl_suite.core.report import System
from jaxrl_suite.errors import UserError, suggest

PACKAGE = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a config."""

    name: str
    type: str
    default: str
    comment: str
    fields: tuple[Field, ...] = ()  # of a config in a config


@dataclasses.dataclass(frozen=True)
class Source:
    """A module that was parsed."""

    path: Path
    tree: ast.Module
    lines: list[str]
    constants: dict[str, ast.expr]  # what its names are set to


def read_source(path: Path) -> Source:
    """Parses a module.

    Raises:
      UserError: if it cannot be read or is not Python.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read the experiment {path}: {error}".replace("\n", " ")) from None
    return Source(path, tree, text.splitlines(), {name: value for node in tree.body for name, value in _assigned(node)})


def literal(node: ast.expr | None, default: Any) -> Any:
    """The value of an expression that is a literal."""
    try:
        return default if node is None else ast.literal_eval(node)
    except ValueError:
        return default


def fields_of(source: Source, name: str) -> tuple[Field, ...]:
    """The fields of a dataclass of a module, those of nested ones in them; none where there is no such class."""
    config = next((node for node in source.tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    nodes = [node for node in config.body if isinstance(node, ast.AnnAssign)] if config else []
    return tuple(_field(source, node, node.target.id) for node in nodes if isinstance(node.target, ast.Name))


def leaves(fields: tuple[Field, ...], prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Path and field of all that can be set."""
    for field in fields:
        if field.fields:
            yield from leaves(field.fields, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field


def _field(source: Source, node: ast.AnnAssign, name: str) -> Field:
    end = source.lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset or 0 :].decode()
    comment = end.partition("#")[2].strip()
    kind = ast.unparse(node.annotation)
    if (found := _find_dataclass(source, kind)) is not None:
        inner = _with_defaults(fields_of(found, kind), node.value)
        return Field(name, kind, "", comment or _summary(found, kind), inner)
    default = ast.unparse(node.value) if node.value is not None else ""
    return Field(name, _type(node.annotation, source.constants), default, comment)


def _with_defaults(fields: tuple[Field, ...], default: ast.expr | None) -> tuple[Field, ...]:
    """The fields of a nested config, with the defaults of `Maze(levels=8)` in place of the class's own."""
    if not isinstance(default, ast.Call):
        return fields
    given = {field.name: value for field, value in zip(fields, default.args, strict=False)}
    given |= {word.arg: word.value for word in default.keywords if word.arg}
    return tuple(
        dataclasses.replace(field, fields=_with_defaults(field.fields, given.get(field.name)))
        if field.fields
        else dataclasses.replace(
            field, default=ast.unparse(given[field.name]) if field.name in given else field.default
        )
        for field in fields
    )


def _find_dataclass(source: Source, name: str) -> Source | None:
    """The module in which a name is the class of a config: this one, or one of the package that it is imported from."""
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return source if any("dataclass" in ast.unparse(mark) for mark in node.decorator_list) else None
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and (path := _module(source, node)) is not None:
                    return _find_dataclass(read_source(path), alias.name)
    return None


def _module(source: Source, node: ast.ImportFrom) -> Path | None:
    """The file of a module of this package, or beside the source."""
    parts = (node.module or "").split(".")
    base = source.path.parent
    if parts[0] == PACKAGE.name and not node.level:
        base, parts = PACKAGE, parts[1:]
    elif node.level > 1:
        base = source.path.parents[node.level - 1]
    place = base.joinpath(*filter(None, parts))
    options = (place.with_suffix(".py"), place / "__init__.pyi", place / "__init__.py")
    return next((path for path in options if path.is_file()), None)


def _summary(source: Source, name: str) -> str:
    """The first line of a class's docstring."""
    node = next(node for node in source.tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        return [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [(node.target.id, node.value)]
    return []


def _type(annotation: ast.expr, constants: dict[str, Any]) -> str:
    """An annotation as what to type: `int`, `carry|discard`, and `int,...` for several separated by commas."""
    if isinstance(annotation, ast.Name) and isinstance(constants.get(annotation.id), ast.Subscript):
        annotation = constants[annotation.id]
    if isinstance(annotation, ast.Subscript):
        inside = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        kind = ast.unparse(annotation.value).rpartition(".")[2]
        if kind == "Literal":
            return "|".join(str(item.value) for item in inside if isinstance(item, ast.Constant))
        if kind == "tuple" and len(inside) == 2 and ast.unparse(inside[1]) == "...":
            return f"{_type(inside[0], constants)},..."
    return ast.unparse(annotation)


SYSTEMS = (
    System("DDRL", "Dataset distillation for offline reinforcement learning", "arXiv 2407.20299"),
    System("Strategist", "Bi-level tree search over strategies", "arXiv 2408.10635"),
    System("AvalonBench", "Agents in the game of Avalon", "arXiv 2310.05036"),
    System("PIANIST", "World models written by a language model", "arXiv 2411.15998"),
    System("DISC", "Dynamic decomposition of inference", "arXiv 2502.16706"),
    System("SFS", "Scattered forest search for code", "arXiv 2411.05010"),
    System("DivSampling", "Diversity of samples and inference scaling", "arXiv 2502.11027"),
    System("TDRM", "Temporal-difference reward models", "arXiv 2509.15110"),
    System("Actor-Curator", "Curricula as bandits in post-training", "arXiv 2602.20532"),
    System("AutoML market", "Pricing of data for automated learning", "arXiv 2310.17843"),
    System("Data values", "Data values as sequential decisions", "arXiv 2502.04554"),
)


CONFIG, MAIN = "config.py", "experiment.py"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment as its source describes it."""

    name: str
    path: Path
    summary: str  # first line of the docstring
    system: str
    claims: tuple[str, ...]
    presets: tuple[str, ...]
    fields: tuple[Field, ...]
    renamed: dict[str, str]  # old path to new path of fields of the config
    module: str | None  # its import name; None for a file outside the package


def experiments_folder() -> Path:
    """The folder of the package's experiments and of the published claims."""
    return Path(__file__).resolve().parent.parent / "experiments"


def discover(folder: Path | None = None) -> dict[str, Experiment]:
    """The experiments of the package by name; `folder` looks elsewhere."""
    module = "jaxrl_suite.experiments" if folder is None else None
    found = sorted((folder or experiments_folder()).glob(f"*/{MAIN}"))
    names = [(path, path.parent.name) for path in found if (path.parent / CONFIG).exists()]
    return {name: describe(path, f"{module}.{name}.{path.stem}" if module else None) for path, name in names}


def find(name: str) -> Experiment:
    """The experiment of that name, or in the file of that path.

    Raises:
      UserError: if there is none.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UserError(
                f"there is no file {name}: give the path of an experiment, or a name from `jaxrl-suite list`"
            )
        return describe(Path(name).resolve(), None)
    experiments = discover()
    if name not in experiments:
        raise UserError(f"unknown experiment {name!r}{suggest(name, experiments)}")
    return experiments[name]


def describe(path: Path, module: str | None) -> Experiment:
    """Reads an experiment's source.

    Raises:
      UserError: if it cannot be read or is not Python.
    """
    inside = path.name == MAIN and (path.parent / CONFIG).exists()
    sources = [read_source(file) for file in ([path.parent / CONFIG, path] if inside else [path])]
    summary = (ast.get_docstring(sources[-1].tree) or "").partition("\n")[0].rstrip()
    constants = {name: value for source in sources for name, value in source.constants.items()}
    presets = constants.get("PRESETS")
    keys = [key.value for key in presets.keys if isinstance(key, ast.Constant)] if isinstance(presets, ast.Dict) else []
    return Experiment(
        name=path.parent.name if inside else path.stem,
        path=path,
        summary=summary,
        system=literal(constants.get("SYSTEM"), ""),
        claims=tuple(literal(constants.get("CLAIMS"), ())),
        presets=tuple(str(key) for key in keys),
        fields=fields_of(sources[0], "Config"),
        renamed=literal(constants.get("RENAMED"), {}),
        module=module,
    )


def load(experiment: Experiment) -> ModuleType:
    """Imports an experiment and checks that it has what the command needs.

    Raises:
      UserError: if a part is missing.
    """
    if experiment.module is not None:
        module = importlib.import_module(experiment.module)
    else:
        name = f"_jaxrl_suite_experiment_{experiment.name}"
        spec = importlib.util.spec_from_file_location(name, experiment.path)
        if spec is None or spec.loader is None:
            raise UserError(f"cannot import {experiment.path}: an experiment is a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
    for part in ("Config", "PRESETS", "main"):
        if not hasattr(module, part):
            raise UserError(
                f"{experiment.path} has no {part}: an experiment defines Config, PRESETS and main(config, run)"
            )
    if not dataclasses.is_dataclass(module.Config):
        raise UserError(
            f"Config of {experiment.path} is no dataclass: write @dataclasses.dataclass(frozen=True) above it"
        )
    return module


def systems(experiments: dict[str, Experiment]) -> tuple[System, ...]:
    """The systems with the experiments that serve each; one is built if it has any."""
    rows = []
    for system in SYSTEMS:
        names = tuple(e.name for e in experiments.values() if e.system == system.name)
        rows.append(dataclasses.replace(system, built=bool(names), experiments=names))
    return tuple(rows)
