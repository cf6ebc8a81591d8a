"""The card of `gradient_ascent`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, knob, learning_rate, share


@dataclass(frozen=True, kw_only=True)
class GradientAscentSettings(MethodSettings):
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    largest_gradient: float = knob(1.0, "Longer gradients are shortened to this length.", above=0, at_most=1e6)
    largest_utility_loss: float = share(
        1.0, "Go back one epoch and stop when the score on rows that stay falls by more than this; 1 never stops."
    )


CARD = MethodCard(
    name="gradient_ascent",
    title="Gradient ascent",
    aliases=("ga", "negative_gradient"),
    summary="Makes the loss on the rows to forget larger.",
    paper="Thudi et al., Unrolling SGD, arXiv:2109.13398; Jang et al., arXiv:2210.01504.",
    formula="max CE(F), from θ0",
    needs=frozenset({Need.FORGET, Need.LABELS}),
    modalities=frozenset(Modality),
    settings=GradientAscentSettings,
    cost="epochs · E(F).",
    weakness="Has no floor: given enough steps the model collapses. The learning rate is the whole method; offer retained or held-out rows and set `largest_utility_loss`.",
)
