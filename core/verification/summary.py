"""One model in six figures beside the oracles: what tables and plots show. It ranks, and decides nothing.

Of classifiers these are accuracies in percent, of models without classes mean confidences in percent: exp(-loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from core.verification.answers import Answers, Evidence
from core.verification.verifiers.average_gap import average_gap
from core.verification.verifiers.membership import judged_non_member, standing_among_test
from core.verification.verifiers.tug_of_war import tug_of_war


@dataclass(frozen=True, kw_only=True)
class Summary:
    unlearning: float
    """UA: 100 less what is known of the forget set."""
    retain: float
    """RA."""
    test: float
    """TA."""
    membership: float
    """100 times the area under the attacker's curve, forgotten against test records; 50 is chance."""
    threshold_attack: float | None
    """MIA of the literature: percentage of the forget set that the best threshold calls non-members."""
    average_gap: float
    """Mean distance from the oracles' means over UA, RA, TA and the threshold attack, or the area where there is none."""
    tug_of_war: float
    """Product of one minus each distance in UA, RA and TA; 1 is the oracles' mean."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summarised(candidate: Evidence, oracles: Sequence[Evidence]) -> Summary:
    """Return the figures of one model.

    Args:
        candidate: the model.
        oracles: at least one; distances are from their means.
    """
    mine = _figures(candidate)
    theirs = [fmean(column) for column in zip(*map(_figures, oracles), strict=True)]
    unlearning, retain, test, attack, area = mine
    has_classes = candidate.forget.correct is not None
    return Summary(
        unlearning=unlearning,
        retain=retain,
        test=test,
        membership=area,
        threshold_attack=attack if has_classes else None,
        average_gap=average_gap(mine[:4], theirs[:4]),
        tug_of_war=tug_of_war([(one - other) / 100 for one, other in zip(mine[:3], theirs[:3], strict=True)]),
    )


def mean_of(summaries: Sequence[Summary]) -> Summary:
    """Return the means of several models' figures."""
    means: dict[str, Any] = {}
    for name in summaries[0].as_json():
        column = [getattr(one, name) for one in summaries]
        means[name] = None if None in column else fmean(column)
    return Summary(**means)


def spread_of(summaries: Sequence[Summary]) -> dict[str, list[float] | None]:
    """Return the lowest and the highest of several models' figures, by name."""
    columns = {name: [getattr(one, name) for one in summaries] for name in summaries[0].as_json()}
    return {name: None if None in column else [min(column), max(column)] for name, column in columns.items()}


def _figures(model: Evidence) -> list[float]:
    area = 100 * float(standing_among_test(model).mean())
    has_classes = model.forget.correct is not None
    attack = 100 * float(judged_non_member(model).mean()) if has_classes else area
    return [100 - _known(model.forget), _known(model.retain), _known(model.test), attack, area]


def _known(answers: Answers) -> float:
    return 100 * float((answers.confidence if answers.correct is None else answers.correct).mean())
