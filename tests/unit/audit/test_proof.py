from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.audit.checkpoint import open_checkpoint
from core.audit.errors import EvidenceInvalid
from core.audit.proof import LogProof, read_proof, write_proof
from tests.unit.audit.evidence import SIGNER, make_evidence, sha

PROOF = write_proof(b"entry", 7, [sha("a"), sha("b")], "checkpoint\n\nits signature\n")


def test_a_proof_is_written_as_the_format_says() -> None:
    lines = ["c2sp.org/tlog-proof@v1", "extra ZW50cnk=", "index 7"]
    lines += [base64.b64encode(sha(name)).decode() for name in "ab"]
    assert "\n".join(lines) + "\n\ncheckpoint\n\nits signature\n" == PROOF


@given(st.binary(max_size=9), st.integers(0, 2**40), st.lists(st.binary(min_size=32, max_size=32), max_size=4))
def test_a_proof_reads_back(entry: bytes, index: int, path: list[bytes]) -> None:
    text = write_proof(entry, index, path, "checkpoint\n")
    assert read_proof(text) == LogProof(entry, index, tuple(path), "checkpoint\n")


def test_a_proof_holds_under_its_checkpoint_and_for_its_entry_alone() -> None:
    proof = read_proof(make_evidence().proof)
    checkpoint = open_checkpoint(proof.checkpoint, [SIGNER.verifier])
    assert proof.holds_under(checkpoint)
    assert not LogProof(proof.entry + b" ", proof.index, proof.path, proof.checkpoint).holds_under(checkpoint)
    assert not LogProof(proof.entry, proof.index + 1, proof.path, proof.checkpoint).holds_under(checkpoint)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("c2sp.org", "\nc2sp.org"),
        ("extra ZW50cnk=\n", ""),
        ("extra ", ""),
        ("extra ", "extra  "),
        ("ZW50cnk=", "ZW50cnk"),
        ("ZW50cnk=", "ZW50cnl="),
        ("index 7", "index 07"),
        ("index 7", "7"),
        ("index 7", "index -7"),
        ("index 7\n", ""),
        ("\n\ncheckpoint\n\n", "\ncheckpoint\n"),
        (base64.b64encode(sha("a")).decode(), base64.b64encode(b"short").decode()),
        ("\n", "\r\n"),
    ],
)
def test_a_proof_in_another_spelling_cannot_be_read(old: str, new: str) -> None:
    assert old in PROOF
    with pytest.raises(EvidenceInvalid):
        read_proof(PROOF.replace(old, new))
