"""The verdict on evidence, from bytes alone: no database, no network, no clock, and no trust but in the given keys.

A verdict keeps three lists: what the bytes prove, what the signer merely says, and what is wrong. One thing wrong makes
it invalid, and then nothing counts as proved. Input that could not be judged at all raises EvidenceUnusable instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from core.audit import log
from core.audit.certificate import LIMITATIONS, DeletionClaim, Limitation, open_envelope
from core.audit.checkpoint import Checkpoint, Verifier, open_checkpoint, read_vkeys
from core.audit.claim import read_claim
from core.audit.entry import Action, read_entry
from core.audit.errors import EvidenceInvalid, EvidenceUnusable
from core.audit.proof import HEADER, LogProof, read_proof
from core.audit.structure import claim_flaws
from core.audit.unlearning import (
    UNLEARNING_TYPE,
    UnlearningClaim,
    read_unlearning,
    unlearning_asserted,
    unlearning_flaws,
    unlearning_proved,
)
from core.domain.canonical import canonical
from core.domain.deletion import Result
from core.domain.model import Guarantee

Claim = DeletionClaim | UnlearningClaim
"""What a certificate can be about: a lattice, or a checkpoint."""


@dataclass
class Verdict:
    """What was found. Sentences are for people; their wording is no interface."""

    proved: list[str] = field(default_factory=list)
    asserted: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        return not self.failures

    def closed(self) -> Verdict:
        """Return the verdict as it may be shown: beside a failure, nothing is proved."""
        return self if self.valid else Verdict(failures=self.failures)


def verify_certificate(
    envelope: bytes, proof: str | bytes, vkeys: Sequence[str], log_entries: Iterable[bytes] | None = None
) -> Verdict:
    """Judge one certificate and its place in the log.

    Args:
        envelope: the certificate file's bytes.
        proof: the tlog-proof file's bytes or text; read files as bytes, as text mode alters line ends.
        vkeys: trusted public keys, for the certificate and the log alike.
        log_entries: the exported log in order, to recompute the head that the proof stands on.

    Raises:
        EvidenceUnusable: a key cannot be read, or an input is empty or of another kind.
    """
    verifiers, verdict = read_vkeys(vkeys), Verdict()
    claim = _judge_certificate(envelope, verifiers, verdict)
    try:
        place = read_proof(_proof_text(proof))
        checkpoint = open_checkpoint(place.checkpoint, verifiers)
        _judge_place(place, checkpoint, verdict)
        _judge_entry(place.entry, envelope, claim)
    except EvidenceInvalid as wrong:
        verdict.failures.append(wrong.detail)
    else:
        if log_entries is not None:
            _judge_log(log_entries, [checkpoint], verdict)
    return verdict.closed()


def verify_log(entries: Iterable[bytes], checkpoints: Sequence[str | bytes], vkeys: Sequence[str]) -> Verdict:
    """Judge an exported log: recompute its head at the size of each checkpoint.

    Args:
        entries: the exact bytes of every entry, in order.
        checkpoints: signed notes, in any order.
        vkeys: the log's trusted public keys.

    Raises:
        EvidenceUnusable: a key cannot be read, or there is no checkpoint to judge by.
    """
    verifiers, verdict, opened = read_vkeys(vkeys), Verdict(), []
    if not checkpoints:
        raise EvidenceUnusable("without a signed checkpoint a log shows nothing")
    for note in checkpoints:
        try:
            opened.append(open_checkpoint(_text(note, kind="checkpoint"), verifiers))
        except EvidenceInvalid as wrong:
            verdict.failures.append(wrong.detail)
    if len({checkpoint.origin for checkpoint in opened}) > 1:
        verdict.failures.append("the checkpoints are of different logs")
    _judge_log(entries, opened, verdict)
    return verdict.closed()


def split_log(content: bytes) -> list[bytes]:
    r"""Return the entries of a log exported as one entry a line, each ended by \n.

    Raises:
        EvidenceUnusable: there is nothing in it.
        EvidenceInvalid: the last line was cut off, or a line is empty.
    """
    if not content.strip():
        raise EvidenceUnusable("the log is empty")
    *entries, rest = content.split(b"\n")
    if rest or not all(entries):
        raise EvidenceInvalid("the log is not whole lines")
    return entries


def _judge_certificate(envelope: bytes, verifiers: Sequence[Verifier], verdict: Verdict) -> Claim | None:
    try:
        statement = open_envelope(envelope, verifiers)
        approximate = statement.get("predicateType") == UNLEARNING_TYPE
        claim: Claim = read_unlearning(statement) if approximate else read_claim(statement)
    except EvidenceInvalid as wrong:
        verdict.failures.append(wrong.detail)
        return None
    verdict.proved.append("A trusted key signed this certificate, and its bytes are as they were signed.")
    if isinstance(claim, UnlearningClaim):
        _judge_unlearning(claim, verdict)
        return claim
    verdict.failures += claim_flaws(claim)
    verdict.proved += _proved(claim)
    verdict.asserted += _asserted(claim)
    return claim


def _judge_unlearning(claim: UnlearningClaim, verdict: Verdict) -> None:
    flaws = unlearning_flaws(claim)
    verdict.failures += flaws
    if not flaws:
        verdict.proved += unlearning_proved(claim)
        verdict.asserted += [*unlearning_asserted(claim), *_stated(claim)]


def _judge_place(place: LogProof, checkpoint: Checkpoint, verdict: Verdict) -> None:
    if not place.holds_under(checkpoint):
        raise EvidenceInvalid("the log entry is not in the log that the checkpoint heads")
    verdict.proved.append(
        f"The log {checkpoint.origin} holds it as entry {place.index} of {checkpoint.size}, under a signed checkpoint."
    )


def _judge_entry(content: bytes, envelope: bytes, claim: Claim | None) -> None:
    entry = read_entry(content)
    refs: Mapping[str, object] = entry["refs"]
    if entry["action"] != Action.CERTIFICATE_ISSUED:
        raise EvidenceInvalid("the log entry is not about a certificate")
    if refs.get("certificate_sha256") != hashlib.sha256(envelope).hexdigest():
        raise EvidenceInvalid("the log entry is about another certificate")
    if claim and refs.get("request", claim.request.id) != claim.request.id:
        raise EvidenceInvalid("the log entry is about another request")


def _judge_log(entries: Iterable[bytes], checkpoints: Sequence[Checkpoint], verdict: Verdict) -> None:
    roots, count = _replay(entries, {checkpoint.size for checkpoint in checkpoints})
    for checkpoint in checkpoints:
        if checkpoint.size > count:
            verdict.failures.append(f"the log has {count} entries, and a checkpoint says {checkpoint.size}")
        elif roots[checkpoint.size] != checkpoint.root:
            verdict.failures.append(f"the first {checkpoint.size} entries are not those of the checkpoint")
        else:
            verdict.proved.append(f"The first {checkpoint.size} entries of the log are those that were signed.")
    covered = max((checkpoint.size for checkpoint in checkpoints), default=0)
    if count > covered:
        verdict.asserted.append(f"{count - covered} later entries, which no given checkpoint covers.")


def _replay(entries: Iterable[bytes], sizes: set[int]) -> tuple[dict[int, bytes], int]:
    """Return the root at each of these sizes, as far as the entries reach, and how many entries there were."""
    count, roots = 0, {0: log.EMPTY_ROOT}
    peaks: list[bytes] = []  # roots of the complete subtrees, largest first: one for each bit of the count
    for entry in entries:
        peaks.append(log.leaf_hash(entry))
        finished = count
        while finished & 1:
            right, left = peaks.pop(), peaks.pop()
            peaks.append(log.node_hash(left, right))
            finished >>= 1
        count += 1
        if count in sizes:
            roots[count] = reduce(lambda right, left: log.node_hash(left, right), reversed(peaks))
    return roots, count


def _proved(claim: DeletionClaim) -> list[str]:
    if claim.manifest is None:
        return []
    records, nodes = len(claim.records), len(claim.manifest.nodes)
    sentences = [
        f"The manifest {claim.manifest.digest()} is the one this certificate is about.",
        f"Each of its {nodes} nodes, served or underneath, is named by what it was trained on.",
        f"For {records} deleted records: each node has either not learned the named slice, or learned it without the record.",
        f"None of {len(claim.switched_off)} nodes named as switched off is in the manifest.",
    ]
    if claim.guarantee is Guarantee.RETRAIN_EQUIVALENT:
        sentences.append("Every shard is served at full depth by nodes that the manifest marks canonical.")
    return sentences


def _asserted(claim: DeletionClaim) -> list[str]:
    if claim.result is Result.NEVER_TRAINED:
        sentences = ["That no version that ever answered was trained on anything of this request."]
    else:
        sentences = [
            "That these are all records of the request, and that they had been placed in the named slices.",
            "That the nodes named as switched off are those that had learned these slices.",
            "That each slice root commits to all that its node was fed, in order.",
            "That the served tensors are the manifest's.",
        ]
    if claim.guarantee is Guarantee.RETRAIN_EQUIVALENT:
        alike = "tensors of the same distribution" if _on_gpu(claim) else "the same bits"
        sentences.append(f"That a fresh build on the retained records gives {alike}; replay checks it.")
    return [*sentences, *_stated(claim)]


def _stated(claim: Claim) -> list[str]:
    stated = [canonical({name: value}).decode()[1:-1] for name, value in sorted(claim.asserted.items())]
    return [*stated, *(LIMITATIONS[code] for code in claim.limitations)]


def _on_gpu(claim: DeletionClaim) -> bool:
    return Limitation.EQUIVALENCE_DISTRIBUTIONAL in claim.limitations


def _proof_text(proof: str | bytes) -> str:
    text = _text(proof, kind="log proof")
    if not any(mark in text for mark in (HEADER, "\nindex ", "\n— ")):  # one wrong byte leaves two of them
        raise EvidenceUnusable("the log proof is no tlog-proof")
    return text


def _text(content: str | bytes, *, kind: str) -> str:
    if not content.strip():
        raise EvidenceUnusable(f"the {kind} is empty")
    try:
        return (content if isinstance(content, bytes) else content.encode()).decode()
    except UnicodeError:
        raise EvidenceInvalid(f"the {kind} is not UTF-8") from None
