"""The card of `salun`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, knob, learning_rate


@dataclass(frozen=True, kw_only=True)
class SalunSettings(MethodSettings):
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    mask_share: float = knob(0.5, "Share of weights that may change.", above=0, at_most=1)


CARD = MethodCard(
    name="salun",
    title="SalUn",
    aliases=("saliency_unlearning",),
    summary="Random label, restricted to the weights on which the loss of the rows to forget depends most.",
    paper="Fan et al., SalUn, arXiv:2310.12508.",
    formula="mask = top share of |Σ ∇CE(F)| at θ0; then random_label, masked",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS}),
    modalities=frozenset({Modality.CLASSIFIER, Modality.CAUSAL_LANGUAGE_MODEL}),
    settings=SalunSettings,
    cost="one pass over F, then epochs · E(F ∪ R).",
    weakness="Random label's, softened. Over-forgetting rises with the learning rate; users of the paper's code could not lower forget accuracy at its defaults.",
)
