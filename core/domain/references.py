"""Keyed references: what the database, the log and the certificates hold in place of identities and contents.

A reference is HMAC-SHA256 under the tenant's 32-byte key, which lives in the key store. Whoever lacks the key can
neither compute a reference nor test a guess against one; destroying the key makes them all unlinkable.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

REFERENCE_BYTES = 32
CASELESS_IDENTITIES = frozenset({"email", "domain"})


def normalised_identity(identity_type: str, value: str) -> str:
    """Return the one spelling of an identity: NFC, trimmed, and folded to lower case for e-mail addresses."""
    text = unicodedata.normalize("NFC", value).strip()
    return text.casefold() if identity_type in CASELESS_IDENTITIES else text


def owner_reference(tenant_key: bytes, identity_type: str, value: str) -> bytes:
    """Return the 32-byte reference of an owner: HMAC(tenant key, identity type ‖ 0 ‖ normalised value)."""
    return _keyed(tenant_key, identity_type, normalised_identity(identity_type, value))


def record_reference(tenant_key: bytes, record_id: str) -> bytes:
    """Return the 32-byte reference of a record's id, which is the same in every data set of the tenant."""
    return _keyed(tenant_key, "\x01record", record_id)


def content_reference(tenant_key: bytes, content: bytes) -> bytes:
    """Return the 32-byte keyed digest of a record's content; equal contents meet here, whoever owns them."""
    return hmac.digest(tenant_key, b"\x01content\x00" + hashlib.sha256(content).digest(), "sha256")


def keyed_fingerprint(tenant_key: bytes, content: bytes) -> str:
    """Return a fingerprint of a request body that nobody without the key can test a guess against."""
    return hmac.digest(tenant_key, b"\x01fingerprint\x00" + content, "sha256").hex()


def _keyed(tenant_key: bytes, kind: str, value: str) -> bytes:
    return hmac.digest(tenant_key, kind.encode() + b"\x00" + value.encode(), "sha256")
