"""The certificate of an approximate method: what was tried, what the judge said, and what that allows to be promised.

It is another predicate than that of a lattice, because nothing here is proved of the weights. What the bytes show is that
the account holds together: findings lie where their intervals and margins put them, a judgement has its digest, and the
promise follows from the attempt that was accepted. `make_statement` and `read_unlearning` are each other's inverse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.audit.certificate import STATEMENT_TYPE, Limitation, RequestFacts
from core.audit.encoding import timestamp
from core.audit.errors import EvidenceInvalid
from core.domain.canonical import canonical
from core.domain.checkpoint import CheckpointManifest
from core.domain.deletion import RequestKind
from core.domain.model import Guarantee

UNLEARNING_TYPE = "https://lethe.dev/attestation/model-unlearning/v0.1"
PASSED, INSIDE = "passed", "inside"
RETRAIN = "retrain"
ATTEMPT = frozenset(
    {
        "number",
        "method",
        "settings",
        "seed",
        "why",
        "cost_share",
        "card",
        "run",
        "result",
        "rows",
        "ended",
        "cost",
        "audited",
        "drift",
        "accepted",
        "why_accepted_or_not",
        "failure",
        "ending",
        "integrity",
        "judgement",
        "judgement_digest",
    }
)
"""What is said of every attempt."""


@dataclass(frozen=True, kw_only=True)
class UnlearningClaim:
    """All that such a certificate says."""

    request: RequestFacts
    kind: RequestKind
    model: str
    version: str
    guarantee: Guarantee
    issued_at: datetime
    manifest: CheckpointManifest
    evidence: Mapping[str, Any]
    """tier, qualified, fewer_oracles, qualification, verification_policy, staged."""
    routing: Mapping[str, Any]
    """policy, omitted: which methods were not tried, and why."""
    attempts: Sequence[Mapping[str, Any]]
    waiver: Mapping[str, Any] | None
    asserted: Mapping[str, Any]
    limitations: Sequence[Limitation]

    @property
    def served(self) -> Mapping[str, Any]:
        """The attempt whose result is served."""
        [one] = [
            attempt for attempt in self.attempts if attempt["result"] == self.manifest.tensors and _is(self, attempt)
        ]
        return one


def _is(claim: UnlearningClaim, attempt: Mapping[str, Any]) -> bool:
    if claim.waiver is not None:
        return bool(attempt["judgement_digest"] == claim.waiver["judgement_digest"])
    return bool(attempt["accepted"])


def make_unlearning_statement(claim: UnlearningClaim) -> dict[str, Any]:
    """Return the in-toto statement; its subject is the manifest's digest."""
    manifest = claim.manifest.as_json()
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {
                "name": f"{claim.model}/{claim.version}",
                "digest": {"sha256": hashlib.sha256(canonical(manifest)).hexdigest()},
            }
        ],
        "predicateType": UNLEARNING_TYPE,
        "predicate": {
            "request": {
                "id": claim.request.id,
                "externalIdDigest": claim.request.external_id_digest,
                "regulation": claim.request.regulation,
                "receivedAt": timestamp(claim.request.received_at),
                "kind": claim.kind.value,
            },
            "model": claim.model,
            "guarantee": claim.guarantee.value,
            "issuedAt": timestamp(claim.issued_at),
            "manifest": manifest,
            "evidence": dict(claim.evidence),
            "routing": dict(claim.routing),
            "attempts": [dict(attempt) for attempt in claim.attempts],
            "waiver": None if claim.waiver is None else dict(claim.waiver),
            "asserted": dict(claim.asserted),
            "limitations": [Limitation(code).value for code in claim.limitations],
        },
    }


def read_unlearning(statement: Mapping[str, Any]) -> UnlearningClaim:
    """Return what a statement claims.

    Raises:
        EvidenceInvalid: it has other types, fields or shapes, or its subject is not the digest of its manifest.
    """
    try:
        claim = _claim(statement)
        rewritten = make_unlearning_statement(claim)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EvidenceInvalid("the statement has not the shape of an unlearning certificate") from None
    if rewritten["subject"] != statement["subject"]:
        raise EvidenceInvalid("the subject is not the digest of the manifest")
    if canonical(rewritten) != canonical(statement):
        raise EvidenceInvalid("the statement has not the fields of an unlearning certificate")
    return claim


def _claim(statement: Mapping[str, Any]) -> UnlearningClaim:
    [subject] = statement["subject"]
    predicate = statement["predicate"]
    request, model = predicate["request"], predicate["model"]
    name, _, version = subject["name"].removeprefix(model).partition("/")
    if name or not version:
        raise ValueError("the subject is a version of another model")
    attempts = tuple(dict(one.items()) for one in predicate["attempts"])
    if any(one.keys() != ATTEMPT or not isinstance(one["accepted"], bool) for one in attempts):
        raise ValueError("an attempt has other fields")
    evidence, routing = dict(predicate["evidence"].items()), dict(predicate["routing"].items())
    if evidence.keys() != {"tier", "qualified", "fewerOracles", "qualification", "verificationPolicy", "staged"}:
        raise ValueError("the evidence has other fields")
    if routing.keys() != {"policy", "omitted"}:
        raise ValueError("the routing has other fields")
    return UnlearningClaim(
        request=RequestFacts(
            id=request["id"],
            external_id_digest=request["externalIdDigest"],
            regulation=request["regulation"],
            received_at=datetime.fromisoformat(request["receivedAt"]),
        ),
        kind=RequestKind(request["kind"]),
        model=model,
        version=version,
        guarantee=Guarantee(predicate["guarantee"]),
        issued_at=datetime.fromisoformat(predicate["issuedAt"]),
        manifest=CheckpointManifest.from_json(predicate["manifest"]),
        evidence=evidence,
        routing=routing,
        attempts=attempts,
        waiver=None if predicate["waiver"] is None else dict(predicate["waiver"].items()),
        asserted=dict(predicate["asserted"].items()),
        limitations=tuple(map(Limitation, predicate["limitations"])),
    )


