"""A question to a model that oracles can answer too: the shape that every T2 verifier with a margin has.

Adding one is a file in `verifiers/` with a CARD and a QUESTION, a word in `policy.Axis`, and a line in `catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from core.verification.answers import Answers, Evidence, NotComparable
from core.verification.card import Card
from core.verification.equivalence import Margin
from core.verification.gaps import gap_to_oracles
from core.verification.intervals import Array
from core.verification.policy import Axis
from core.verification.verdict import Ending, Finding, placed

Scores = Callable[[Evidence, Sequence[Evidence]], tuple[Array, Array]]


@dataclass(frozen=True, kw_only=True)
class Question:
    axis: Axis
    card: Card
    scores: Scores
    """From the candidate and K oracles to (n,) and (K, n) scores in 0..1."""
    margin: Callable[[float], Margin]
    above: Ending
    """What a gap above the margin accuses the model of."""
    below: Ending
    shows_memory: bool = False
    """Whether the untouched original should stand out here; where it does not, the forget set proves nothing."""

    def ask(self, candidate: Evidence, oracles: Sequence[Evidence], *, width: float, confidence: float) -> Finding:
        """Return where the candidate's gap to the oracles lies.

        Raises:
            NotComparable: the answers lack what this question needs.
        """
        interval = gap_to_oracles(*self.scores(candidate, oracles), confidence)
        return placed(self.axis, interval, self.margin(width), above=self.above, below=self.below)


def each(read: Callable[[Evidence], Array | None], lacking: str) -> Scores:
    """Return scores that are read from every model in the same way, and once for each model.

    Qualification asks every oracle about as often as there are oracles, and some readings solve an equation.
    """
    known: WeakKeyDictionary[Evidence, Array | None] = WeakKeyDictionary()

    def read_once(evidence: Evidence) -> Array | None:
        if evidence not in known:
            known[evidence] = read(evidence)
        return known[evidence]

    def scores(candidate: Evidence, oracles: Sequence[Evidence]) -> tuple[Array, Array]:
        found = [read_once(evidence) for evidence in (candidate, *oracles)]
        present = [one for one in found if one is not None]
        if len(present) < len(found):
            raise NotComparable(lacking)
        return present[0], np.stack(present[1:])

    return scores


def classes_of(answers: Answers) -> Array:
    """Return (n, classes) log-probabilities, or raise NotComparable."""
    if answers.log_probabilities is None:
        raise NotComparable("this question needs logits, not losses")
    return answers.log_probabilities
