"""The rank among oracles: is this model stranger on the forget set than models that never saw it are to each other?

Every one of the K + 1 models is compared with the K others, record by record, and scored by its mean |z|. If the
candidate is one more oracle, all orders are equally likely, so its rank gives an exact p-value whatever the margins'
distribution (full conformal prediction). It cannot go below 1 / (K + 1): with fewer than 19 oracles nothing can be
refused at level 0.05. Not being refused is no pass by itself; the margins of the other questions decide that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.verification.answers import Evidence
from core.verification.card import Card, Need, Tier
from core.verification.equivalence import Outcome
from core.verification.intervals import Array
from core.verification.policy import Axis
from core.verification.verdict import Ending, Finding

CARD = Card(
    name="conformal_rank",
    asks="Is the candidate the strangest model among itself and the oracles?",
    needs=(Need.LOSSES, Need.ORACLES),
    formula="z_i = (m_i - mean of others) / sd of others per record; T = mean |z|; p = #{T_k >= T_candidate} / (K + 1)",
    paper="full conformal prediction, Vovk et al. 2005",
    weakness="A true oracle is refused in alpha of cases; a fault shared by every oracle is invisible.",
    tier=Tier.T2,
)
_SMALLEST_SHARE_OF_DEVIATION = 0.01


@dataclass(frozen=True)
class Rank:
    p_value: float
    mean_z: float
    """Signed: above 0 the model is surer of the forgotten labels than oracles are."""


def conformal_rank(candidate: Array, oracles: Array) -> Rank:
    """Rank a candidate among oracles.

    Args:
        candidate: (n,) margins on the forget set, in nats.
        oracles: (K, n) the oracles' margins, K >= 2.
    """
    models = np.vstack([candidate[None, :], oracles])  # (K + 1, n)
    z = leave_one_out_z(models)
    strangeness = np.abs(z).mean(axis=1)
    # A hair of slack keeps rounding from making two equal models unequal.
    p_value = float((strangeness >= strangeness[0] * (1 - 1e-12)).mean())
    return Rank(p_value, float(z[0].mean()))


def leave_one_out_z(models: Array) -> Array:
    """Return (K + 1, n): how far each model lies from the mean of all others, in their standard deviations."""
    others = len(models) - 1
    centred = models - models.mean(axis=0)  # keeps the squares below small and exact
    total, squares = centred.sum(axis=0), (centred**2).sum(axis=0)
    mean = (total - centred) / others
    variance = np.maximum((squares - centred**2 - others * mean**2) / (others - 1), 0)
    typical = float(np.median(np.std(centred, axis=0, ddof=1)))
    deviation = np.maximum(np.sqrt(variance), max(_SMALLEST_SHARE_OF_DEVIATION * typical, 1e-12))
    z: Array = (centred - mean) / deviation
    return z


def ask_rank(candidate: Evidence, oracles: Sequence[Evidence], significance: float) -> Finding:
    """Return whether the candidate's rank on the forget set refuses it, and in which direction."""
    rank = conformal_rank(candidate.forget.margin, np.stack([oracle.forget.margin for oracle in oracles]))
    if rank.p_value > significance + 1e-12:
        return Finding(Axis.RANK, Outcome.INSIDE, None, value=rank.p_value)
    if rank.mean_z > 0:
        return Finding(Axis.RANK, Outcome.ABOVE, Ending.FAILED_UNDER_FORGOT, value=rank.p_value)
    return Finding(Axis.RANK, Outcome.BELOW, Ending.FAILED_OVER_FORGOT, value=rank.p_value)