def unlearning_flaws(claim: UnlearningClaim) -> list[str]:
    """Return what does not hold together in the claim's own account."""
    try:
        flaws = [flaw for attempt in claim.attempts for flaw in _attempt_flaws(attempt)]
        return [*flaws, *_promise_flaws(claim)]
    except (KeyError, TypeError, ValueError, AttributeError):
        return ["the account of the attempts cannot be read"]


def _attempt_flaws(attempt: Mapping[str, Any]) -> Iterator[str]:
    judgement, number = attempt["judgement"], attempt["number"]
    if judgement is None:
        if attempt["ending"] is not None or attempt["judgement_digest"] is not None:
            yield f"attempt {number} has an ending and no judgement"
        return
    digest = hashlib.sha256(b"lethe judgement\x00" + canonical(judgement)).hexdigest()
    if digest != attempt["judgement_digest"] or judgement["ending"] != attempt["ending"]:
        yield f"the judgement of attempt {number} is not the one that is named"
    for finding in judgement["findings"]:
        if "interval" in finding and "margin" in finding and place(finding) != finding["outcome"]:
            yield f"a finding of attempt {number} does not lie where its interval and margin put it"
    if judgement["ending"] == PASSED:
        accused = any(finding["accuses"] is not None for finding in judgement["findings"])
        if accused or not judgement["findings"]:
            yield f"attempt {number} is said to have passed, and its findings do not say so"


def place(finding: Mapping[str, Any]) -> str:
    """Return where a finding's interval lies against its margin, computed anew."""
    interval, margin = finding["interval"], finding["margin"]
    low, high = margin["low"], margin["high"]
    if low is not None and interval["high"] < low:
        return "below"
    if high is not None and interval["low"] > high:
        return "above"
    inside = (low is None or interval["low"] >= low) and (high is None or interval["high"] <= high)
    return INSIDE if inside else "undecided"


def _promise_flaws(claim: UnlearningClaim) -> Iterator[str]:
    served = [one for one in claim.attempts if one["result"] == claim.manifest.tensors and _is(claim, one)]
    if len(served) != 1:
        yield "no single attempt made what is served"
        return
    [attempt] = served
    if (attempt["method"], attempt["run"]) != (claim.manifest.made_by, claim.manifest.run):
        yield "the manifest names another run than the attempt that was accepted"
    if claim.guarantee is Guarantee.JUDGED and not (
        (attempt["ending"] == PASSED and claim.evidence["qualified"] and not claim.evidence["staged"])
        or (claim.kind is RequestKind.CONCEPT_SUPPRESSION and attempt["ending"] == PASSED)
    ):
        yield "it promises what a judge passed, and no qualified judge passed it"
    if claim.guarantee is Guarantee.RETRAINED and (attempt["method"] != RETRAIN or claim.evidence["staged"]):
        yield "it promises a retrain, and there was none of the whole model"
    if (claim.guarantee is Guarantee.WAIVED) != (claim.waiver is not None):
        yield "a waiver and its promise go together"
    if claim.waiver is not None and attempt["ending"] == PASSED:
        yield "what passed needs no waiver"
    if claim.guarantee not in {Guarantee.JUDGED, Guarantee.RETRAINED, Guarantee.WAIVED}:
        yield "it promises what no method can give"


def unlearning_proved(claim: UnlearningClaim) -> list[str]:
    """Return what the bytes alone show."""
    return [
        f"The manifest {claim.manifest.digest()} is the one this certificate is about.",
        f"{len(claim.attempts)} attempts are told, and each finding lies where its interval and margin put it.",
        "The promise follows from the attempt that was accepted, and from nothing else.",
    ]


def unlearning_asserted(claim: UnlearningClaim) -> list[str]:
    """Return what the signer merely says."""
    served = claim.served
    promise = {
        Guarantee.JUDGED: "within the stated margins it answers as a model that never saw the records",
        Guarantee.RETRAINED: "it was trained afresh without the records",
        Guarantee.WAIVED: "a named person answers for it, and the judge did not pass it",
    }.get(claim.guarantee, "nothing")
    if claim.kind is RequestKind.CONCEPT_SUPPRESSION and claim.guarantee is Guarantee.JUDGED:
        promise = "the concept's examples are answered with much less confidence, and the rest as before"
    return [
        f"Made by {served['method']} with the settings and the seed that are told; {promise}.",
        f"Evidence of tier {claim.evidence['tier']}; the judge's ending was {served['ending']}.",
        "That the models were asked, and answered, as the findings say.",
        "That the served tensors are the manifest's.",
    ]
