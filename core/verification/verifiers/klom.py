"""KLoM: how far the margins of N unlearned models are distributed from those of N oracles (arXiv:2410.23232).

The distribution over models of one record's margin is a histogram of 20 equal bins over the pooled range; the score is
KL(unlearned || oracle) with the oracle's share floored at 1e-5, so it ends near ln(1e5) = 11.5. Two sets of equal
models do *not* score 0: with 100 models a side they score about 0.4, with 20 about 3. Below 50 models the histogram says
nothing, and a fitted normal distribution takes its place. The floor, oracles against oracles, is always told beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.verification.answers import MARGIN_LIMIT
from core.verification.card import Card, Need, Tier
from core.verification.intervals import Array, Interval, bootstrap

CARD = Card(
    name="klom",
    asks="Over many runs, are a record's margins distributed as the oracles' are?",
    needs=(Need.LOSSES, Need.ORACLES, Need.UNLEARNED_MODELS),
    formula="margins clipped to +-100; 20 bins over the pooled range; KL(unlearned || oracle), oracle's share >= 1e-5; "
    "below 50 models a side the KL of fitted normals",
    paper="arXiv:2410.23232",
    weakness="Identical distributions do not score 0; one unlearned model is not enough; the bins follow outliers.",
    tier=Tier.T3,
)
BINS = 20
SMALLEST_SHARE = 1e-5
FEWEST_FOR_BINS = 50
_SMALLEST_DEVIATION = 1e-6
_SPLITS = 20


class Fit(StrEnum):
    BINNED = "binned"
    GAUSSIAN = "gaussian"


@dataclass(frozen=True)
class Klom:
    """The score of one set of records, and what oracles score against each other."""

    fit: Fit
    mean: Interval
    percentile_95: float
    floor_mean: float
    """Oracles against oracles, halves of the same pool: what equality looks like at half the number of models."""
    floor_percentile_95: float

    @property
    def above_floor(self) -> bool:
        """Whether the score is more than what equal models show."""
        return self.mean.low > self.floor_mean


def klom(unlearned: Array, oracles: Array, *, confidence: float = 0.9, seed: int = 0) -> Klom:
    """Score N unlearned models against M oracles.

    Args:
        unlearned: (N, n) margins, in nats.
        oracles: (M, n) margins of the same records, M >= 4.
        confidence: of the interval for the mean over records.
        seed: of the resampling and of the floor's halves.

    Raises:
        ValueError: shapes do not fit, or there are too few models to split.
    """
    if unlearned.ndim != 2 or unlearned.shape[1:] != oracles.shape[1:] or len(unlearned) < 2 or len(oracles) < 4:  # noqa: PLR2004
        raise ValueError(f"margins are (N, n) and (M, n), N >= 2, M >= 4; got {unlearned.shape} and {oracles.shape}")
    fit = Fit.BINNED if min(len(unlearned), len(oracles)) >= FEWEST_FOR_BINS else Fit.GAUSSIAN
    scores = divergences(unlearned, oracles, fit)
    floor = floor_divergences(oracles, fit, seed)
    return Klom(
        fit=fit,
        mean=bootstrap(lambda drawn: float(drawn.mean()), [scores], confidence=confidence, seed=seed),
        percentile_95=float(np.percentile(scores, 95)),
        floor_mean=float(floor.mean()),
        floor_percentile_95=float(np.percentile(floor, 95)),
    )


def divergences(unlearned: Array, oracles: Array, fit: Fit) -> Array:
    """Return (n,) KL(unlearned || oracle) of each record's margins, in nats."""
    clipped = np.clip(unlearned, -MARGIN_LIMIT, MARGIN_LIMIT), np.clip(oracles, -MARGIN_LIMIT, MARGIN_LIMIT)
    return binned_divergence(*clipped) if fit is Fit.BINNED else gaussian_divergence(*clipped)


def floor_divergences(oracles: Array, fit: Fit, seed: int) -> Array:
    """Return (splits, n) what random halves of the oracles score against each other."""
    chance = np.random.default_rng(seed)
    half = len(oracles) // 2
    orders = [chance.permutation(len(oracles)) for _ in range(_SPLITS)]
    return np.stack([divergences(oracles[order[:half]], oracles[order[half : 2 * half]], fit) for order in orders])


def binned_divergence(unlearned: Array, oracles: Array) -> Array:
    """Return (n,) the KL of histograms; the largest margin belongs to the last bin."""
    pooled = np.vstack([unlearned, oracles])
    low, width = pooled.min(axis=0), np.ptp(pooled, axis=0) / BINS
    place = np.floor((pooled - low) / np.where(width > 0, width, 1)).astype(np.int64)
    place = np.minimum(place, BINS - 1)
    shares = [_shares(part) for part in np.split(place, [len(unlearned)])]
    return _divergence(shares[0], np.maximum(shares[1], SMALLEST_SHARE))


def gaussian_divergence(unlearned: Array, oracles: Array) -> Array:
    """Return (n,) the KL of fitted normal distributions: log(b/a) + (a^2 + (m_a - m_b)^2) / (2 b^2) - 1/2."""
    here, there = (np.maximum(np.std(part, axis=0, ddof=1), _SMALLEST_DEVIATION) for part in (unlearned, oracles))
    shift = unlearned.mean(axis=0) - oracles.mean(axis=0)
    divergence: Array = np.log(there / here) + (here**2 + shift**2) / (2 * there**2) - 0.5
    return divergence


def _shares(place: Array) -> Array:
    return np.stack([(place == number).mean(axis=0) for number in range(BINS)])  # (bins, n)


def _divergence(shares: Array, others: Array) -> Array:
    logs = np.log(np.where(shares > 0, shares, 1) / others)
    total: Array = (shares * np.where(shares > 0, logs, 0)).sum(axis=0)
    return total
