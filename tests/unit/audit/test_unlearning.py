"""The certificate of an approximate method: it reads back, and every way of claiming more than was judged is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from core.audit.certificate import Limitation, RequestFacts
from core.audit.errors import EvidenceInvalid
from core.audit.unlearning import (
    ATTEMPT,
    UnlearningClaim,
    make_unlearning_statement,
    read_unlearning,
    unlearning_asserted,
    unlearning_flaws,
)
from core.domain.canonical import canonical
from core.domain.checkpoint import CheckpointManifest
from core.domain.deletion import RequestKind
from core.domain.model import Guarantee

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def judgement(ending: str = "passed", **finding: Any) -> dict[str, Any]:
    one = {
        "axis": "forget_confidence",
        "outcome": "inside",
        "accuses": None,
        "interval": {"estimate": 0.01, "low": -0.02, "high": 0.04, "confidence": 0.9},
        "margin": {"low": -0.1, "high": 0.1},
    }
    return {
        "ending": ending,
        "tier": "T1",
        "policy_digest": "9" * 64,
        "oracles": 0,
        "findings": [one | finding],
        "reason": "",
    }


def digest(judged: dict[str, Any]) -> str:
    return hashlib.sha256(b"lethe judgement\x00" + canonical(judged)).hexdigest()


def attempt(judged: dict[str, Any], **said: Any) -> dict[str, Any]:
    known: dict[str, Any] = dict.fromkeys(ATTEMPT)
    return (
        known
        | {
            "number": 0,
            "method": "scrub",
            "settings": {},
            "seed": 1,
            "run": "a" * 64,
            "result": "c" * 64,
            "accepted": True,
            "integrity": [],
            "ending": judged["ending"],
            "judgement": judged,
            "judgement_digest": digest(judged),
        }
        | said
    )


def claim(*attempts: dict[str, Any], guarantee: Guarantee = Guarantee.JUDGED, **said: Any) -> UnlearningClaim:
    told = list(attempts or [attempt(judgement())])
    evidence = {
        "tier": "T1",
        "qualified": True,
        "fewerOracles": False,
        "qualification": "8" * 64,
        "verificationPolicy": "9" * 64,
        "staged": False,
    }
    given: dict[str, Any] = {
        "request": RequestFacts(id="dr_1", received_at=NOON),
        "kind": RequestKind.DATA_DELETION,
        "model": "mdl_1",
        "version": "ver_2",
        "guarantee": guarantee,
        "issued_at": NOON,
        "manifest": CheckpointManifest(
            recipe="1" * 64, stage_history="2" * 64, tensors="c" * 64, made_by=told[-1]["method"], run="a" * 64
        ),
        "evidence": evidence | said.pop("evidence", {}),
        "routing": {"policy": "7" * 64, "omitted": []},
        "attempts": told,
        "waiver": None,
        "asserted": {},
        "limitations": [Limitation.STATISTICAL_EVIDENCE],
    }
    return UnlearningClaim(**given | said)


def test_a_claim_reads_back_as_it_was_stated_and_holds_together() -> None:
    made = claim()
    again = read_unlearning(make_unlearning_statement(made))
    assert make_unlearning_statement(again) == make_unlearning_statement(made)
    assert unlearning_flaws(again) == []
    assert "forgotten" not in " ".join(unlearning_asserted(again))


def refused() -> dict[str, Any]:
    return judgement("underpowered", outcome="undecided", accuses="underpowered", interval={"low": 0.05, "high": 0.2})


LIES: dict[str, Callable[[], UnlearningClaim]] = {
    "a pass by a judge that nobody qualified": lambda: claim(evidence={"qualified": False}),
    "a pass of a model of several stages": lambda: claim(evidence={"staged": True}),
    "a promise to have been judged, of what was refused": lambda: claim(attempt(refused())),
    "a pass that its findings do not bear": lambda: claim(attempt(judgement("passed", accuses="underpowered"))),
    "an outcome where the interval does not lie": lambda: claim(
        attempt(judgement("passed", interval={"low": 0.05, "high": 0.2}))
    ),
    "another judgement than the one named": lambda: claim(attempt(judgement(), judgement_digest="0" * 64)),
    "a retrain by another method": lambda: claim(attempt(refused()), guarantee=Guarantee.RETRAINED),
    "a waiver that is not there": lambda: claim(attempt(refused(), accepted=False), guarantee=Guarantee.WAIVED),
    "no attempt that made what is served": lambda: claim(attempt(judgement(), result="e" * 64)),
    "two attempts that were accepted": lambda: claim(attempt(judgement()), attempt(judgement())),
    "another run than the manifest's": lambda: claim(attempt(judgement(), run="b" * 64)),
    "a lattice's promise": lambda: claim(guarantee=Guarantee.INFLUENCE_FREE),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_claims_more_than_was_judged_is_noticed(lie: str) -> None:
    assert unlearning_flaws(LIES[lie]()) != []


def test_a_waiver_of_the_very_judgement_and_a_retrain_hold() -> None:
    judged = refused()
    waiver = {"waived_by": "ak_1", "judgement_digest": digest(judged)}
    assert unlearning_flaws(claim(attempt(judged, accepted=False), guarantee=Guarantee.WAIVED, waiver=waiver)) == []
    assert unlearning_flaws(claim(attempt(judged, method="retrain"), guarantee=Guarantee.RETRAINED)) == []


@pytest.mark.parametrize("field", ["model", "guarantee", "manifest", "evidence", "attempts", "routing", "limitations"])
def test_a_statement_without_a_field_is_refused(field: str) -> None:
    statement = deepcopy(make_unlearning_statement(claim()))
    del statement["predicate"][field]
    with pytest.raises(EvidenceInvalid):
        read_unlearning(statement)


def test_a_subject_that_is_not_the_manifest_s_digest_is_refused() -> None:
    statement = deepcopy(make_unlearning_statement(claim()))
    statement["predicate"]["manifest"]["tensors"] = "d" * 64
    with pytest.raises(EvidenceInvalid, match="subject"):
        read_unlearning(statement)
