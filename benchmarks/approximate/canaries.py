"""Small models with planted canaries, for putting the judge to the test: digits, or a Gaussian mixture.

Canaries are records with flipped labels. Half of them are learned (the forget set), half never (the held-out set).
`train` fits many two-layer networks at once, one per seed, as a batched product: nineteen oracles cost seconds. This is
a kitchen of its own, with torch; the judge sees nothing but what `Kitchen.evidence` reads off a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from core.verification.answers import Answers, Evidence, answers_from_logits
from core.verification.qualification import Control

Weights = list[Tensor]
"""Of S networks at once: (S, inputs, width), (S, 1, width), (S, width, classes), (S, 1, classes)."""
BODY, HEAD = (0, 1), (2, 3)
BATCH = 64


@dataclass(frozen=True, eq=False)
class Planted:
    """A data set with canaries: rows, given labels (flipped for canaries), and who is where."""

    rows: Tensor
    labels: Tensor
    forget: Tensor
    holdout: Tensor
    retain: Tensor
    test: Tensor
    classes: int

    @property
    def learned(self) -> Tensor:
        """All that the original is trained on."""
        return torch.cat([self.forget, self.retain])


def digits(canaries: int = 150, tested: int = 297, seed: int = 0, *, flipped: bool = True) -> Planted:
    """Return scikit-learn's digits with `canaries` learned canaries, and as many held out; not flipped they are plain."""
    pixels, labels = load_digits(return_X_y=True)
    return _plant(pixels / 16, labels, canaries if flipped else 0, _Split(canaries, tested, seed))


def gaussian_mixture(canaries: int = 200, tested: int = 300, seed: int = 0) -> Planted:
    """Return 1,600 points around five centres in twenty dimensions, with canaries."""
    chance = np.random.default_rng(seed + 1)
    labels = chance.integers(0, 5, 1600)
    centres = chance.normal(0, 1, (5, 20))
    return _plant(centres[labels] + chance.normal(0, 1, (1600, 20)), labels, canaries, _Split(canaries, tested, seed))


@dataclass(frozen=True)
class _Split:
    forgotten: int
    tested: int
    seed: int


