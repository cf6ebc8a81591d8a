"""The card of `retrain`: what every other method is measured against."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, learning_rate, weight


@dataclass(frozen=True, kw_only=True)
class RetrainSettings(MethodSettings):
    epochs: int = epochs(30)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    weight_decay: float = weight(0.0, "Decay of AdamW.")


CARD = MethodCard(
    name="retrain",
    title="Retrain",
    aliases=("oracle",),
    summary="Draws every trained weight afresh and trains on the retained rows.",
    paper="The definition of the target, not a method of a paper.",
    formula="θ ~ initialisation; min CE(R) by AdamW, the rate falling as half a cosine",
    needs=frozenset({Need.RETAIN, Need.LABELS, Need.REINITIALISATION}),
    modalities=frozenset(Modality),
    settings=RetrainSettings,
    cost="epochs · E(R): the full training.",
    weakness="Costs a training. Two runs by different seeds differ, so one is a sample of the target and not the target; after training in stages it is not even unique.",
)
