"""The card of `negative_preference`."""

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
class NegativePreferenceSettings(MethodSettings):
    epochs: int = epochs(10)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size(32)
    beta: float = knob(0.1, "Inverse temperature; towards 0 the method becomes gradient ascent.", above=0, at_most=100)
    retain_weight: float = weight(1.0, "Of the loss on retained rows.")


CARD = MethodCard(
    name="negative_preference",
    title="Negative preference optimisation",
    aliases=("npo",),
    summary="Penalises rows that the model still finds likelier than the original did, ever less as they become unlikely.",
    paper="Zhang et al., Negative preference optimization, arXiv:2404.05868.",
    formula="min −(2/β)·log σ(β·(NLL_θ(F) − NLL_θ0(F))) + α·CE(R), NLL summed over the answer",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS, Need.REFERENCE}),
    modalities=frozenset({Modality.CLASSIFIER, Modality.CAUSAL_LANGUAGE_MODEL}),
    settings=NegativePreferenceSettings,
    cost="2 · epochs · E(F), and one forward pass of the original beside each.",
    weakness="What counts as forgotten is measured from the original, so rows it knew best are pushed least; figures move much between seeds.",
)
