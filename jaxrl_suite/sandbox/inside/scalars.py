"""Values of the standard library that are no containers, as lists `[tag, ...]`: numbers of other kinds, dates, ranges.

Text and digits are bounded, so that a value from anyone can be read, compared and shown at once.
"""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

MOST = 10_000  # characters of a number's text, and the size of a decimal exponent
NUMBERS = ("int", "complex", "Fraction", "Decimal")
CONSTANTS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        bytearray,
        list,
        tuple,
        dict,
        set,
        frozenset,
        range,
        object,
        type,
    )
} | {"NoneType": type(None), "Ellipsis": ..., "NotImplemented": NotImplemented}
_NAMES = {id(value): name for name, value in CONSTANTS.items()}


def pack(value: Any) -> list | None:
    """A value as `[tag, ...]`; None if it is of another kind. Values of subclasses are of another kind."""
    kind = type(value)
    if id(value) in _NAMES:
        return ["constant", _NAMES[id(value)]]
    if kind is complex:
        return ["complex", value.real, value.imag]
    if kind is Fraction:
        return ["Fraction", hex(value.numerator), hex(value.denominator)]
    if kind is Decimal:
        return ["Decimal", str(value)]
    if kind is range:
        return ["range", hex(value.start), hex(value.stop), hex(value.step)]
    if kind is datetime.timedelta:
        return ["timedelta", value.days, value.seconds, value.microseconds]
    if kind in (datetime.date, datetime.datetime, datetime.time):
        return [kind.__name__, value.isoformat()]
    return None


def unpack(tag: str, items: list) -> Any:
    """The inverse of `pack`.

    Raises:
      ValueError: if it is nothing that `pack` makes, or too long.
    """
    if any(isinstance(item, str) and len(item) > MOST for item in items) and tag != "int":
        raise ValueError("too long")
    try:
        if tag == "int":
            (text,) = items
            return int(text, 16)
        if tag == "constant":
            return CONSTANTS[items[0]]
        if tag == "complex":
            return complex(float(items[0]), float(items[1]))
        if tag == "Fraction":
            return Fraction(int(items[0], 16), int(items[1], 16))
        if tag == "Decimal":
            value = Decimal(items[0])
            if value.is_finite() and not -MOST < value.adjusted() < MOST:
                raise ValueError("too large")
            return value
        if tag == "range":
            return range(*(int(text, 16) for text in items))
        if tag == "timedelta":
            return datetime.timedelta(*items)
        if tag in ("date", "datetime", "time"):
            return getattr(datetime, tag).fromisoformat(*items)
    except (ArithmeticError, TypeError, LookupError, ValueError) as error:
        raise ValueError(f"no {tag}: {type(error).__name__}") from None
    raise ValueError("no value")


TAGS = ("constant", "complex", "Fraction", "Decimal", "range", "timedelta", "date", "datetime", "time")


def is_number(data: Any) -> bool:
    """True if an encoded value is a number."""
    return isinstance(data, (bool, int, float)) or (isinstance(data, list) and bool(data) and data[0] in NUMBERS)


def number(data: Any) -> Any:
    """An encoded number as an int, a Fraction, a complex or, where it is not finite, a float."""
    value = unpack(data[0], data[1:]) if isinstance(data, list) else data
    if isinstance(value, complex):
        return value if value.imag else number(value.real)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return value
    if isinstance(value, Decimal) and not value.is_finite():
        return math.nan if value.is_nan() else math.copysign(math.inf, value)
    exact = Fraction(value)
    return exact.numerator if exact.denominator == 1 else exact


def number_key(data: Any) -> str:
    """A text that is the same for encoded numbers that are equal."""
    value = number(data)
    if isinstance(value, complex):
        return f"complex {number_key(value.real)} {number_key(value.imag)}"
    if isinstance(value, Fraction):
        return f"{value.numerator:x}/{value.denominator:x}"
    return f"{value:x}" if isinstance(value, int) else repr(value)


def same_number(expected: Any, actual: Any, tolerance: float) -> bool:
    """True if two encoded numbers are equal, nan to nan, or as close as `tolerance` says where one is a float."""
    loose = any(isinstance(data, float) or _tag(data) == "complex" for data in (expected, actual))
    return all(
        _same(first, second, tolerance if loose else None)
        for first, second in zip(_parts(number(expected)), _parts(number(actual)), strict=True)
    )


def value_key(data: list) -> str:
    """A text that is the same for encoded values of `TAGS` that are equal, numbers aside."""
    value = unpack(data[0], data[1:])
    if isinstance(value, range):
        ends = (value[0], value[-1]) if value else ()
        return f"range {[hex(x) for x in ends]} {hex(value.step) if len(set(ends)) == 2 else ''}"
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return f"instant {(value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))!r}"
    return f"{data[0]} {value!r}"


def _same(first: Any, second: Any, tolerance: float | None) -> bool:
    if first == second:
        return True
    if isinstance(first, float) or isinstance(second, float):  # not finite
        return first != first and second != second
    if tolerance is None:
        return False
    try:
        first, second = float(first), float(second)
    except OverflowError:
        return False
    return abs(first - second) <= tolerance * max(1.0, abs(first))


def _parts(value: Any) -> tuple[Any, Any]:
    return (number(value.real), number(value.imag)) if isinstance(value, complex) else (value, 0)


def _tag(data: Any) -> Any:
    return data[0] if isinstance(data, list) and data else None
