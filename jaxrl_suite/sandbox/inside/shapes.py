"""Containers of `collections` and named tuples, which are more than what they derive from, between two processes."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from typing import Any

from . import plain

Part = Callable[[Any], Any]
KINDS = {kind.__name__: kind for kind in (collections.Counter, collections.OrderedDict, collections.defaultdict)}
TAGS = ("named", "collection")


def pack(value: Any, part: Part) -> list | None:
    """A value as `[tag, ...]`; None if it is of another kind."""
    kind: Any = type(value)
    fields = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and isinstance(fields, tuple):
        return ["named", kind.__name__, list(fields), *(part(item) for item in tuple.__iter__(value))]
    if kind.__name__ in KINDS and kind is KINDS[kind.__name__]:
        rest = [part(value.default_factory)] if kind is collections.defaultdict else []
        return ["collection", kind.__name__, plain.encode_base(value, part), *rest]
    return None


def unpack(data: list, part: Part) -> Any:
    """The inverse of `pack`.

    Raises:
      NotPlainError: if it is nothing that `pack` makes.
    """
    try:
        if data[0] == "named":
            if plain.ANSWERS.intersection(data[2]):
                raise ValueError("a field has the name of a method")
            return _named(data[1], tuple(data[2]))(*(part(item) for item in data[3:]))
        kind = KINDS[data[1]]
        if kind is collections.defaultdict:
            return kind(part(data[3]), part(data[2]))
        return kind(part(data[2]))
    except (ValueError, TypeError, LookupError):
        raise plain.NotPlainError("a message that is no encoded value") from None


@functools.cache
def _named(name: str, fields: tuple[str, ...]) -> Any:
    return collections.namedtuple(name, fields)
