"""The card of `datamodel_matching`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, knob, learning_rate


@dataclass(frozen=True, kw_only=True)
class DatamodelMatchingSettings(MethodSettings):
    epochs: int = epochs(10)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    retain_share: float = knob(
        1.0, "Share of the retained rows that is mixed in, drawn afresh each epoch.", above=0, at_most=1
    )


CARD = MethodCard(
    name="datamodel_matching",
    title="Datamodel matching",
    aliases=("dmm",),
    summary="Fits the answers that a model trained without the rows is predicted to give.",
    paper="Georgiev et al., Attribute-to-delete, arXiv:2410.23232.",
    formula="m̂(x) = f_θ0(x) − Σ over F of τ_i(x); min ‖f_θ(x) − m̂(x)‖² on F and R",
    needs=frozenset({Need.FORGET, Need.RETAIN}),
    artefacts=frozenset({"datamodel"}),
    modalities=frozenset({Modality.CLASSIFIER, Modality.REGRESSOR}),
    settings=DatamodelMatchingSettings,
    cost="epochs · E(F ∪ share of R), after the attribution: dozens of small trainings shared by all requests, or one linear solve per request.",
    weakness="As good as its attribution. Datamodels from subsets cost many trainings; the linearised prediction is right only near the original, and its damping decides: on the gate's worlds 0.005 forgets most of the mixture (UA 69) and wrecks the digits (RA 39), 0.02 keeps both and hardly touches the mixture (UA 7).",
)
