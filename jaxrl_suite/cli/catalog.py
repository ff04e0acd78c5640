"""The catalogue of what there is to run, read from the sources without importing them, so that listing is quick.

An experiment of the package is a folder: `config.py` with a frozen dataclass `Config` that has `seeds`, and `PRESETS`
(name to config, "quick" among them), at the bottom, its parts above it, and `experiment.py` on top, with a docstring,
`SYSTEM`, `CLAIMS` and `main(config, run)`. It is found by the name of its folder. One of your own is found by its path:
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
from pathlib import Path
from types import ModuleType

from jaxrl_suite.cli.sources import Field, fields_of, literal, read_source
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
