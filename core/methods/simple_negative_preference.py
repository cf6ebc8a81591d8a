"""The card of `simple_negative_preference`."""

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
class SimpleNegativePreferenceSettings(MethodSettings):
    epochs: int = epochs(10)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size(32)
    beta: float = knob(2.5, "Inverse temperature, of a loss per token.", above=0, at_most=100)
    delta: float = weight(0.0, "Loss per token beyond which a row counts as forgotten.")
    forget_weight: float = weight(1.0, "Of the penalty on the rows to forget.")
    retain_weight: float = weight(1.0, "Of the loss on retained rows.")


CARD = MethodCard(
    name="simple_negative_preference",
    title="Simple negative preference optimisation",
    aliases=("simnpo",),
    summary="Negative preference without a reference model: by the loss per token.",
    paper="Fan et al., Simplicity prevails, arXiv:2410.07163.",
    formula="min −(2/β)·log σ(β·(NLL_θ(F)/|y| − δ))·γ + α·CE(R)",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS}),
    modalities=frozenset({Modality.CLASSIFIER, Modality.CAUSAL_LANGUAGE_MODEL}),
    settings=SimpleNegativePreferenceSettings,
    cost="2 · epochs · E(F).",
    weakness="β, γ and α decide everything: published figures from one code base range over five orders of magnitude.",
)
