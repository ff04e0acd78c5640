"""What there is to run, read from the sources without importing them, so that listing is quick.

An experiment of the package is a folder: `config.py` with a frozen dataclass `Config` that has `seeds`, and `PRESETS`
(name to config, "quick" among them), at the bottom, its parts above it, and `experiment.py` on top, with a docstring,
`SYSTEM`, `CLAIMS` and `main(config, run)`. It is found by the name of its folder. One of your own is found by its path:
a file that holds all of this.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxrl_suite.core.report import System
from jaxrl_suite.errors import UserError, suggest

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
class Field:
    """A field of an experiment's config, as its source says it."""

    name: str
    type: str
    default: str
    comment: str


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
    module: str | None  # its import name; None for a file outside the package


def experiments_folder() -> Path:
    """Where the package keeps its experiments and the table of claims."""
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
    sources = {file: _parse(file) for file in ([path.parent / CONFIG, path] if inside else [path])}
    (below, tree), on_top = next(iter(sources.values())), sources[path][1]
    summary = (ast.get_docstring(on_top) or "").partition("\n")[0].rstrip()
    constants = {
        name: value for _, body in sources.values() for node in body.body for name, value in _assignments(node)
    }
    presets = constants.get("PRESETS")
    keys = [key.value for key in presets.keys if isinstance(key, ast.Constant)] if isinstance(presets, ast.Dict) else []
    config = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Config"), None)
    return Experiment(
        name=path.parent.name if inside else path.stem,
        path=path,
        summary=summary,
        system=_literal(constants.get("SYSTEM"), ""),
        claims=tuple(_literal(constants.get("CLAIMS"), ())),
        presets=tuple(str(key) for key in keys),
        fields=_fields(config, below.splitlines(), constants) if config else (),
        module=module,
    )


def _parse(path: Path) -> tuple[str, ast.Module]:
    try:
        source = path.read_text(encoding="utf-8")
        return source, ast.parse(source)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read the experiment {path}: {error}".replace("\n", " ")) from None


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


def _assignments(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        return [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [(node.target.id, node.value)]
    return []


def _literal(node: ast.expr | None, default: Any) -> Any:
    try:
        return default if node is None else ast.literal_eval(node)
    except ValueError:
        return default


def _fields(config: ast.ClassDef, lines: list[str], constants: dict[str, Any]) -> tuple[Field, ...]:
    fields = []
    for node in config.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            end = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset or 0 :].decode()
            default = ast.unparse(node.value) if node.value is not None else ""
            comment = end.partition("#")[2].strip()
            fields.append(Field(node.target.id, _type(node.annotation, constants), default, comment))
    return tuple(fields)


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
