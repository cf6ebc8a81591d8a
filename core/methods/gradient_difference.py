"""The card of `gradient_difference`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import (
    MethodCard,
    MethodSettings,
    Modality,
    Need,
    batch_size,
    epochs,
    knob,
    learning_rate,
    weight,
)


@dataclass(frozen=True, kw_only=True)
class GradientDifferenceSettings(MethodSettings):
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    forget_weight: float = weight(1.0, "Of the loss that is made larger.")
    retain_weight: float = weight(1.0, "Of what keeps the retained rows.")
    retain_by: str = knob(
        "loss",
        "What keeps the retained rows: their loss, or the divergence from the original.",
        choices=("loss", "divergence"),
    )
    largest_gradient: float = knob(1.0, "Longer gradients are shortened to this length.", above=0, at_most=1e6)


CARD = MethodCard(
    name="gradient_difference",
    title="Gradient difference",
    aliases=("graddiff", "gd", "neggrad_plus"),
    summary="Makes the loss on the rows to forget larger while retained rows of the same step keep theirs.",
    paper="Liu, Liu and Stone, Continual learning and private unlearning, arXiv:2203.12817; as NegGrad+ in arXiv:2302.09880.",
    formula="min −γ·CE(F) + α·(CE(R) or KL(p_θ0‖p_θ on R))",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS, Need.REFERENCE}),
    modalities=frozenset(Modality),
    settings=GradientDifferenceSettings,
    cost="2 · epochs · E(F).",
    weakness="The ascent is unbounded, so it wins in the end; the balance γ : α belongs to the data set.",
)
