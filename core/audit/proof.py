"""One log entry's place under a signed checkpoint, as a text that travels alone (c2sp.org/tlog-proof@v1).

The `extra` line carries the exact bytes of the entry. Nothing vouches for them until their leaf hash, climbed along the
path, meets the root of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.audit import log
from core.audit.checkpoint import Checkpoint
from core.audit.encoding import HASH_BYTES, decode64, decode_number, encode64
from core.audit.errors import EvidenceInvalid

HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class LogProof:
    entry: bytes
    """The entry as it was hashed."""
    index: int
    path: tuple[bytes, ...]
    """32-byte hashes, from the leaf's sibling up to the root's child."""
    checkpoint: str
    """The signed note, verbatim and not yet opened."""

    def holds_under(self, checkpoint: Checkpoint) -> bool:
        """Say whether the entry is in the log that the opened checkpoint heads."""
        leaf = log.leaf_hash(self.entry)
        return log.verify_inclusion(self.index, checkpoint.size, leaf, self.path, root=checkpoint.root)


def write_proof(entry: bytes, index: int, path: Sequence[bytes], checkpoint: str) -> str:
    """Return the text of a proof; see `LogProof` for its parts."""
    lines = [HEADER, f"extra {encode64(entry)}", f"index {index}", *map(encode64, path), "", checkpoint]
    return "\n".join(lines)


def read_proof(text: str) -> LogProof:
    """Read back what `write_proof` wrote; the checkpoint is not opened.

    Raises:
        EvidenceInvalid: the text is no proof in its one spelling, or carries no entry.
    """
    head, blank, checkpoint = text.partition("\n\n")
    try:
        header, extra, index, *path = head.split("\n")
        proof = LogProof(
            entry=decode64(extra.removeprefix("extra ")),
            index=decode_number(index.removeprefix("index ")),
            path=tuple(map(decode64, path)),
            checkpoint=checkpoint,
        )
    except ValueError:
        raise EvidenceInvalid("the log proof cannot be read") from None
    if header != HEADER or not blank or not extra.startswith("extra ") or not index.startswith("index "):
        raise EvidenceInvalid("the log proof lacks its header, its entry or its index")
    if any(len(value) != HASH_BYTES for value in proof.path):
        raise EvidenceInvalid("a hash of the log proof has not 32 bytes")
    return proof
