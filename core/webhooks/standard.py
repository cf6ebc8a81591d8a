"""Standard Webhooks 1.0, symmetric (v1): sign what is sent, verify what was received.

    webhook-id         the event's id, the same on every attempt
    webhook-timestamp  seconds since 1970 at which this attempt was made
    webhook-signature  "v1," + base64(HMAC-SHA256(key, id "." timestamp "." body)), one per key, separated by spaces

While a secret is being rotated, both the old key and the new one sign. A secret is written `whsec_` + base64(key).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

from core.domain.errors import BadInput, SignatureInvalid

ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
PREFIX = "whsec_"
VERSION = "v1"
KEY_BYTES = 32
TOLERANCE_SECONDS = 300
"""How far a receiver's clock may be from the timestamp: an older message may be somebody's recording."""


def written_secret(key: bytes) -> str:
    return PREFIX + base64.b64encode(key).decode()


def read_secret(text: str) -> bytes:
    """Return the key of a written secret, with or without its prefix and its padding.

    Raises:
        BadInput: it is empty or no base64.
    """
    body = text.strip().removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):  # the latter for what is no ASCII
        key = b""
    if not key:
        raise BadInput(f"a webhook secret is {PREFIX} and the base64 of at least one byte")
    return key


def signature(key: bytes, *, name: str, timestamp: int, body: bytes) -> str:
    """Return one signature of a message, with its version."""
    content = f"{name}.{timestamp}.".encode() + body
    return f"{VERSION},{base64.b64encode(hmac.digest(key, content, 'sha256')).decode()}"


def signed_headers(keys: Sequence[bytes], *, name: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message, signed under every key."""
    signatures = [signature(key, name=name, timestamp=timestamp, body=body) for key in keys]
    return {ID_HEADER: name, TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: " ".join(signatures)}


def verify(key: bytes, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Return if the message was signed with this key, a short while ago.

    Args:
        key: the secret's bytes.
        headers: of the request; their names in any case.
        body: exactly the bytes that came.
        now: seconds since 1970.

    Raises:
        SignatureInvalid: a header is missing, no signature is that of the key, or the message is too old or too new.
    """
    found = {name.lower(): value for name, value in headers.items()}
    name, stamp, given = (found.get(header, "") for header in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
    if not (name and stamp and given):
        raise SignatureInvalid("a webhook header is missing")
    if not (stamp.isascii() and stamp.isdigit()) or len(stamp) > 12:  # noqa: PLR2004 - 30,000 years
        raise SignatureInvalid("the timestamp is no number of seconds")
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise SignatureInvalid(f"the timestamp is more than {TOLERANCE_SECONDS} seconds away from now")
    wanted = signature(key, name=name, timestamp=int(stamp), body=body).encode()
    # All are compared, each in constant time: how long this takes tells nothing about how near a forgery came.
    matching = [hmac.compare_digest(wanted, one.encode()) for one in given.split()]
    if not any(matching):
        raise SignatureInvalid("no signature is that of this secret")
