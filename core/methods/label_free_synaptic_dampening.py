"""The card of `label_free_synaptic_dampening`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, knob


@dataclass(frozen=True, kw_only=True)
class LabelFreeSynapticDampeningSettings(MethodSettings):
    selection: float = knob(
        10.0, "A weight is dampened when it matters this many times more to F than to all rows.", above=0, at_most=1e9
    )
    dampening: float = knob(
        1.0, "How much of the ratio of importances is left of it; smaller dampens more.", at_least=0, at_most=1e9
    )


CARD = MethodCard(
    name="label_free_synaptic_dampening",
    title="Label-free synaptic dampening",
    aliases=("lfssd",),
    summary="Synaptic dampening by how strongly answers move, so that nobody has to say what is right.",
    paper="Foster et al., Loss-free machine unlearning, arXiv:2402.19308.",
    formula="I_X = mean over X of g², g = ∇‖f_θ(x)‖², so that no target is needed; where I_F > α·I_D: θ ← θ·min(λ·I_D/I_F, 1)",
    needs=frozenset({Need.FORGET, Need.RETAIN}),
    modalities=frozenset(Modality),
    settings=LabelFreeSynapticDampeningSettings,
    optional_artefacts=frozenset({"label_free_importance"}),
    cost="one pass over F, and one over F ∪ R that can be kept from training time.",
    weakness="Finds nothing to dampen where the rows to forget look like the others, which is the rule for random rows: then it ends as NoEffect. α belongs to the model.",
)
