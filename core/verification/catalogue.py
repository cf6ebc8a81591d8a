"""Every verifier there is, each one line. A new one is a file with a card, and a line here.

QUESTIONS are what oracles can be asked too, and what a policy may put a margin on. CARDS are all verifiers, also those
that only report. What the field knows and this house does not have yet (U-LiRA, CKA bands, quantisation, relearning on
unrelated text, extraction, path dependence) comes in by the same two lines.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.verification.card import Card
from core.verification.policy import Axis
from core.verification.question import Question
from core.verification.verifiers import (
    accuracy,
    agreement,
    average_gap,
    conformal_rank,
    effect,
    holdout,
    integrity,
    klom,
    membership,
    representation,
    tug_of_war,
)

QUESTIONS: Mapping[Axis, Question] = {
    question.axis: question
    for question in (
        accuracy.FORGET_ACCURACY,
        accuracy.FORGET_CONFIDENCE,
        membership.QUESTION,
        agreement.QUESTION,
        representation.QUESTION,
        accuracy.RETAIN_ACCURACY,
        accuracy.TEST_ACCURACY,
        accuracy.RETAIN_CONFIDENCE,
        accuracy.TEST_CONFIDENCE,
    )
}

CARDS: Mapping[str, Card] = {
    card.name: card
    for card in (
        integrity.CARD,
        effect.CARD,
        holdout.CARD,
        accuracy.ACCURACY,
        accuracy.CONFIDENCE,
        membership.CARD,
        agreement.CARD,
        representation.CARD,
        conformal_rank.CARD,
        average_gap.CARD,
        tug_of_war.CARD,
        klom.CARD,
    )
}
