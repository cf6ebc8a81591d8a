"""The card of `task_arithmetic`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, knob, learning_rate


@dataclass(frozen=True, kw_only=True)
class TaskArithmeticSettings(MethodSettings):
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    scale: float = knob(1.0, "How far to go the opposite way.", above=0, at_most=1e4)


CARD = MethodCard(
    name="task_arithmetic",
    title="Task arithmetic",
    aliases=("task_vector",),
    summary="Learns the rows to forget even better, then goes as far the opposite way.",
    paper="Ilharco et al., Editing models with task arithmetic, arXiv:2212.04089.",
    formula="θ0 − λ·(θ_F − θ0), θ_F fine-tuned on F",
    needs=frozenset({Need.FORGET, Need.LABELS}),
    modalities=frozenset(Modality),
    settings=TaskArithmeticSettings,
    cost="epochs · E(F).",
    weakness="λ has to be searched on rows that stay. A model that fits F already moves little and mostly by the optimiser's own doing.",
)
