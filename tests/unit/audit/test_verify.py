from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from core.audit import log
from core.audit.certificate import LIMITATIONS, Limitation, make_statement
from core.audit.checkpoint import sign_checkpoint
from core.audit.entry import Action, entry_bytes
from core.audit.errors import EvidenceInvalid, EvidenceUnusable
from core.audit.verify import Verdict, split_log, verify_certificate, verify_log
from core.domain.deletion import Result
from core.domain.model import Guarantee
from tests.unit.audit.evidence import (
    ORIGIN,
    SIGNER,
    STRANGER,
    Evidence,
    make_claim,
    make_entry,
    make_evidence,
    reader_of,
    shallow_manifest,
)

GOOD = make_evidence()


def judge(evidence: Evidence, **changed: Any) -> Verdict:
    changed = {"proof": evidence.proof.encode(), "log_entries": evidence.entries, **changed}
    return verify_certificate(changed.pop("envelope", evidence.envelope), vkeys=evidence.vkeys, **changed)


def alterations(content: bytes) -> Iterator[bytes]:
    """Every copy with one byte altered, by another bit each time, and every copy with one byte lost."""
    for place, byte in enumerate(content):
        yield content[:place] + bytes([byte ^ 1 << place % 8]) + content[place + 1 :]
        yield content[:place] + content[place + 1 :]


def checkpoint_over(entries: list[bytes], size: int, origin: str = ORIGIN) -> str:
    root = log.root(size, reader_of([log.leaf_hash(entry) for entry in entries]))
    return sign_checkpoint(SIGNER, origin, size, root)


def test_good_evidence_is_valid_and_keeps_proof_apart_from_assertion() -> None:
    verdict = judge(GOOD)
    assert verdict.valid
    assert any("entry 2 of 5" in sentence for sentence in verdict.proved)
    assert any("first 5 entries" in sentence for sentence in verdict.proved)
    assert any("canonical" in sentence for sentence in verdict.proved)
    assert '"keyStoreBackupDays":30' in verdict.asserted
    assert LIMITATIONS[Limitation.PLACEMENT_ASSERTED] in verdict.asserted
    assert not set(verdict.proved) & set(verdict.asserted)


def test_the_log_itself_is_not_needed() -> None:
    assert judge(GOOD, log_entries=None).valid
    assert verify_certificate(GOOD.envelope, GOOD.proof, GOOD.vkeys).valid


def test_no_byte_of_the_certificate_can_be_altered_or_lost() -> None:
    for altered in alterations(GOOD.envelope):
        assert not judge(GOOD, envelope=altered, log_entries=None).valid


def test_no_byte_of_the_proof_can_be_altered_or_lost() -> None:
    for altered in alterations(GOOD.proof.encode()):
        assert not judge(GOOD, proof=altered, log_entries=None).valid


def test_no_byte_of_the_log_can_be_altered_or_lost() -> None:
    for row, entry in enumerate(GOOD.entries):
        for altered in alterations(entry):
            entries = [*GOOD.entries[:row], altered, *GOOD.entries[row + 1 :]]
            assert not judge(GOOD, log_entries=entries).valid
            assert not verify_log(entries, [GOOD.checkpoint], GOOD.vkeys).valid


def test_no_byte_of_a_checkpoint_can_be_altered_or_lost() -> None:
    for altered in alterations(GOOD.checkpoint.encode()):
        assert not verify_log(GOOD.entries, [altered], GOOD.vkeys).valid


def test_a_failure_leaves_nothing_proved() -> None:
    verdict = judge(GOOD, log_entries=GOOD.entries[:4])
    assert verdict.failures == ["the log has 4 entries, and a checkpoint says 5"]
    assert verdict.proved == verdict.asserted == []


def test_a_certificate_signed_by_a_stranger_is_invalid() -> None:
    assert judge(make_evidence(signer=STRANGER)).failures == ["no known key signed the certificate"]
    assert judge(make_evidence(log_signer=STRANGER)).failures == ["no known key signed the checkpoint"]


def test_the_entry_must_be_about_this_certificate() -> None:
    assert "about a certificate" in judge(make_evidence(action=Action.JOB_DONE)).failures[0]
    assert "another certificate" in judge(make_evidence(refs={"certificate_sha256": "00" * 32})).failures[0]
    assert "another certificate" in judge(make_evidence(refs={})).failures[0]
    other = make_evidence(make_statement(make_claim(guarantee=Guarantee.INFLUENCE_FREE)))
    assert "another certificate" in judge(GOOD, proof=other.proof, log_entries=None).failures[0]


def test_the_entry_must_be_about_this_request() -> None:
    claim = make_claim(request=replace(make_claim().request, id="dr_2"))
    assert judge(make_evidence(make_statement(claim))).failures == ["the log entry is about another request"]


