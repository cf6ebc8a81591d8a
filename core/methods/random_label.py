"""The card of `random_label`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, learning_rate


@dataclass(frozen=True, kw_only=True)
class RandomLabelSettings(MethodSettings):
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()


CARD = MethodCard(
    name="random_label",
    title="Random label",
    aliases=("rl", "amnesiac"),
    summary="Trains the rows to forget on other targets drawn at random, in turn with the retained rows on their own.",
    paper="Graves, Nagisetty and Ganesh, Amnesiac machine learning, arXiv:2010.10981.",
    formula="each epoch: min CE(F, y′) with y′ ≠ y drawn evenly, then min CE(R)",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS}),
    modalities=frozenset({Modality.CLASSIFIER, Modality.CAUSAL_LANGUAGE_MODEL}),
    settings=RandomLabelSettings,
    cost="epochs · E(F ∪ R).",
    weakness="Teaches wrong answers: forgotten rows stand out by being less sure than rows never seen, and a membership test finds them from the other side.",
)
