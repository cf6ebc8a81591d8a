"""The judge with many models (T3): are the margins of N unlearned models distributed as those of N oracles?

One unlearned model may look like an oracle by luck; whether a *recipe* forgets shows over many runs of it. The score is
KLoM (verifiers/klom). Equal models do not score 0, so what oracles score against each other, the floor, is taken off
first, and the rest is placed against a limit: its whole interval must lie below. On the forget set too much accuses the
recipe of under- or over-forgetting, by the side on which its margins lie; on retained and test records of lost utility.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.verification.answers import Evidence, NotComparable, check_same_questions
from core.verification.card import Tier
from core.verification.equivalence import Margin, Outcome
from core.verification.intervals import Array, Interval
from core.verification.policy import Axis, Policy
from core.verification.verdict import Ending, Finding, Judgement, placed, worst
from core.verification.verifiers.klom import klom

LARGEST_EXCESS = 0.25
"""Nats above the floor. A shift of one deviation scores about 0.5 by normal fits and 0.8 by bins above it."""
FEWEST_MODELS = 10
"""Of each kind; below, fitted deviations say nothing."""


def judge_populations(
    unlearned: Sequence[Evidence],
    *,
    originals: Sequence[Evidence],
    oracles: Sequence[Evidence],
    policy: Policy,
    largest_excess: float = LARGEST_EXCESS,
) -> Judgement:
    """Decide whether many runs of a recipe are equivalent to many oracles.

    Args:
        unlearned: N models, each unlearned from an original of its own seed.
        originals: those originals, to show that passing means anything.
        oracles: models that were trained without the forget set.
        policy: for its digest, level and seed.
        largest_excess: how far above the oracles' own floor the mean score may lie, in nats.

    Returns:
        A judgement with one finding each for forgotten, retained and test records, in this order.
    """
    fewest = min(map(len, (unlearned, originals, oracles)))
    if fewest < FEWEST_MODELS:
        return _bare(Ending.UNDERPOWERED, policy, len(oracles), f"there must be {FEWEST_MODELS} models of each kind")
    try:
        check_same_questions(unlearned[0], [*unlearned[1:], *originals, *oracles])
    except NotComparable as unfit:
        return _bare(Ending.NOT_COMPARABLE, policy, len(oracles), str(unfit))
    findings = [_ask(part, unlearned, oracles, policy, largest_excess) for part in ("forget", "retain", "test")]
    telling = _ask("forget", originals, oracles, policy, largest_excess).outcome is Outcome.ABOVE
    endings = [finding.accuses for finding in findings]
    return Judgement(
        ending=worst(endings if telling else [*endings, Ending.UNDERPOWERED]),
        tier=Tier.T3,
        policy_digest=policy.digest(),
        oracles=len(oracles),
        findings=tuple(findings),
        reason="" if telling else "the originals are not above the limit either",
    )


def _ask(
    part: str, models: Sequence[Evidence], oracles: Sequence[Evidence], policy: Policy, largest_excess: float
) -> Finding:
    mine, theirs = _margins(models, part), _margins(oracles, part)
    score = klom(mine, theirs, confidence=policy.confidence, seed=policy.seed)
    excess = Interval(
        score.mean.estimate - score.floor_mean,
        score.mean.low - score.floor_mean,
        score.mean.high - score.floor_mean,
        score.mean.confidence,
    )
    too_much = Ending.UTILITY_LOST
    if part == "forget":
        remembers = float(mine.mean() - theirs.mean()) > 0
        too_much = Ending.FAILED_UNDER_FORGOT if remembers else Ending.FAILED_OVER_FORGOT
    return placed(Axis.DISTRIBUTION, excess, Margin(None, largest_excess), above=too_much, below=too_much)


def _margins(models: Sequence[Evidence], part: str) -> Array:
    return np.stack([getattr(one, part).margin for one in models])  # (models, records)


def _bare(ending: Ending, policy: Policy, oracles: int, reason: str) -> Judgement:
    return Judgement(ending, Tier.T3, policy.digest(), oracles, (), reason)
