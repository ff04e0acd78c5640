"""Frozen dataclasses as JSON, their hash, and overrides from a command line that are checked against the field's type.

Fields may be bool, int, float, str, None, `Path`, `Literal`, `tuple`, a union of these, or another dataclass. Nothing
is coerced silently: an int is accepted for a float field, everything else must have the type that is written.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from jaxrl_suite.core.config_paths import KIND, flatten, move_renamed, overlay, suggest_path
from jaxrl_suite.errors import UserError, suggest

T = TypeVar("T")

_NONFINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "none"}
_BOOLS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


def check_ranges(config: Any, **ranges: tuple[float, float]) -> None:
    """For a config's `__post_init__`: each field named must lie in its (low, high), in a tuple each of its values.

    Raises:
      UserError: for the first that does not.
    """
    for name, (low, high) in ranges.items():
        field = getattr(config, name)
        for value in field if isinstance(field, tuple) else (field,):
            if not low <= value <= high:
                subject = f"each of {name}" if isinstance(field, tuple) else name
                raise UserError(f"{subject} must be {low} to {high}, got {value}")


def check_choices(config: Any, **options: Iterable[Any]) -> None:
    """For a config's `__post_init__`: each field named must be one of the options.

    Raises:
      UserError: for the first that is not.
    """
    for name, allowed in options.items():
        if (value := getattr(config, name)) not in (listed := list(allowed)):
            raise UserError(f"unknown {name} {value!r}{suggest(str(value), map(str, listed))}")


def check_distinct(config: Any, *names: str) -> None:
    """For a config's `__post_init__`: the tuples named must have at least one value and none twice.

    Raises:
      UserError: for the first that does not.
    """
    for name in names:
        values = getattr(config, name)
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name} must have at least one value and none twice, got {values}")


def to_json(config: Any) -> Any:
    """A dataclass as JSON values: dataclasses become dicts, tuples lists, non-finite floats strings.

    Args:
      config: a dataclass instance, or a value that a field of one may hold.

    Raises:
      UserError: if a value has a type that a config may not hold.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        hints = field_types(type(config))
        return {name: _encode(getattr(config, name), hint, name) for name, hint in hints.items()}
    return _encode(config, type(config), "value")


def from_json(cls: type[T], data: Any) -> T:
    """The inverse of `to_json`; fields that are missing take their default.

    Raises:
      UserError: if `data` holds an unknown field, or a value of another type than the field's.
    """
    return _decode(cls, data, "", text=False)


