"""Arguments that a call in another process changed: the originals become what they are there."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

from . import remote


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
    if type(old) is not type(new) or isinstance(old, remote.Remote):
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