def test_a_signed_lie_about_the_structure_is_invalid() -> None:
    lie = make_statement(make_claim(manifest=shallow_manifest(), absences=()))
    assert "retrain_equivalent" in judge(make_evidence(lie)).failures[0]


def test_a_signed_statement_of_another_shape_is_invalid() -> None:
    assert "shape" in judge(make_evidence({"_type": "something else"})).failures[0]


def test_never_trained_is_asserted_and_not_proved() -> None:
    nothing = {"manifest": None, "records": (), "switched_off": (), "absences": (), "guarantee": None}
    verdict = judge(make_evidence(make_statement(make_claim(result=Result.NEVER_TRAINED, **nothing))))
    assert verdict.valid
    assert "That no version that ever answered was trained on anything of this request." in verdict.asserted
    assert not any("record" in sentence or "node" in sentence for sentence in verdict.proved)


def test_asserted_text_cannot_play_tricks_on_a_terminal() -> None:
    claim = make_claim(asserted={"\x1b[2J": "\x1b[31m"})
    assert all("\x1b" not in sentence for sentence in judge(make_evidence(make_statement(claim))).asserted)


@pytest.mark.parametrize(
    "changed",
    [
        {"envelope": b""},
        {"envelope": b"\x89PNG"},
        {"proof": ""},
        {"proof": b" \n"},
        {"proof": b"something else"},
    ],
)
def test_input_of_no_kind_is_unusable(changed: dict[str, Any]) -> None:
    with pytest.raises(EvidenceUnusable):
        judge(GOOD, **changed)


def test_without_a_readable_key_nothing_is_judged() -> None:
    for vkeys in ([], ["nonsense"], [SIGNER.vkey, ""]):
        with pytest.raises(EvidenceUnusable):
            judge(replace(GOOD, vkeys=vkeys))
        with pytest.raises(EvidenceUnusable):
            verify_log(GOOD.entries, [GOOD.checkpoint], vkeys)


def test_text_that_is_no_utf_8_is_invalid_and_not_a_crash() -> None:
    assert not judge(GOOD, proof=GOOD.proof.encode() + b"\xff").valid
    assert not judge(GOOD, proof=GOOD.proof + "\udcff").valid


def test_a_log_agrees_with_each_of_its_checkpoints() -> None:
    entries = [entry_bytes(make_entry(id=f"aud_{number}")) for number in range(20)]
    notes = [checkpoint_over(entries, size) for size in (20, 0, 1, 7, 16)]
    verdict = verify_log(iter(entries), notes, [SIGNER.vkey])
    assert verdict.valid
    assert len(verdict.proved) == 5
    assert verdict.asserted == []


def test_entries_after_the_last_checkpoint_are_said_to_be_uncovered() -> None:
    verdict = verify_log([*GOOD.entries, b"later"], [GOOD.checkpoint], GOOD.vkeys)
    assert verdict.valid
    assert verdict.asserted == ["1 later entries, which no given checkpoint covers."]


def test_a_log_that_was_rewritten_between_two_checkpoints_is_invalid() -> None:
    entries = [entry_bytes(make_entry(id=f"aud_{number}")) for number in range(9)]
    old = checkpoint_over(entries, 6)
    rewritten = [*entries[:3], b"rewritten", *entries[4:]]
    verdict = verify_log(rewritten, [old, checkpoint_over(rewritten, 9)], [SIGNER.vkey])
    assert verdict.failures == ["the first 6 entries are not those of the checkpoint"]


def test_a_truncated_log_is_invalid() -> None:
    assert not verify_log(GOOD.entries[:-1], [GOOD.checkpoint], GOOD.vkeys).valid
    assert not verify_log([], [GOOD.checkpoint], GOOD.vkeys).valid


def test_checkpoints_of_two_logs_do_not_vouch_for_one() -> None:
    notes = [GOOD.checkpoint, checkpoint_over(GOOD.entries, 5, origin="another log")]
    assert verify_log(GOOD.entries, notes, GOOD.vkeys).failures == ["the checkpoints are of different logs"]


def test_a_log_without_a_checkpoint_shows_nothing() -> None:
    for checkpoints in ([], [""]):
        with pytest.raises(EvidenceUnusable):
            verify_log(GOOD.entries, checkpoints, GOOD.vkeys)


def test_an_exported_log_is_split_into_its_entries() -> None:
    exported = b"".join(entry + b"\n" for entry in GOOD.entries)
    assert split_log(exported) == GOOD.entries
    for broken in (exported[:-1], exported + b"\n", exported + b"cut off"):
        with pytest.raises(EvidenceInvalid):
            split_log(broken)
    with pytest.raises(EvidenceUnusable):
        split_log(b"\n")
