"""Plain Python data as JSON, its comparison and its display, without running code of the objects' own.

`None`, bools, strings, finite and other floats and small integers stand for themselves; the rest is `[tag, ...]`: `int`
(hexadecimal), `list`, `tuple`, `set`, `frozenset`, `bytes`, `dict` (pairs). Encoded data is compared and shown as it
is: data from a sandbox never becomes a Python set or dict outside, whose hashes a hostile sender could make collide.
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 100
SMALL = 1 << 53
SEQUENCES: tuple[tuple[str, Any], ...] = (("list", list), ("tuple", tuple), ("set", set), ("frozenset", frozenset))


class NotPlainError(ValueError):
    """A value, or a message, that is not plain data."""


def encode(value: Any, depth: int = 0) -> Any:
    """A value as JSON values; subclasses count as what they derive from.

    Raises:
      NotPlainError: if part of it is not plain data, or it is nested too deeply, or in itself.
    """
    if depth > MAX_DEPTH:
        raise NotPlainError("a value nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        value = int.__index__(value)
        return value if -SMALL < value < SMALL else ["int", hex(value)]
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray)):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, dict):
        return ["dict", *([encode(k, depth + 1), encode(v, depth + 1)] for k, v in dict.items(value))]
    for tag, kind in SEQUENCES:
        if isinstance(value, kind):
            items = [encode(item, depth + 1) for item in kind.__iter__(value)]
            return [tag, *(sorted(items, key=key) if kind in (set, frozenset) else items)]
    raise NotPlainError(f"an object of type {type(value).__name__}, which is not plain data")


def decode(data: Any, depth: int = 0) -> Any:
    """The inverse of `encode`.

    Raises:
      NotPlainError: if `data` is no encoded value.
    """
    if depth > MAX_DEPTH:
        raise NotPlainError("a value nested too deeply")
    if not isinstance(data, list):
        if data is None or isinstance(data, (bool, int, float, str)):
            return data
        raise NotPlainError("a message that is no encoded value")
    try:
        tag, *items = data
        if tag == "int":
            return int(items[0], 16)
        if tag == "bytes":
            return bytes.fromhex(items[0])
        if tag == "dict":
            return {decode(k, depth + 1): decode(v, depth + 1) for k, v in items}
        return dict(SEQUENCES)[tag](decode(item, depth + 1) for item in items)
    except NotPlainError:
        raise
    except (ValueError, TypeError, KeyError, IndexError):
        raise NotPlainError("a message that is no encoded value") from None


def key(data: Any) -> str:
    """A text that is the same for encoded values that are equal, with no tolerance."""
    if isinstance(data, (bool, int, float)):
        number = _number(data)
        return repr(int(number)) if math.isfinite(number) and number == int(number) else repr(number)
    if isinstance(data, list) and data:
        tag, *items = data
        if tag in ("int", "bytes"):
            return f"{tag} {items[0]}"
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
    if _is_number(expected) or _is_number(actual):
        return _is_number(expected) and _is_number(actual) and _close(_number(expected), _number(actual), tolerance)
    if not (isinstance(expected, list) and isinstance(actual, list)):
        return type(expected) is type(actual) and expected == actual
    (tag, *items), (other, *others) = expected, actual
    if tag in ("set", "frozenset"):
        return other in ("set", "frozenset") and key(expected) == key(actual)
    if tag != other or len(items) != len(others):
        return False
    if tag == "dict":
        found = {key(k): v for k, v in others}  # texts: Python's hash of them is keyed
        return all(key(k) in found and equal(v, found[key(k)], tolerance) for k, v in items)
    if tag == "bytes":
        return items == others
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
        if tag in ("int", "bytes"):
            good = len(items) == 1 and isinstance(items[0], str)
            decode(data) if good else None
        elif tag == "dict":
            good = all(isinstance(pair, list) and len(pair) == 2 for pair in items)
            items = [part for pair in items for part in pair] if good else []
            [check(part, depth + 1) for part in items]
        else:
            good = isinstance(tag, str) and tag in dict(SEQUENCES)
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
    if tag == "bytes":
        return repr(bytes.fromhex(items[0][: 2 * room]))
    parts, used = [], 0
    for item in items:
        if used > room:
            break
        parts.append(": ".join(_show(part, room) for part in item) if tag == "dict" else _show(item, room))
        used += len(parts[-1])
    text = ", ".join(parts)
    if tag == "tuple":
        return f"({text},)" if len(items) == 1 else f"({text})"
    if tag == "list":
        return f"[{text}]"
    if tag == "dict" or items:
        return f"{{{text}}}" if tag != "frozenset" else f"frozenset({{{text}}})"
    return f"{tag}()"


def _is_number(data: Any) -> bool:
    return isinstance(data, (bool, int, float)) or (isinstance(data, list) and data[:1] == ["int"])


def _number(data: Any) -> int | float:
    return int(data[1], 16) if isinstance(data, list) else data


def _close(expected: int | float, actual: int | float, tolerance: float) -> bool:
    if expected == actual:
        return True
    if not (isinstance(expected, float) or isinstance(actual, float)):
        return False
    try:
        expected, actual = float(expected), float(actual)
    except OverflowError:
        return False
    if math.isnan(expected) or math.isnan(actual):
        return math.isnan(expected) and math.isnan(actual)
    return math.isfinite(expected) and abs(expected - actual) <= tolerance * max(1.0, abs(expected))
