"""The card of `l1_sparse`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, learning_rate, weight


@dataclass(frozen=True, kw_only=True)
class L1SparseSettings(MethodSettings):
    epochs: int = epochs(10)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    sparsity: float = weight(5e-4, "Weight of the penalty at the first step; it falls to 0 in a line.")


CARD = MethodCard(
    name="l1_sparse",
    title="l1-sparse",
    aliases=("l1", "sparse_fine_tune"),
    summary="Fine-tunes on the retained rows under a penalty on the weights' size that ends at zero.",
    paper="Jia et al., Model sparsity can simplify machine unlearning, arXiv:2304.04934.",
    formula="min CE(R) + α·(1 − t/T)·‖θ‖₁",
    needs=frozenset({Need.RETAIN, Need.LABELS}),
    modalities=frozenset(Modality),
    settings=L1SparseSettings,
    cost="epochs · E(R).",
    weakness="Forgets by making the whole model simpler: retained and test accuracy pay for it.",
)
