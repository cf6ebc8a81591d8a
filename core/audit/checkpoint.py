"""Signed heads of the log: C2SP signed notes (c2sp.org/signed-note) that carry checkpoints (c2sp.org/tlog-checkpoint).

    lethe.example/log          origin: which log
    109482                     how many entries
    sFodV/vSp5O8n9a8Qp…        base64 of the root

    — lethe.example hI2DJw…    who signed: base64 of 4 bytes of key hash, then the Ed25519 signature of the text above

The reader is strict: each value has one spelling, and a known key that signed wrongly spoils the note. Signatures by
keys that the reader does not know are passed over, as the format demands, so witnesses may add theirs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.audit.encoding import HASH_BYTES, decode64, decode_number, encode64
from core.audit.errors import EvidenceInvalid, EvidenceUnusable

ED25519 = b"\x01"
_KEY_HASH_BYTES = 4
_MOST_SIGNATURES = 64
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) (\S+)")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True)
class Verifier:
    """A public key under a name."""

    name: str
    public: bytes
    """32 bytes of Ed25519 public key."""

    @classmethod
    def from_vkey(cls, text: str) -> Verifier:
        """Read `name+hash+base64(0x01 ‖ public)`, or raise EvidenceUnusable."""
        name, _, rest = text.strip().partition("+")
        key_hash, _, encoded = rest.partition("+")
        try:
            key = decode64(encoded)
            verifier = cls(name, key[1:])
            computed = verifier.key_hash.hex()
        except ValueError:
            raise EvidenceUnusable("the verifier key is not name+hash+base64") from None
        if len(verifier.public) != HASH_BYTES or key[:1] != ED25519 or not _NAME.fullmatch(name):
            raise EvidenceUnusable("the verifier key is no Ed25519 key")
        if computed != key_hash:
            raise EvidenceUnusable("the verifier key's hash is not that of its name and bytes")
        return verifier

    @property
    def key_hash(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:_KEY_HASH_BYTES]

    @property
    def key_id(self) -> str:
        return f"{self.name}+{self.key_hash.hex()}"

    @property
    def vkey(self) -> str:
        return f"{self.key_id}+{encode64(ED25519 + self.public)}"

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Say whether this key signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key under a name: 32 bytes of Ed25519 seed. Its representation never shows the seed."""

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("a key's name has at least one character, no space and no plus")
        if len(self.seed) != HASH_BYTES:
            raise ValueError("an Ed25519 seed has 32 bytes")

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    @property
    def key_id(self) -> str:
        return self.verifier.key_id

    @property
    def vkey(self) -> str:
        return self.verifier.vkey

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes


def read_vkeys(texts: Iterable[str]) -> tuple[Verifier, ...]:
    """Read the keys that evidence is judged by, or raise EvidenceUnusable, also when there is none."""
    verifiers = tuple(map(Verifier.from_vkey, texts))
    if not verifiers:
        raise EvidenceUnusable("no verifier key was given")
    return verifiers


def sign_checkpoint(signer: Signer, origin: str, size: int, root: bytes) -> str:
    """Return the signed note for the log's first `size` entries under a 32-byte root.

    Raises:
        ValueError: the origin is empty or not one line, the size negative, or the root not 32 bytes.
    """
    if not origin or origin != origin.strip() or "\n" in origin or _CONTROL.search(origin):
        raise ValueError("an origin is one line of text")
    if size < 0 or len(root) != HASH_BYTES:
        raise ValueError("a checkpoint has a size >= 0 and a root of 32 bytes")
    text = f"{origin}\n{size}\n{encode64(root)}\n"
    signature = encode64(signer.verifier.key_hash + signer.sign(text.encode()))
    return f"{text}\n— {signer.name} {signature}\n"


def open_checkpoint(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """Return what a note says, once a known key is seen to have signed it.

    Raises:
        EvidenceInvalid: it is no checkpoint in its one spelling, no known key signed it, or one signed it wrongly.
    """
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or _CONTROL.search(note) or not signatures.endswith("\n"):
        raise EvidenceInvalid("the checkpoint is no signed note")
    _check_signatures(text + "\n", signatures[:-1].split("\n"), verifiers)
    return _read_text(text)


def read_text(note: str) -> Checkpoint:
    """Return what a note says, whoever signed it: for notes that were kept where only we can write.

    Raises:
        EvidenceInvalid: it is no checkpoint in its one spelling.
    """
    return _read_text(note.rpartition("\n\n")[0])


def _check_signatures(text: str, lines: Sequence[str], verifiers: Sequence[Verifier]) -> None:
    known = {(verifier.name, verifier.key_hash): verifier for verifier in verifiers}
    if len(lines) > _MOST_SIGNATURES:
        raise EvidenceInvalid("the checkpoint has too many signatures")
    trusted = 0
    for name, key_hash, signature in map(_read_signature, lines):
        verifier = known.get((name, key_hash))
        if verifier is None:
            continue
        if not verifier.accepts(signature, text.encode()):
            raise EvidenceInvalid("a signature of the checkpoint is wrong")
        trusted += 1
    if not trusted:
        raise EvidenceInvalid("no known key signed the checkpoint")


def _read_signature(line: str) -> tuple[str, bytes, bytes]:
    match = _SIGNATURE_LINE.fullmatch(line)
    try:
        content = decode64(match[2]) if match else b""
    except ValueError:
        content = b""
    if match is None or len(content) <= _KEY_HASH_BYTES:
        raise EvidenceInvalid("a signature line of the checkpoint cannot be read")
    return match[1], content[:_KEY_HASH_BYTES], content[_KEY_HASH_BYTES:]


def _read_text(text: str) -> Checkpoint:
    try:
        origin, size, root = text.split("\n")
        checkpoint = Checkpoint(origin, decode_number(size), decode64(root))
    except ValueError:
        raise EvidenceInvalid("the checkpoint is not origin, size and root") from None
    if not origin or len(checkpoint.root) != HASH_BYTES:
        raise EvidenceInvalid("the checkpoint lacks an origin or a whole root")
    return checkpoint
