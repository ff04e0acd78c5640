"""Paths of fields in nested configs, such as `maze.levels`, and configs that were written before a field was renamed.

A path has underscores and dots; as an option it has hyphens and dots, `--maze.num-levels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jaxrl_suite.errors import suggest

KIND = "kind"  # names the class where a field allows more than one dataclass


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a config's JSON by path, in order."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def option(path: str) -> str:
    """A path as it is typed."""
    return f"--{path.replace('_', '-')}"


def suggest_path(path: str, paths: Iterable[str]) -> str:
    """The end of an error message about an unknown path: the nearest one, by its last name where the whole is far."""
    paths = list(paths)
    last = path.rpartition(".")[2]
    same = [known for known in paths if known.rpartition(".")[2] == last]
    if same:
        return f". Did you mean {' or '.join(same[:4])}?"
    end = suggest(path, paths)
    if "Did you mean" not in end:
        ends = {known.rpartition(".")[2]: known for known in paths}
        name = suggest(last, ends).removeprefix(". Did you mean ").removesuffix("?")
        end = f". Did you mean {ends[name]}?" if name in ends else end
    return end


def renamed_path(path: str, renamed: Mapping[str, str]) -> str | None:
    """The path of a field today, or None if it was not renamed.

    Args:
      path: of a field, or of a config that holds it.
      renamed: old path to new path, each of a field or of a whole nested config; one name may lead to the next.
    """
    current, seen = path, {path}
    while True:
        heads = [current[:end] for end, sign in enumerate(current + ".") if sign == "."]
        head = next((head for head in reversed(heads) if head in renamed), None)
        if head is None:
            return None if current == path else current
        current = renamed[head] + current[len(head) :]
        if current in seen:
            return current
        seen.add(current)


def move_renamed(data: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """A config's JSON with the values of renamed fields where they are today."""
    moved: dict[str, Any] = {}
    for path, value in flatten(data).items():
        *parents, name = (renamed_path(path, renamed) or path).split(".")
        inner = moved
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value
    return moved


def overlay(base: Any, data: Any) -> Any:
    """`base` with the values of `data`, nested mappings field by field."""
    if not (isinstance(base, dict) and isinstance(data, dict)) or base.get(KIND) != data.get(KIND):
        return data
    return base | {name: overlay(base.get(name), value) for name, value in data.items()}
