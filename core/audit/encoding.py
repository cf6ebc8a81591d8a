"""Text with exactly one spelling per value, so that evidence cannot be altered without changing what it says."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

from core.domain.canonical import canonical

HASH_BYTES = 32
_HASH_HEX = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def encode64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def decode64(text: str) -> bytes:
    """Read standard base64 with padding.

    Raises:
        ValueError: it is something else, or stray bits make it a second spelling of the same bytes.
    """
    content = base64.b64decode(text, validate=True)
    if encode64(content) != text:
        raise ValueError("the base64 is not the one spelling of its bytes")
    return content


def decode_hash(text: Any) -> bytes:
    """Read 64 lower-case hex digits as 32 bytes, or raise ValueError."""
    if not isinstance(text, str) or not _HASH_HEX.fullmatch(text):
        raise ValueError("a digest is 64 lower-case hex digits")
    return bytes.fromhex(text)


def decode_number(text: str) -> int:
    """Read a decimal number >= 0 without leading zeros, or raise ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number has decimal digits and no leading zero")
    return int(text)


def read_canonical(content: bytes) -> Any:
    """Read JSON that is canonical already.

    Raises:
        ValueError: it is no JSON, or not the canonical bytes of what it says.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if canonical(value) != content:
        raise ValueError("the JSON is not in canonical form")
    return value


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC with microseconds and Z; raise ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time in evidence needs a zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
