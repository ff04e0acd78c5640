"""Plain Python data as JSON, its comparison and its display, without running code of the objects' own.

`None`, bools, strings, finite and other floats and small integers stand for themselves; the rest is `[tag, ...]`: `int`
(hexadecimal), `list`, `tuple`, `set`, `frozenset`, `deque`, `bytes`, `bytearray`, `dict` (pairs), and what `scalars`
packs. Encoded data is compared and shown as it is: data from a sandbox never becomes a Python set or dict outside,
whose hashes a hostile sender could make collide.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Callable
from typing import Any

from . import scalars

MAX_DEPTH = 100
SMALL = 1 << 53
SEQUENCES: tuple[tuple[str, Any], ...] = (
    ("list", list),
    ("tuple", tuple),
    ("set", set),
    ("frozenset", frozenset),
    ("deque", collections.deque),
)
BYTES: tuple[tuple[str, Any], ...] = (("bytes", bytes), ("bytearray", bytearray))
PLAIN = {kind for _, kind in (*SEQUENCES, *BYTES)} | {dict, str, int, float}
# Methods of strings and sets that answer with yes or no: nothing of a program's own may stand in for them.
ANSWERS = {name for kind in (str, bytes, set, float) for name in dir(kind) if name.startswith("is")}
ANSWERS |= {"startswith", "endswith"}
Hook = Callable[..., Any]


class NotPlainError(ValueError):
    """A value, or a message, that is not plain data."""


def encode(value: Any, hook: Hook | None = None, depth: int = 0) -> Any:
    """A value as JSON values; subclasses count as what they derive from.

    Args:
      value: what to encode.
      hook: (value, function that encodes a part) to the encoding of what is not exactly plain, or None.
      depth: how deep this value lies.

    Raises:
      NotPlainError: if part of it is not plain data, or it is nested too deeply, or in itself.
    """

    def part(inner: Any) -> Any:
        return encode(inner, hook, depth + 1)

    if depth > MAX_DEPTH:
        raise NotPlainError("a value nested too deeply")
    if value is None or value is True or value is False:
        return value
    if (packed := scalars.pack(value)) is not None:
        return packed
    if hook is not None and type(value) not in PLAIN and (hooked := hook(value, part)) is not None:
        return hooked
    return encode_base(value, part)


def encode_base(value: Any, part: Callable[[Any], Any]) -> Any:
    """A value as what its class derives from, whatever it says of its class; `part` encodes what it holds.

    Raises:
      NotPlainError: if it derives from nothing plain.
    """
    if issubclass(type(value), int):
        value = int.__index__(value)
        return value if -SMALL < value < SMALL else ["int", hex(value)]
    if issubclass(type(value), float):
        return float.__float__(value)
    if issubclass(type(value), str):
        return str.__str__(value)
    for tag, kind in BYTES:
        if issubclass(type(value), kind):
            return [tag, bytes(value).hex()]
    if issubclass(type(value), dict):
        return ["dict", *([part(k), part(v)] for k, v in dict.items(value))]
    for tag, kind in SEQUENCES:
        if issubclass(type(value), kind):
            items = [part(item) for item in kind.__iter__(value)]
            return [tag, *(sorted(items, key=key) if kind in (set, frozenset) else items)]
    raise NotPlainError(f"an object of type {type(value).__name__}, which is not plain data")


def decode(data: Any, hook: Hook | None = None, depth: int = 0) -> Any:
    """The inverse of `encode`.

    Args:
      data: what to decode.
      hook: (data, function that decodes a part) to the value of a list with another tag.
      depth: how deep it lies.

    Raises:
      NotPlainError: if `data` is no encoded value.
    """

    def part(inner: Any) -> Any:
        return decode(inner, hook, depth + 1)

    if depth > MAX_DEPTH:
        raise NotPlainError("a value nested too deeply")
    if not isinstance(data, list):
        if data is None or isinstance(data, (bool, int, float, str)):
            return data
        raise NotPlainError("a message that is no encoded value")
    try:
        tag, *items = data
        if tag == "int" or tag in scalars.TAGS:
            return scalars.unpack(tag, items)
        if tag in dict(BYTES):
            return dict(BYTES)[tag](bytes.fromhex(items[0]))
        if tag == "dict":
            return {part(k): part(v) for k, v in items}
        if tag in dict(SEQUENCES):
            return dict(SEQUENCES)[tag]([part(item) for item in items])
        if hook is not None:
            return hook(data, part)
    except NotPlainError:
        raise
    except (ValueError, TypeError, KeyError, IndexError):
        pass
    raise NotPlainError("a message that is no encoded value")


def key(data: Any) -> str:
    """A text that is the same for encoded values that are equal, with no tolerance."""
    if scalars.is_number(data):
        return scalars.number_key(data)
    if isinstance(data, list) and data:
        tag, *items = data
        if tag in scalars.TAGS:
            return scalars.value_key(data)
        if tag in dict(BYTES):
            return f"bytes {items[0]}"
        if tag == "dict":
            parts = sorted(f"{key(k)}:{key(v)}" for k, v in items)
        elif tag in ("set", "frozenset"):
            tag, parts = "set", sorted(map(key, items))
        else:
            parts = map(key, items)
        return f"{tag}({','.join(parts)})"
    return json.dumps(data)


def equal(expected: Any, actual: Any, tolerance: float = 0.0) -> bool:
    """True if two encoded values are equal as Python's `==` would say, floats up to a tolerance; nan equals nan.

    Args:
      expected: an encoded value.
      actual: an encoded value, from anyone.
      tolerance: largest difference between two numbers of which one is a float, absolute or relative to the expected.
        It does not reach into sets and keys of dicts.
    """
    if scalars.is_number(expected) or scalars.is_number(actual):
        both = scalars.is_number(expected) and scalars.is_number(actual)
        return both and scalars.same_number(expected, actual, tolerance)
    if not (isinstance(expected, list) and isinstance(actual, list)):
        return type(expected) is type(actual) and expected == actual
    (tag, *items), (other, *others) = expected, actual
    if tag in ("set", "frozenset"):
        return other in ("set", "frozenset") and key(expected) == key(actual)
    if tag in dict(BYTES):
        return other in dict(BYTES) and items == others
    if tag != other:
        return False
    if tag in scalars.TAGS:
        return scalars.value_key(expected) == scalars.value_key(actual)
    if len(items) != len(others):
        return False
    if tag == "dict":
        found = {key(k): v for k, v in others}  # texts: Python's hash of them is keyed
        return all(key(k) in found and equal(v, found[key(k)], tolerance) for k, v in items)
    return all(equal(x, y, tolerance) for x, y in zip(items, others, strict=True))


def show(data: Any, length: int = 100) -> str:
    """An encoded value as Python writes it, cut to a length."""
    text = _show(data, length)
    return shorten(text, length)


def shorten(text: str, length: int) -> str:
    """At most `length` characters, all of them printable."""
    text = "".join(c if c.isprintable() else " " for c in text[: length + 1])
    return text if len(text) <= length else text[: length - 3] + "..."


def check(data: Any, depth: int = 0) -> Any:
    """Returns encoded data that came from a sandbox, if it is well formed.

    Raises:
      NotPlainError: if it is not.
    """
    if depth > MAX_DEPTH:
        raise NotPlainError("a value nested too deeply")
    if isinstance(data, list):
        tag, items = (data[0] if data else None), data[1:]
        if not isinstance(tag, str):
            raise NotPlainError("a message that is no encoded value")
        if tag == "int" or tag in scalars.TAGS or tag in dict(BYTES):
            good = bool(items) and not any(isinstance(item, (list, dict)) for item in items)
            decode(data) if good else None
        elif tag == "dict":
            good = all(isinstance(pair, list) and len(pair) == 2 for pair in items)
            items = [part for pair in items for part in pair] if good else []
            [check(part, depth + 1) for part in items]
        else:
            good = tag in dict(SEQUENCES)
            [check(item, depth + 1) for item in items] if good else None
        if not good:
            raise NotPlainError("a message that is no encoded value")
    elif not (data is None or isinstance(data, (bool, int, float, str))):
        raise NotPlainError("a message that is no encoded value")
    return data


def _show(data: Any, room: int) -> str:
    if not isinstance(data, list):
        return repr(data[: room + 1]) if isinstance(data, str) else repr(data)
    tag, *items = data
    if tag == "int":
        return str(int(items[0], 16)) if len(items[0]) < 200 else items[0][: room + 1]
    if tag == "constant":
        return str(items[0])
    if tag in scalars.TAGS:
        try:
            return repr(scalars.unpack(tag, items))
        except ValueError:  # digits of an integer that Python does not print
            return tag
    if tag in dict(BYTES):
        text = repr(bytes.fromhex(items[0][: 2 * room]))
        return text if tag == "bytes" else f"bytearray({text})"
    parts, used = [], 0
    for item in items:
        if used > room:
            break
        parts.append(": ".join(_show(part, room) for part in item) if tag == "dict" else _show(item, room))
        used += len(parts[-1])
    text = ", ".join(parts)
    if tag == "tuple":
        return f"({text},)" if len(items) == 1 else f"({text})"
    if tag in ("list", "deque"):
        return f"[{text}]" if tag == "list" else f"deque([{text}])"
    if tag == "dict" or items:
        return f"{{{text}}}" if tag != "frozenset" else f"frozenset({{{text}}})"
    return f"{tag}()"
