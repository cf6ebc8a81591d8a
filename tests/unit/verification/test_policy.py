"""Policies, verdicts, waivers and the catalogue: the words, their digests, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.canonical import canonical
from core.domain.deletion import WaiverReason
from core.domain.errors import PolicyRefused
from core.verification.card import Card, Need, Tier
from core.verification.catalogue import CARDS, QUESTIONS
from core.verification.equivalence import Margin, Outcome
from core.verification.intervals import Interval
from core.verification.policy import CLASSIFIER, ORACLE_AXES, POLICIES, SCHEMA, Axis, policy_from_json
from core.verification.qualification import OFFENCES, Control
from core.verification.verdict import SENTENCES, Ending, Finding, Judgement, placed, worst
from core.verification.waiver import Waiver, waive

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "verification.md"


def as_text(**changes: Any) -> str:
    return json.dumps({**CLASSIFIER.as_json(), **changes})


def judgement(ending: Ending = Ending.UNDERPOWERED, **changes: Any) -> Judgement:
    interval = Interval(0.01, -0.02, 0.04, 0.9)
    finding = placed(
        Axis.FORGET_CONFIDENCE, interval, Margin.both(0.1), above=Ending.FAILED_UNDER_FORGOT, below=Ending.NO_EFFECT
    )
    return replace(Judgement(ending, Tier.T2, CLASSIFIER.digest(), 19, (finding,)), **changes)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_reads_back_as_itself(name: str) -> None:
    policy = POLICIES[name]
    again = policy_from_json(json.dumps(policy.as_json(), indent=3))
    assert again == policy
    assert again.digest() == policy.digest()
    content = b"lethe verification policy\x00" + canonical(json.loads(json.dumps(policy.as_json())))
    assert policy.digest() == hashlib.sha256(content).hexdigest()


@given(width=st.floats(0.001, 0.25), axis=st.sampled_from(sorted(CLASSIFIER.oracle_margins)))
def test_another_margin_is_another_policy(width: float, axis: Axis) -> None:
    changed = policy_from_json(as_text(oracle_margins={**CLASSIFIER.as_json()["oracle_margins"], axis.value: width}))
    assert changed.oracle_margins[axis] == width
    assert (changed.digest() == CLASSIFIER.digest()) == (width == CLASSIFIER.oracle_margins[axis])


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"oracle_margins": {"forget_confidence": 0.5}}, "/oracle_margins/forget_confidence"),
        ({"oracle_margins": {"forget_confidence": 0}}, "/oracle_margins/forget_confidence"),
        ({"oracle_margins": {"forget_confidence": True}}, "/oracle_margins/forget_confidence"),
        ({"oracle_margins": {"forget_confidence": float("nan")}}, "/oracle_margins/forget_confidence"),
        ({"oracle_margins": {"forget_confidence": 0.1, "vibes": 0.1}}, "/oracle_margins"),
        ({"oracle_margins": {"test_accuracy": 0.1}}, "/oracle_margins"),
        ({"oracle_margins": []}, "/oracle_margins"),
        ({"request_margins": {"forget_confidence": 0.1, "rank": 0.1}}, "/request_margins"),
        ({"significance": 0.5}, "/significance"),
        ({"significance": "0.05"}, "/significance"),
        ({"significance": 0.04}, "/significance"),
        ({"minimum_oracles": 3}, "/minimum_oracles"),
        ({"minimum_oracles": 9}, "/significance"),
        ({"minimum_oracles": 19.5}, "/minimum_oracles"),
        ({"held_out_pass_rate": 0.1}, "/held_out_pass_rate"),
        ({"smallest_effect": 0}, "/smallest_effect"),
        ({"seed": -1}, "/seed"),
        ({"version": 0}, "/version"),
        ({"name": "A name!"}, "/name"),
        ({"comment": "trust me"}, ""),
    ],
)
def test_a_policy_out_of_bounds_is_refused(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(PolicyRefused) as refused:
        policy_from_json(as_text(**changes))
    assert [flaw.pointer for flaw in refused.value.flaws] == [pointer]


def test_every_flaw_is_told_at_once() -> None:
    with pytest.raises(PolicyRefused) as refused:
        policy_from_json(as_text(significance=2, seed=-1, name=""))
    assert {flaw.pointer for flaw in refused.value.flaws} == {"/significance", "/seed", "/name"}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": "other"}', "[" * 100_000])
def test_what_is_no_policy_is_refused(content: str) -> None:
    with pytest.raises(PolicyRefused):
        policy_from_json(content)
    with pytest.raises(PolicyRefused) as refused:
        policy_from_json(json.dumps({"schema": SCHEMA}))
    assert {flaw.code for flaw in refused.value.flaws} == {"missing"}


@given(st.sets(st.sampled_from(list(Ending))))
def test_a_pass_is_what_remains_when_nothing_else_does(endings: set[Ending]) -> None:
    ending = worst(endings)
    assert (ending is Ending.PASSED) == (not endings - {Ending.PASSED})
    assert ending in endings or ending is Ending.PASSED
    if Ending.FAILED_UNDER_FORGOT in endings:
        assert ending not in {Ending.UNDERPOWERED, Ending.UTILITY_LOST, Ending.FAILED_OVER_FORGOT}


def test_nothing_is_ever_said_to_be_forgotten() -> None:
    assert set(SENTENCES) == set(Ending)
    words = {word.strip(".,:").lower() for sentence in SENTENCES.values() for word in sentence.split()}
    assert "forgotten" not in words
    assert not any(ending.value == "forgotten" for ending in Ending)


@pytest.mark.parametrize(
    ("low", "accused"),
    [(-0.05, None), (0.2, Ending.FAILED_UNDER_FORGOT), (-0.4, Ending.FAILED_OVER_FORGOT), (0.05, Ending.UNDERPOWERED)],
)
def test_a_finding_accuses_by_its_place(low: float, accused: Ending | None) -> None:
    finding = placed(
        Axis.FORGET_CONFIDENCE,
        Interval(low + 0.05, low, low + 0.1, 0.9),
        Margin.both(0.1),
        above=Ending.FAILED_UNDER_FORGOT,
        below=Ending.FAILED_OVER_FORGOT,
    )
    assert finding.accuses is accused


def test_a_judgement_is_canonical_and_its_digest_notices_everything() -> None:
    one = judgement()
    assert json.loads(canonical(one.as_json()))["ending"] == "underpowered"
    changed = [
        judgement(Ending.PASSED),
        judgement(oracles=20),
        judgement(tier=Tier.T1),
        judgement(reason="more"),
        judgement(findings=()),
        judgement(findings=(Finding(Axis.RANK, Outcome.INSIDE, None, value=0.5),)),
    ]
    assert len({one.digest(), *(other.digest() for other in changed)}) == 7
    assert one.finding(Axis.FORGET_CONFIDENCE).outcome is Outcome.INSIDE
    with pytest.raises(KeyError):
        one.finding(Axis.RANK)


def test_a_waiver_names_a_person_and_covers_one_judgement() -> None:
    refused = judgement()
    waiver = waive(refused, waived_by="privacy.officer", reason=WaiverReason.RETRAIN_SCHEDULED, now=NOON)
    assert waiver.covers(refused)
    assert not waiver.covers(judgement(reason="other evidence"))
    assert not waiver.covers(judgement(policy_digest="0" * 64))
    assert refused.ending is Ending.UNDERPOWERED
    assert waiver.as_json()["waived_by"] == "privacy.officer"
    assert len({waiver.digest(), replace(waiver, waived_by="another").digest()}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"waived_by": ""},
        {"waived_by": "two people"},
        {"waived_by": "someone@example.org"},
        {"ending": Ending.PASSED},
        {"judgement_digest": "none"},
        {"policy_digest": ""},
        {"waived_at": datetime(2026, 11, 21)},  # noqa: DTZ001 - the point of the case
    ],
)
def test_a_waiver_by_nobody_or_of_nothing_is_refused(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "waived_by": "privacy.officer",
        "reason": WaiverReason.RISK_ACCEPTED,
        "ending": Ending.UNDERPOWERED,
        "judgement_digest": "0" * 64,
        "policy_digest": "1" * 64,
        "waived_at": NOON,
    }
    Waiver(**good)
    with pytest.raises(ValueError, match="waiver"):
        Waiver(**{**good, **changes})


def test_a_card_without_a_weakness_is_refused() -> None:
    whole: dict[str, Any] = dict.fromkeys(("name", "asks", "formula", "paper", "weakness"), "x")
    Card(**whole, needs=(Need.LOGITS,), tier=Tier.T2)
    for word in whole:
        with pytest.raises(ValueError, match=word):
            Card(**{**whole, word: " "}, needs=(Need.LOGITS,), tier=Tier.T2)
    with pytest.raises(ValueError, match="needs"):
        Card(**whole, needs=(), tier=Tier.T2)


def test_the_catalogue_holds_every_verifier_there_is() -> None:
    files = {
        file.stem
        for file in (PAGE.parents[1] / "core" / "verification" / "verifiers").glob("*.py")
        if file.stem != "__init__"
    }
    assert files - {"accuracy"} == set(CARDS) - {"accuracy", "confidence"}
    assert set(QUESTIONS) == ORACLE_AXES
    assert {question.card.name for question in QUESTIONS.values()} <= set(CARDS)


def test_the_page_knows_every_verifier_ending_control_and_margin() -> None:
    page = PAGE.read_text()
    rows = set(re.findall(r"^\| `([a-z0-9_]+)` \|", page, re.MULTILINE))
    assert rows == set(CARDS) | {ending.value for ending in Ending}
    for offence in OFFENCES.values():
        assert f"`{offence.axis.value}`" in page
    for width in {*CLASSIFIER.oracle_margins.values(), *CLASSIFIER.request_margins.values()}:
        assert f"{width:.2f}" in page
    for card in CARDS.values():
        for paper in re.findall(r"arXiv:[0-9.]+", card.formula):
            assert paper in page


def test_every_control_offends_on_an_axis_that_is_asked() -> None:
    assert set(OFFENCES) == set(Control)
    assert {offence.axis for offence in OFFENCES.values()} <= set(CLASSIFIER.oracle_margins) | {Axis.EFFECT}
