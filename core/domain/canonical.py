"""JSON written in one way only (RFC 8785, JCS), so that whoever holds the same value computes the same digest.

Object keys are sorted by their UTF-16 code units, there is no white space, strings escape only what they must, and
numbers are written as ECMAScript writes them. Whatever JSON cannot carry exactly is refused, never approximated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

LARGEST_EXACT_INTEGER = 2**53
"""Beyond it, a reader that holds numbers as doubles would see another integer."""
_FEWEST_EXPONENT_DIGITS = -6
_MOST_PLAIN_DIGITS = 21


def canonical(value: Any) -> bytes:
    """Return the one UTF-8 encoding of a JSON value (RFC 8785).

    Args:
        value: None, bool, int, float, str (a StrEnum is its word), or lists, tuples and mappings of them.

    Raises:
        TypeError: something is no JSON value, or a key is no string.
        ValueError: a number is not finite or not exact, or a string holds a lone surrogate.
    """
    try:
        return _written(value).encode()
    except UnicodeEncodeError:  # its message would repeat the text
        raise ValueError("a string holds a lone surrogate") from None


def _written(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict:
        return _object(value)
    if kind is list or kind is tuple:
        return "[" + ",".join([_written(inner) for inner in value]) + "]"
    return _scalar(value)


def _object(value: Mapping[Any, Any]) -> str:
    """Write an object; those whose keys are all ASCII, as ours are, need no look at code units."""
    try:
        plain = "".join(value).isascii()
    except TypeError:
        raise TypeError("every key of a JSON object must be a string") from None
    ordered = sorted(value) if plain else sorted(value, key=lambda key: key.encode("utf-16-be"))
    return "{" + ",".join([f"{encode_basestring(key)}:{_written(value[key])}" for key in ordered]) + "}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _float(value)
    return _container(value)


def _container(value: Any) -> str:
    """Write a list or a mapping of a kind that is not Python's own."""
    if isinstance(value, list | tuple):
        return _written([*value])
    if isinstance(value, Mapping):
        return _object(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _integer(value: int) -> str:
    if abs(value) > LARGEST_EXACT_INTEGER:
        raise ValueError("an integer beyond 2^53 is not exact in JSON; write it as a string")
    return int.__repr__(value)


def _float(value: float) -> str:
    """Write a double as ECMAScript's Number::toString does: the shortest digits that read back, placed by exponent."""
    if not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinity")
    if value == 0:
        return "0"  # negative zero included
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    padded = (whole + fraction).lstrip("0")
    point = int(exponent or 0) + len(whole) - (len(whole + fraction) - len(padded))  # value = 0.digits e point
    digits = padded.rstrip("0")
    return ("-" if value < 0 else "") + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= _MOST_PLAIN_DIGITS:
        return digits + "0" * (point - len(digits))
    if 0 < point <= _MOST_PLAIN_DIGITS:
        return f"{digits[:point]}.{digits[point:]}"
    if _FEWEST_EXPONENT_DIGITS < point <= 0:
        return "0." + "0" * -point + digits
    scientific = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{scientific}e{point - 1:+d}"
