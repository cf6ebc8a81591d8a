"""Qualification: may this judge be believed about this recipe on this model? Once, on planted canaries.

Canaries are owners with flipped labels: an oracle cannot know those labels, so forgetting them shows. Then

- each of the K = 19 oracles, held out and judged against the others, must pass;
- the untouched original, a no-op, a head-only edit, a gradient-ascent wreck and a model taught random labels must each
  be refused, and on the axis that they are made to offend.

A judge that refuses oracles has margins narrower than retraining's own noise; one that passes a wreck is blind. Either
way it is not qualified, and then no request may end PASSED by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.domain.canonical import canonical
from core.verification.answers import Evidence
from core.verification.equivalence import Outcome
from core.verification.intervals import Interval, clopper_pearson
from core.verification.oracles import judge_against_oracles, judge_gaps
from core.verification.policy import Axis, Policy
from core.verification.verdict import Ending, Judgement


class Control(StrEnum):
    """A model that must be refused."""

    ORIGINAL = "original"
    NO_OP = "no_op"
    HEAD_ONLY = "head_only"
    GRADIENT_ASCENT_WRECK = "gradient_ascent_wreck"
    RANDOM_RELABELLING = "random_relabelling"


@dataclass(frozen=True)
class Offence:
    axis: Axis
    outcomes: frozenset[Outcome]


OFFENCES: Mapping[Control, Offence] = {
    Control.ORIGINAL: Offence(Axis.FORGET_CONFIDENCE, frozenset({Outcome.ABOVE})),
    Control.NO_OP: Offence(Axis.EFFECT, frozenset({Outcome.BELOW})),
    Control.HEAD_ONLY: Offence(Axis.REPRESENTATION, frozenset({Outcome.ABOVE})),
    Control.GRADIENT_ASCENT_WRECK: Offence(Axis.RETAIN_ACCURACY, frozenset({Outcome.BELOW})),
    Control.RANDOM_RELABELLING: Offence(Axis.AGREEMENT, frozenset({Outcome.BELOW})),
}
"""On which axis each control must be refused. Being refused elsewhere as well is no harm, elsewhere only is a failure."""


WITHOUT_CLASSES: Mapping[Control, Offence] = {
    Control.ORIGINAL: OFFENCES[Control.ORIGINAL],
    Control.NO_OP: OFFENCES[Control.NO_OP],
    Control.GRADIENT_ASCENT_WRECK: Offence(Axis.RETAIN_CONFIDENCE, frozenset({Outcome.BELOW})),
}
"""Of models that have a loss and no classes. A head-only edit has no axis there: the judge is blind to it, and says so."""


def offences_of(original: Evidence) -> Mapping[Control, Offence]:
    """Return which controls must be refused on which axes, for models that answer as this one does."""
    if original.forget.log_probabilities is not None:
        return OFFENCES
    if original.forget.predictions is None:
        return WITHOUT_CLASSES
    return {**WITHOUT_CLASSES, Control.RANDOM_RELABELLING: OFFENCES[Control.RANDOM_RELABELLING]}


class Standing(StrEnum):
    QUALIFIED = "qualified"
    TOO_FEW_ORACLES = "too_few_oracles"
    CONTROLS_MISSING = "controls_missing"
    REFUSES_ORACLES = "refuses_oracles"
    PASSES_A_WRECK = "passes_a_wreck"


@dataclass(frozen=True)
class Qualification:
    """Whether a judge is fit, with everything that it rests on."""

    standing: Standing
    policy_digest: str
    held_out: tuple[Judgement, ...]
    """Each oracle judged against the others."""
    pass_rate: Interval | None
    """Which share of them passed; they share oracles, so the exact interval is a guide, not a promise."""
    controls: Mapping[Control, Judgement]
    caught: Mapping[Control, bool]
    """Whether each control was refused on its own axis."""

    @property
    def qualified(self) -> bool:
        return self.standing is Standing.QUALIFIED

    def as_json(self) -> dict[str, Any]:
        return {
            "standing": self.standing,
            "policy_digest": self.policy_digest,
            "held_out": [judgement.as_json() for judgement in self.held_out],
            "pass_rate": None if self.pass_rate is None else self.pass_rate.as_json(),
            "controls": {control.value: judgement.as_json() for control, judgement in self.controls.items()},
            "caught": {control.value: caught for control, caught in self.caught.items()},
        }

    def digest(self) -> str:
        return hashlib.sha256(b"lethe qualification\x00" + canonical(self.as_json())).hexdigest()


def qualify(
    original: Evidence, *, oracles: Sequence[Evidence], controls: Mapping[Control, Evidence], policy: Policy
) -> Qualification:
    """Put the judge itself to the test.

    Args:
        original: the model that learned the canaries.
        oracles: models trained without them by the same recipe.
        controls: every control but the original and the no-op, which are made from the original here.
        policy: the policy that requests will be judged by.
    """
    if len(oracles) < policy.minimum_oracles:
        return Qualification(Standing.TOO_FEW_ORACLES, policy.digest(), (), None, {}, {})
    held_out = tuple(
        judge_gaps(oracle, original=original, oracles=[*oracles[:number], *oracles[number + 1 :]], policy=policy)
        for number, oracle in enumerate(oracles)
    )
    untouched = judge_gaps(original, original=original, oracles=oracles, policy=policy, untouched=True)
    judged = {Control.ORIGINAL: untouched} | {
        control: judge_against_oracles(model, original=original, oracles=oracles, policy=policy)
        for control, model in {Control.NO_OP: original, **controls}.items()
    }
    passed = sum(judgement.passed for judgement in held_out)
    rate, offences = clopper_pearson(passed, len(held_out), policy.confidence), offences_of(original)
    caught = {
        control: is_caught(offences[control], judgement) for control, judgement in judged.items() if control in offences
    }
    standing = Standing.QUALIFIED
    if rate.estimate < policy.held_out_pass_rate:
        standing = Standing.REFUSES_ORACLES
    elif caught.keys() != offences.keys():
        standing = Standing.CONTROLS_MISSING
    elif not all(caught.values()):
        standing = Standing.PASSES_A_WRECK
    return Qualification(standing, policy.digest(), held_out, rate, judged, caught)


def is_caught(offence: Offence, judgement: Judgement) -> bool:
    """Say whether a control was refused, and on the axis that it offends."""
    outcomes = {finding.axis: finding.outcome for finding in judgement.findings}
    return judgement.ending is not Ending.PASSED and outcomes.get(offence.axis) in offence.outcomes
