"""The seal: AES-256-GCM under a data key, with a nonce of chance and a context that says what the bytes are.

    sealed = nonce (12 bytes) ‖ ciphertext (as long as the plaintext) ‖ tag (16 bytes)

The context is not stored: whoever unseals must know what they expect, so a sealed block cannot pass for another. A
random nonce is safe for 2^32 seals under one key (NIST SP 800-38D §8.3); a data key makes a handful.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.domain.errors import SealBroken

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


def seal(key: bytes, plaintext: bytes, *, context: bytes) -> bytes:
    """Return the plaintext encrypted and authenticated; 28 bytes longer, and different each time.

    Args:
        key: 32 bytes.
        plaintext: what to hide.
        context: what it is; authenticated, not hidden, not stored.

    Raises:
        ValueError: the key has another length.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, plaintext, context)


def unseal(key: bytes, sealed: bytes, *, context: bytes) -> bytes:
    """Return what was sealed under this key with this context.

    Raises:
        SealBroken: the bytes were altered, or sealed under another key or context.
        ValueError: the key has another length than 32 bytes.
    """
    cipher = _cipher(key)
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise SealBroken
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except InvalidTag:
        raise SealBroken from None


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:  # AESGCM would also take 16 and 24
        raise ValueError(f"a data key has {KEY_BYTES} bytes, got {len(key)}")
    return AESGCM(key)
