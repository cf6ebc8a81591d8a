"""The card of `representation_misdirection`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import (
    MethodCard,
    MethodSettings,
    Modality,
    Need,
    RequestKind,
    batch_size,
    epochs,
    knob,
    learning_rate,
    weight,
)


@dataclass(frozen=True, kw_only=True)
class RepresentationMisdirectionSettings(MethodSettings):
    layer: str = knob(
        "", "Module whose output is steered; empty takes the middle one of the longest row of equal blocks."
    )
    trained_layers: int = knob(
        3, "How many blocks may change: the steered one and those before it.", at_least=1, at_most=1000
    )
    epochs: int = epochs(10)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size(32)
    steering: float = knob(20.0, "Length of the target direction.", above=0, at_most=1e6)
    retain_weight: float = weight(100.0, "Of staying with the original's activations on retained rows.")


CARD = MethodCard(
    name="representation_misdirection",
    title="Representation misdirection",
    aliases=("rmu",),
    summary="Steers one layer's activations on the text to forget towards a random direction, and keeps them on other text.",
    paper="Li et al., The WMDP benchmark, arXiv:2403.03218.",
    formula="min ‖h_ℓ(F) − c·u‖² + α·‖h_ℓ(R) − h_ℓ^θ0(R)‖², means over tokens and channels, u a random unit vector; only blocks ℓ−2..ℓ change",
    kind=RequestKind.CONCEPT_SUPPRESSION,
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE}),
    modalities=frozenset({Modality.CAUSAL_LANGUAGE_MODEL}),
    settings=RepresentationMisdirectionSettings,
    cost="2 · epochs · E(F), and one forward pass of the original beside the retained half.",
    weakness="Hides rather than removes: rephrasing, a few examples in the prompt or fine-tuning on unrelated text bring the knowledge back. Not for data_deletion.",
)
