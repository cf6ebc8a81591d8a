"""The card of `fine_tune`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, learning_rate


@dataclass(frozen=True, kw_only=True)
class FineTuneSettings(MethodSettings):
    epochs: int = epochs(10)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()


CARD = MethodCard(
    name="fine_tune",
    title="Fine-tune",
    aliases=("ft",),
    summary="Trains on with the retained rows and trusts that the others fade.",
    paper="Baseline as in Warnecke et al. and Golatkar et al.; compared in arXiv:2304.04934.",
    formula="min CE(R), from θ0",
    needs=frozenset({Need.RETAIN, Need.LABELS}),
    modalities=frozenset(Modality),
    settings=FineTuneSettings,
    cost="epochs · E(R).",
    weakness="Forgets barely: a model that fits R already has no gradient left to forget by.",
)
