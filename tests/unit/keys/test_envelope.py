from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import SealBroken
from core.keys.envelope import seal, unseal

KEY = bytes(range(32))


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_was_sealed_comes_back(plaintext: bytes, context: bytes) -> None:
    sealed = seal(KEY, plaintext, context=context)
    assert len(sealed) == len(plaintext) + 28
    assert unseal(KEY, sealed, context=context) == plaintext


def test_the_same_bytes_are_sealed_differently_each_time() -> None:
    assert seal(KEY, b"same", context=b"") != seal(KEY, b"same", context=b"")


def test_every_altered_byte_breaks_the_seal() -> None:
    sealed = seal(KEY, b"a person's record", context=b"block 1")
    for position in range(len(sealed)):
        altered = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        with pytest.raises(SealBroken):
            unseal(KEY, altered, context=b"block 1")


@pytest.mark.parametrize("length", [0, 11, 27, 40])
def test_a_shortened_seal_is_broken(length: int) -> None:
    with pytest.raises(SealBroken):
        unseal(KEY, seal(KEY, b"a person's record", context=b"")[:length], context=b"")


def test_another_key_or_context_opens_nothing() -> None:
    sealed = seal(KEY, b"a person's record", context=b"block 1")
    with pytest.raises(SealBroken):
        unseal(KEY[::-1], sealed, context=b"block 1")
    with pytest.raises(SealBroken):
        unseal(KEY, sealed, context=b"block 2")


def test_a_published_vector_opens() -> None:
    # Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", 2005.
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    ciphertext = bytes.fromhex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    )
    tag = bytes.fromhex("76fc6ece0f4e1768cddf8853bb2d551b")
    context = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    assert unseal(key, nonce + ciphertext + tag, context=context) == plaintext


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal(bytes(length), b"", context=b"")
    with pytest.raises(ValueError, match="32 bytes"):
        unseal(bytes(length), bytes(40), context=b"")
