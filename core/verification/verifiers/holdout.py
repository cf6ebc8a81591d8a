"""Held-out examples (T1): does the model treat the forget set like examples of its kind that it never saw?

No oracle is needed: a model that never saw the forget set treats it like the held-out set, if the two really are of one
kind. That is tested first, with a model that saw neither; where they differ, every membership attack would be fooled
by the difference (open-unlearning reports an area of 2e-5, which is no memory but two kinds of text).
"""

from __future__ import annotations

from core.verification.answers import Answers, Evidence, NotComparable
from core.verification.card import Card, Need, Tier
from core.verification.equivalence import Margin
from core.verification.intervals import Interval, difference_of_means
from core.verification.policy import Axis
from core.verification.verdict import Ending, Finding, placed
from core.verification.verifiers.membership import area_under_curve
from core.verification.verifiers.representation import recovered_beside_holdout

CARD = Card(
    name="holdout",
    asks="Does the model treat the forget set like held-out examples of the same kind?",
    needs=(Need.LOSSES, Need.HOLDOUT, Need.ORIGINAL),
    formula="mean p(label) on F - mean on H inside +-delta; area under the curve of margins, F against H, inside "
    "0.5 +- delta; labels that a fresh head recovers, F against H; first the same area under a model that saw neither",
    paper="equivalence: Schuirmann 1987; area: DeLong et al. 1988; comparability: arXiv:2407.06460",
    weakness="H must be of F's kind; the area's interval is +-0.05 wide only from 400 examples a side.",
    tier=Tier.T1,
)


def ask_confidence(evidence: Evidence, width: float, confidence: float) -> Finding:
    """Return whether the given labels are as probable on the forget set as on held-out examples."""
    interval = difference_of_means(evidence.forget.confidence, _holdout_of(evidence).confidence, confidence)
    return placed(
        Axis.FORGET_CONFIDENCE,
        interval,
        Margin.both(width),
        above=Ending.FAILED_UNDER_FORGOT,
        below=Ending.FAILED_OVER_FORGOT,
    )


def ask_membership(evidence: Evidence, width: float, confidence: float) -> Finding:
    """Return whether margins tell the forget set from held-out examples, in either direction."""
    return placed(
        Axis.MEMBERSHIP,
        _area(evidence, confidence),
        Margin.both(width),
        above=Ending.FAILED_UNDER_FORGOT,
        below=Ending.FAILED_OVER_FORGOT,
    )


def ask_representation(evidence: Evidence, width: float, confidence: float) -> Finding:
    """Return whether a fresh head gives the forget set's labels back more often than held-out examples' labels."""
    forget, holdout = recovered_beside_holdout(evidence)
    return placed(
        Axis.REPRESENTATION,
        difference_of_means(forget, holdout, confidence),
        Margin.both(width),
        above=Ending.FAILED_UNDER_FORGOT,
        below=Ending.FAILED_OVER_FORGOT,
    )


def ask_comparability(saw_neither: Evidence, width: float, confidence: float) -> Finding:
    """Return whether a model that saw neither can tell the forget set from held-out examples."""
    return placed(
        Axis.COMPARABILITY,
        _area(saw_neither, confidence),
        Margin.both(width),
        above=Ending.NOT_COMPARABLE,
        below=Ending.NOT_COMPARABLE,
    )


def _area(evidence: Evidence, confidence: float) -> Interval:
    """Return the area under the curve, less 0.5, so that 0 is chance as everywhere else."""
    area = area_under_curve(evidence.forget.margin, _holdout_of(evidence).margin, confidence)
    return Interval(area.estimate - 0.5, area.low - 0.5, area.high - 0.5, area.confidence)


def _holdout_of(evidence: Evidence) -> Answers:
    if evidence.holdout is None:
        raise NotComparable("there are no held-out examples")
    return evidence.holdout
