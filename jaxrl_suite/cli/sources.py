"""Configs as their source says them, read without importing it: names, types, defaults and comments of fields."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxrl_suite.errors import UserError

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
