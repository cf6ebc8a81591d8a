"""Models that were never trained: logits drawn so that what they remember is known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.verification.answers import Answers, Evidence, answers_from_logits

CLASSES = 5
FEATURES = 12


@dataclass(frozen=True)
class World:
    """What all models are asked: true classes, and given labels that canaries have flipped."""

    seed: int = 0
    forget: int = 120
    others: int = 300

    def evidence(self, seed: int, *, memory: float = 0.0, loss: float = 0.0, noise: float = 0.7) -> Evidence:
        """Return one model's answers.

        Args:
            seed: of the model.
            memory: how much of the forget set's given labels it knows; negative: how much it shuns them.
            loss: which share of its answers outside the forget set are random.
            noise: how much models differ by their seeds.
        """
        chance = np.random.default_rng([self.seed, seed, 1])
        questions = np.random.default_rng([self.seed, 0, 0])
        parts: list[Answers] = []
        for count, canaries in ((self.forget, True), (self.others, False), (self.others, False), (self.forget, True)):
            true = questions.integers(0, CLASSES, count)
            given = (true + questions.integers(1, CLASSES, count)) % CLASSES if canaries else true
            difficulty = questions.normal(0, 1.0, (count, CLASSES))
            known = memory if len(parts) == 0 else 0.0
            body = 4 * np.eye(CLASSES)[true] + difficulty + chance.normal(0, noise, (count, CLASSES))
            logits = body + 8 * known * np.eye(CLASSES)[given]
            if not canaries:
                lost = chance.random(count) < loss
                logits[lost] = chance.normal(0, 3, (int(lost.sum()), CLASSES))
            remembered = (
                8 * max(known, 0.0) * np.eye(CLASSES)[given]
            )  # a label is shunned by the head, known by the body
            features = np.hstack([body + remembered, chance.normal(0, 1, (count, FEATURES))])
            parts.append(answers_from_logits(logits, given, features))
        forget, retain, test, holdout = parts
        return Evidence(forget, retain, test, holdout)
