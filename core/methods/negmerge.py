"""The card of `negmerge`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, knob, learning_rate


@dataclass(frozen=True, kw_only=True)
class NegmergeSettings(MethodSettings):
    pool: int = knob(4, "How many fine-tuned models to merge.", at_least=2, at_most=64)
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(2e-3)
    spread: float = knob(
        4.0,
        "Largest learning rate of the pool over its smallest; they grow by a constant factor.",
        at_least=1,
        at_most=1e4,
    )
    batch_size: int = batch_size()
    scale: float = knob(1.0, "How far to go the opposite way.", above=0, at_most=1e4)


CARD = MethodCard(
    name="negmerge",
    title="NegMerge",
    summary="Task arithmetic with several fine-tuned models, keeping only what all of them agree on in sign.",
    paper="Kim et al., NegMerge, arXiv:2410.05583.",
    formula="τ_i = θ_F,i − θ0; τ = mean τ_i where all signs agree, else 0; θ0 − λτ",
    needs=frozenset({Need.FORGET, Need.LABELS}),
    modalities=frozenset(Modality),
    settings=NegmergeSettings,
    cost="pool · epochs · E(F), and pool copies of the weights.",
    weakness="Task arithmetic's, at several times its cost; λ still has to be searched.",
)
