"""The card of `scrub`."""

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
class ScrubSettings(MethodSettings):
    epochs: int = epochs(8)
    forget_epochs: int = knob(
        4, "In how many of the first epochs the rows to forget are pushed away.", at_least=1, at_most=10_000
    )
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    divergence_weight: float = weight(0.1, "Of the divergence from the original on retained rows.")
    loss_weight: float = weight(1.0, "Of the loss on retained rows.")
    temperature: float = knob(2.0, "At which answers are compared.", above=0, at_most=100)
    rewind: str = knob(
        "no",
        "Go back to the epoch whose forget score is closest to that of held-out rows; for rows whose targets are true.",
        choices=("no", "yes"),
    )


CARD = MethodCard(
    name="scrub",
    title="SCRUB",
    summary="Pushes answers on the rows to forget away from the original's, in turn with keeping it on the retained rows.",
    paper="Kurmanji et al., Towards unbounded machine unlearning, arXiv:2302.09880.",
    formula="each epoch: min α·KL(p_θ0‖p_θ on R) + γ·CE(R); in the first m also max KL(p_θ0‖p_θ on F)",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS, Need.REFERENCE}),
    modalities=frozenset({Modality.CLASSIFIER, Modality.CAUSAL_LANGUAGE_MODEL}),
    settings=ScrubSettings,
    cost="epochs · E(R) + m · E(F), and one forward pass of the original beside each.",
    weakness="The push has no target and starts from a point of no gradient, so the first epoch decides its direction; without rewinding it over-forgets.",
)
