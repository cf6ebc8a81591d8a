"""Names that Lethe gives to things: a prefix that tells the kind, then 26 characters that sort by time of birth.

The shape is a ULID in Crockford's base 32, in lower case: 48 bits of milliseconds, 80 bits of chance. An identifier
is never derived from what it names, least of all from a person.
"""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_SHIFTS = range(120, -1, -10)


def new_identifier(prefix: str) -> str:
    """Return `prefix` + "_" + 26 characters; later ones sort after earlier ones, to the millisecond."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])
