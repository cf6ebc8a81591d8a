"""The card of `gaussian_amnesiac`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, learning_rate


@dataclass(frozen=True, kw_only=True)
class GaussianAmnesiacSettings(MethodSettings):
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()


CARD = MethodCard(
    name="gaussian_amnesiac",
    title="Gaussian amnesiac",
    aliases=("gaussian",),
    summary="Trains the rows to forget on values drawn from the targets' own normal distribution, mixed with the retained rows.",
    paper="Tarun et al., Deep regression unlearning, arXiv:2210.08196.",
    formula="min L(F, y′) + L(R), y′ ~ N(mean, variance of all targets), in mixed batches",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS}),
    modalities=frozenset({Modality.REGRESSOR}),
    settings=GaussianAmnesiacSettings,
    cost="epochs · E(F ∪ R).",
    weakness="Teaches noise: given enough epochs the model learns the noise by heart, and answers on the forgotten rows are worse than those of a model that never saw them.",
)