def update_json(cls: type, data: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The JSON of a config that an earlier version wrote, as today's version would write it.

    Args:
      cls: the config's class today; a field that `data` does not have takes its default.
      data: what was written.
      renamed: old path to new path, see `config_paths.renamed_path`.

    Raises:
      UserError: if a field has no place in `cls`, or a value is refused there.
    """
    moved = move_renamed(data, renamed)
    needed = any(f.default is f.default_factory is dataclasses.MISSING for f in dataclasses.fields(cls) if f.init)
    return to_json(from_json(cls, moved if needed else overlay(to_json(cls()), moved)))


def field_types(cls: type) -> dict[str, Any]:
    """The init fields of a dataclass with their resolved annotations, in order."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def config_hash(config: Any, length: int = 8) -> str:
    """The first `length` hexadecimal digits of a hash that is the same on every machine and in every process."""
    text = json.dumps([type(config).__name__, to_json(config)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def override(config: T, changes: Mapping[str, Sequence[str]]) -> T:
    """A copy of `config` with fields set from text, as a command line gives it.

    Args:
      config: a frozen dataclass; its own validation runs again.
      changes: path (`-` and `_` are the same, `game.num_cards` reaches into a nested config) to its words. A
        tuple takes any number of words, also separated by commas; a bool field with no word becomes True.

    Raises:
      UserError: for an unknown field (with the nearest one), a word of the wrong type, or a value that the
        config's own validation refuses.
    """
    return _override(config, {name.replace("-", "_"): words for name, words in changes.items()}, "", _paths(config))


def _override(config: T, changes: Mapping[str, Sequence[str]], prefix: str, paths: Sequence[str]) -> T:
    """`override` of the config at `prefix`; `paths` are those of the whole, for errors."""
    grouped: dict[str, dict[str, Sequence[str]]] = {}
    hints = field_types(type(config))
    for name, words in changes.items():
        head, _, rest = name.partition(".")
        if head not in hints:
            raise UserError(f"unknown field {prefix + name!r}{suggest_path(prefix + name, paths)}")
        grouped.setdefault(head, {})[rest] = words
    values = {}
    for head, parts in grouped.items():
        current, path = getattr(config, head), prefix + head
        if "" in parts:
            if len(parts) > 1 or dataclasses.is_dataclass(current):
                inner = ", ".join(f"{path}.{name}" for name in field_types(type(current)))
                raise UserError(f"field {path!r} is a config of its own: set its fields ({inner})")
            values[head] = _from_words(hints[head], parts[""], path)
        elif dataclasses.is_dataclass(current):
            values[head] = _override(current, parts, f"{path}.", paths)
        else:
            raise UserError(f"field {path!r} has no field {next(iter(parts))!r}: write --{path} VALUE")
    try:
        return dataclasses.replace(config, **values)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        if not prefix:
            raise
        raise UserError(f"{prefix.removesuffix('.')}: {error}") from None


def _paths(config: Any) -> list[str]:
    """The paths of all fields, in order."""
    return [path for path in flatten(to_json(config)) if path.rpartition(".")[2] != KIND]


def type_name(hint: Any) -> str:
    """An annotation as a reader of an error message wants it, for instance "whole numbers"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(a) for a in args)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return f"a list, each of it {type_name(args[0])}"
        return "(" + ", ".join(type_name(a) for a in args) + ")"
    return _WORDS.get(hint) or getattr(hint, "__name__", str(hint))


def _encode(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        encoded = to_json(value)
        several = [a for a in typing.get_args(hint) if dataclasses.is_dataclass(a)]
        return {KIND: type(value).__name__, **encoded} if len(several) > 1 else encoded
    if isinstance(value, (tuple, list)):
        args = typing.get_args(hint)
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        inner += [None] * (len(value) - len(inner))
        return [_encode(v, h, where) for v, h in zip(value, inner, strict=False)]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) or (hint is float and isinstance(value, int)):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, int):
        return value
    raise UserError(
        f"field {where!r} holds a {type(value).__name__}: a config may hold numbers, text, tuples and configs"
    )


def _decode(hint: Any, data: Any, where: str, *, text: bool) -> Any:
    """`data` as a value of type `hint`; with `text`, numbers and bools are read from strings."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    wrong = UserError(f"{where or 'config'} must be {type_name(hint)}, got {data!r}")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(data, dict):
            raise wrong
        hints = field_types(hint)
        for name in data:
            if name not in hints and name != KIND:
                raise UserError(f"unknown field {name!r} in {hint.__name__}{suggest(name, hints)}")
        prefix = f"{where}." if where else ""
        given = {n: _decode(h, data[n], prefix + n, text=text) for n, h in hints.items() if n in data}
        try:
            return hint(**given)
        except TypeError as error:
            raise UserError(f"{where or hint.__name__} is incomplete: {error}") from None
    if origin is Literal:
        for option in args:
            if data == option and type(data) is type(option):
                return option
            if text and data == str(option):
                return option
        raise UserError(f"{where} must be {type_name(hint)}, got {data!r}{_closest(data, args)}")
    if origin in (Union, types.UnionType):
        kind = data.get(KIND) if isinstance(data, dict) else None
        for option in args:
            if kind in (None, getattr(option, "__name__", None)):
                try:
                    return _decode(option, data, where, text=text)
                except UserError:
                    if kind is not None:
                        raise
        raise wrong
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise wrong
        inner = [args[0]] * len(data) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(inner) != len(data):
            raise wrong
        return tuple(_decode(h, v, where, text=text) for h, v in zip(inner, data, strict=True))
    return _decode_scalar(hint, data, wrong, text=text)


def _decode_scalar(hint: Any, data: Any, wrong: UserError, *, text: bool) -> Any:
    if hint is type(None):
        if data is None or (text and str(data).lower() == "none"):
            return None
        raise wrong
    if hint is Path and isinstance(data, str):
        return Path(data)
    if hint is bool and text and str(data).lower() in _BOOLS:
        return _BOOLS[str(data).lower()]
    if hint in (int, float) and text:
        try:
            return hint(data)
        except (TypeError, ValueError):
            raise wrong from None
    if hint is float and (type(data) in (int, float) or (isinstance(data, str) and data in _NONFINITE)):
        return _NONFINITE[data] if isinstance(data, str) else float(data)
    if hint in (bool, int, str) and type(data) is hint:
        return data
    if hint is Any:
        return data
    raise wrong


def _from_words(hint: Any, words: Sequence[str], where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    if any(typing.get_origin(option) is tuple for option in options):
        split = [w for word in words for w in word.split(",") if w]
        if split == ["none"] and type(None) in options:
            return None
        if split == ["none"] and not any("none" in map(str, _words_of(option)) for option in options):
            split = []
        return _decode(hint, split, where, text=True)
    if not words and bool in options:
        return True
    if len(words) != 1:
        raise UserError(f"{where} must be {type_name(hint)}: write --{where} VALUE, with one value")
    return _decode(hint, words[0], where, text=True)


def _words_of(hint: Any) -> tuple[Any, ...]:
    """The words that a list of words may hold."""
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
    return typing.get_args(inner) if typing.get_origin(inner) is Literal else ()


def _closest(data: Any, options: Iterable[Any]) -> str:
    close = difflib.get_close_matches(str(data), [str(o) for o in options], n=1)
    return f". Did you mean {close[0]}?" if close else ""
