from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.audit.checkpoint import Checkpoint, Signer, Verifier, open_checkpoint, read_vkeys, sign_checkpoint
from core.audit.errors import EvidenceInvalid, EvidenceUnusable
from tests.unit.audit.evidence import ORIGIN, SIGNER, STRANGER, sha

ROOT = sha("root")
NOTE = sign_checkpoint(SIGNER, ORIGIN, 109, ROOT)
KNOWN = [SIGNER.verifier]


def signed(text: str, signer: Signer = SIGNER) -> str:
    """Sign any text whatever, as no careful signer would."""
    key_hash = hashlib.sha256(signer.name.encode() + b"\n\x01" + signer.verifier.public).digest()[:4]
    return f"{text}\n— {signer.name} {base64.b64encode(key_hash + signer.sign(text.encode())).decode()}\n"


def test_the_note_is_written_as_the_format_says() -> None:
    assert signed(f"{ORIGIN}\n109\n{base64.b64encode(ROOT).decode()}\n") == NOTE


def test_a_checkpoint_opens_to_what_was_signed() -> None:
    assert open_checkpoint(NOTE, KNOWN) == Checkpoint(ORIGIN, 109, ROOT)


def test_a_key_and_a_signature_of_another_implementation_are_understood() -> None:
    # The example of the Go package golang.org/x/mod/sumdb/note.
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    encoded = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    verifier = Verifier.from_vkey(vkey)
    signature = base64.b64decode(encoded)
    assert signature[:4] == verifier.key_hash
    assert verifier.accepts(signature[4:], text.encode())
    assert not verifier.accepts(signature[4:], text.encode()[:-1])
    assert verifier.vkey == vkey


def test_a_key_reads_back_from_its_text() -> None:
    public = Ed25519PrivateKey.from_private_bytes(SIGNER.seed).public_key().public_bytes_raw()
    assert Verifier.from_vkey(SIGNER.vkey + "\n") == Verifier(SIGNER.name, public) == SIGNER.verifier
    assert SIGNER.vkey.startswith(f"{SIGNER.key_id}+")


def test_the_representation_of_a_signer_hides_its_seed() -> None:
    assert repr(SIGNER) == "Signer(name='lethe.example')"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lethe.example",
        SIGNER.vkey[:-1],
        SIGNER.vkey + "A",
        SIGNER.vkey.replace("lethe", "lethf"),
        "+" + SIGNER.vkey.split("+", 1)[1],
        "é" + SIGNER.vkey,
        "\udc80" + SIGNER.vkey,
        SIGNER.vkey.upper(),
        f"name+00000000+{base64.b64encode(bytes([2]) + SIGNER.verifier.public).decode()}",
    ],
)
def test_a_key_that_cannot_be_read_is_unusable(text: str) -> None:
    with pytest.raises(EvidenceUnusable):
        Verifier.from_vkey(text)


def test_no_key_at_all_is_unusable() -> None:
    with pytest.raises(EvidenceUnusable):
        read_vkeys([])


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak", "\u00a0"])
def test_a_signer_has_a_name_that_a_note_can_carry(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Signer(name, bytes(32))


def test_a_checkpoint_of_nonsense_is_not_signed() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Signer("name", bytes(31))
    for origin in ("", "two\nlines", " padded", "a\x00b"):
        with pytest.raises(ValueError, match="one line"):
            sign_checkpoint(SIGNER, origin, 1, ROOT)
    with pytest.raises(ValueError, match="size"):
        sign_checkpoint(SIGNER, ORIGIN, -1, ROOT)
    with pytest.raises(ValueError, match="root"):
        sign_checkpoint(SIGNER, ORIGIN, 1, ROOT[:-1])


def test_a_witness_whose_key_is_unknown_may_sign_too() -> None:
    witness = Signer("witness.example", bytes(32))
    line = sign_checkpoint(witness, ORIGIN, 109, ROOT).rpartition("\n\n")[2]
    assert open_checkpoint(NOTE + line, KNOWN).size == 109
    with pytest.raises(EvidenceInvalid, match="no known key"):
        open_checkpoint(NOTE, [witness.verifier])


def test_a_stranger_under_the_same_name_is_not_known() -> None:
    with pytest.raises(EvidenceInvalid, match="no known key"):
        open_checkpoint(sign_checkpoint(STRANGER, ORIGIN, 109, ROOT), KNOWN)


def test_a_known_key_that_signed_wrongly_spoils_a_note_that_another_signed_well() -> None:
    other = Signer("other.example", bytes(32))
    line = sign_checkpoint(other, ORIGIN, 110, ROOT).rpartition("\n\n")[2]
    with pytest.raises(EvidenceInvalid, match="is wrong"):
        open_checkpoint(NOTE + line, [*KNOWN, other.verifier])


ENCODED_ROOT = base64.b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n0109\n{ENCODED_ROOT}\n",
        f"{ORIGIN}\n-1\n{ENCODED_ROOT}\n",
        f"{ORIGIN}\n+1\n{ENCODED_ROOT}\n",
        f"{ORIGIN}\n\u0661\n{ENCODED_ROOT}\n",
        f"{ORIGIN}\n{'9' * 30}\n{ENCODED_ROOT}\n",
        f"{ORIGIN}\n1\n{ENCODED_ROOT[:-1]}\n",
        f"{ORIGIN}\n1\n{base64.b64encode(ROOT + ROOT).decode()}\n",
        f"{ORIGIN}\n1\n{base64.urlsafe_b64encode(bytes([255] * 32)).decode()}\n",
        f"\n1\n{ENCODED_ROOT}\n",
        f"a\tb\n1\n{ENCODED_ROOT}\n",
        f"{ORIGIN}\n1\n{ENCODED_ROOT}\nextension\n",
        f"{ORIGIN}\n1\n",
    ],
)
def test_a_well_signed_text_that_is_no_checkpoint_is_invalid(text: str) -> None:
    with pytest.raises(EvidenceInvalid, match="checkpoint"):
        open_checkpoint(signed(text), KNOWN)


def test_the_signature_line_has_one_spelling() -> None:
    for broken in [
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—  "),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n", "\r\n"),
        NOTE.removesuffix("\n") + " \n",
        NOTE.rpartition(" ")[0] + " AAAA\n",
        NOTE.rpartition("\n\n")[0] + "\n\n",
        "",
    ]:
        with pytest.raises(EvidenceInvalid):
            open_checkpoint(broken, KNOWN)


def test_a_note_with_a_flood_of_signatures_is_refused_unread() -> None:
    line = NOTE.rpartition("\n\n")[2]
    with pytest.raises(EvidenceInvalid, match="too many"):
        open_checkpoint(NOTE + line * 100, KNOWN)