def _plant(rows: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], canaries: int, split: _Split) -> Planted:
    """Shuffle, and flip the labels of the first 2 x `canaries` records, which are the forget and the held-out set."""
    chance = np.random.default_rng(split.seed)
    order = chance.permutation(len(rows))
    rows, labels = rows[order], labels[order].copy()
    classes = int(labels.max()) + 1
    labels[: 2 * canaries] = (labels[: 2 * canaries] + chance.integers(1, classes, 2 * canaries)) % classes
    forgotten, tested = split.forgotten, split.tested
    everyone = torch.arange(len(rows))
    return Planted(
        rows=torch.tensor(rows, dtype=torch.float32),
        labels=torch.tensor(labels),
        forget=everyone[:forgotten],
        holdout=everyone[forgotten : 2 * forgotten],
        retain=everyone[2 * forgotten : len(rows) - tested],
        test=everyone[len(rows) - tested :],
        classes=classes,
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """How one training goes."""

    epochs: int
    seed: int
    only: tuple[int, ...] = (*BODY, *HEAD)
    """Which weights may move."""
    sign: float = 1.0
    """-1 climbs the loss instead."""
    learning_rate: float = 1e-2


@dataclass(frozen=True)
class Kitchen:
    """Trains and breaks models of one planted data set."""

    planted: Planted
    width: int = 128
    epochs: int = 40

    def fresh(self, models: int, seed: int) -> Weights:
        chance = torch.Generator().manual_seed(seed)
        inputs, classes = self.planted.rows.shape[1], self.planted.classes
        return [
            torch.randn(models, inputs, self.width, generator=chance) / inputs**0.5,
            torch.zeros(models, 1, self.width),
            torch.randn(models, self.width, classes, generator=chance) / self.width**0.5,
            torch.zeros(models, 1, classes),
        ]

    def train(self, weights: Weights, members: Tensor, run: Run, labels: Tensor | None = None) -> Weights:
        """Return weights after Adam on the members' rows, with the given labels or others in their place."""
        labels = self.planted.labels if labels is None else labels
        trained = [values.clone().requires_grad_(number in run.only) for number, values in enumerate(weights)]
        adam = torch.optim.Adam([values for values in trained if values.requires_grad], lr=run.learning_rate)
        chance = torch.Generator().manual_seed(run.seed)
        for _ in range(run.epochs):
            order = torch.stack([torch.randperm(len(members), generator=chance) for _ in weights[0]])
            for batch in torch.split(order, BATCH, dim=1):
                rows = members[batch]  # (S, batch)
                logits, _ = forward(trained, self.planted.rows[rows])
                loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[rows], reduction="none")
                adam.zero_grad()
                torch.autograd.backward([run.sign * loss.mean(dim=1).sum()])
                adam.step()
        return [values.detach() for values in trained]

    def original(self, seed: int = 1, count: int = 1) -> Weights:
        return self.train(self.fresh(count, seed), self.planted.learned, Run(epochs=self.epochs, seed=seed))

    def oracles(self, count: int, seed: int = 2) -> Weights:
        """Return `count` models trained without the canaries, from seeds of their own."""
        return self.train(self.fresh(count, seed), self.planted.retain, Run(epochs=self.epochs, seed=seed))

    def head_only(self, original: Weights, seed: int = 3) -> Weights:
        """Return the original with a new head, trained on retained records until its logits look right."""
        weights = [*original[:2], *self.fresh(len(original[0]), seed)[2:]]
        return self.train(weights, self.planted.retain, Run(epochs=self.epochs // 2, seed=seed, only=HEAD))

    def gradient_ascent_wreck(self, original: Weights, seed: int = 4) -> Weights:
        """Return the original after climbing the loss of the forget set with nothing to hold it back."""
        return self.train(original, self.planted.forget, Run(epochs=20, seed=seed, sign=-1.0))

    def random_relabelling(self, original: Weights, seed: int = 5) -> Weights:
        """Return the original after learning random other labels for the forget set."""
        labels = self.planted.labels.clone()
        chance = torch.Generator().manual_seed(seed)
        shift = torch.randint(1, self.planted.classes, self.planted.forget.shape, generator=chance)
        labels[self.planted.forget] = (labels[self.planted.forget] + shift) % self.planted.classes
        return self.train(original, self.planted.learned, Run(epochs=self.epochs // 2, seed=seed), labels)

    def nearly_nothing(self, original: Weights, seed: int = 6) -> Weights:
        """Return the original after one epoch at a vanishing learning rate."""
        return self.train(original, self.planted.forget, Run(epochs=1, seed=seed, sign=-1.0, learning_rate=1e-8))

    def controls(self, original: Weights) -> dict[Control, Evidence]:
        """Return the evidence of every control that has to be made."""
        makers = {
            Control.HEAD_ONLY: self.head_only,
            Control.GRADIENT_ASCENT_WRECK: self.gradient_ascent_wreck,
            Control.RANDOM_RELABELLING: self.random_relabelling,
        }
        return {control: self.evidence(make(original))[0] for control, make in makers.items()}

    def evidence(self, weights: Weights) -> list[Evidence]:
        """Return what each of the S models answers: all that the judge is shown."""
        planted = self.planted
        parts = [
            self._answers(weights, members)
            for members in (planted.forget, planted.retain, planted.test, planted.holdout)
        ]
        return [Evidence(*of_one) for of_one in zip(*parts, strict=True)]

    def _answers(self, weights: Weights, members: Tensor) -> list[Answers]:
        logits, features = forward(weights, self.planted.rows[members])
        labels = self.planted.labels[members].numpy()
        return [
            answers_from_logits(of_one.numpy(), labels, hidden.numpy())
            for of_one, hidden in zip(logits, features, strict=True)
        ]


def forward(weights: Weights, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return (S, n, classes) logits and the (S, n, width) features below them."""
    features = torch.relu(rows @ weights[0] + weights[1])
    return features @ weights[2] + weights[3], features
