"""Containers of `collections` and named tuples, which are more than what they derive from, between two processes.

Also what becomes of arguments that a call in the other process changed: the originals are made what they are there.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterator
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


def places(value: Any) -> Iterator[int]:
    """The identity of each container in a value that can change, as often as it is there."""
    if isinstance(value, (list, dict, set, bytearray, collections.deque)):
        yield id(value)
    if isinstance(value, (list, tuple, collections.deque)):
        for item in value:
            yield from places(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from places(item)


def merge(old: Any, new: Any) -> Any:
    """Makes an argument what it has become in the other process, in place as far as its kind allows."""
    if type(old) is not type(new):
        return new
    if isinstance(old, (list, tuple, collections.deque)):
        parts = [merge(*pair) for pair in zip(old, new, strict=False)] + list(new)[len(old) :]
        if isinstance(old, tuple):
            return new
        old.clear()
        old.extend(parts)
    elif isinstance(old, dict):
        parts = {key: merge(old[key], value) if key in old else value for key, value in new.items()}
        old.clear()
        old.update(parts)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray):
        old[:] = new
    else:
        return new
    return old
