"""The card of `bad_teacher`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, knob, learning_rate


@dataclass(frozen=True, kw_only=True)
class BadTeacherSettings(MethodSettings):
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    retain_share: float = knob(
        0.3, "Share of the retained rows that is mixed in, drawn afresh each epoch.", above=0, at_most=1
    )


CARD = MethodCard(
    name="bad_teacher",
    title="Bad teacher",
    aliases=("bad_teaching", "blindspot_classification"),
    summary="Distils an untrained network on the rows to forget and the original on the others.",
    paper="Chundawat et al., Can bad teaching induce forgetting?, arXiv:2205.08096.",
    formula="min KL(p_random‖p_θ) on F and KL(p_θ0‖p_θ) on a share of R, in mixed batches",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, Need.REINITIALISATION}),
    modalities=frozenset({Modality.CLASSIFIER, Modality.CAUSAL_LANGUAGE_MODEL}),
    settings=BadTeacherSettings,
    cost="epochs · E(F ∪ share of R), and one frozen forward pass beside each.",
    weakness="Pushes the rows to forget towards no opinion at all, which a model that never saw them does not have: found by a membership test from the other side.",
)
