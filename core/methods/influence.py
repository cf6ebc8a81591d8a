"""The card of `influence`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings, Modality, Need, knob


@dataclass(frozen=True, kw_only=True)
class InfluenceSettings(MethodSettings):
    scale: float = knob(1.0, "How many of the computed steps to take.", above=0, at_most=1e6)
    damping: float = knob(0.03, "Added to the curvature's diagonal; larger steps less far.", above=0, at_most=1e6)
    iterations: int = knob(50, "Of conjugate gradients, at most.", at_least=1, at_most=10_000)
    steps: int = knob(1, "How often to compute the step anew.", at_least=1, at_most=100)


CARD = MethodCard(
    name="influence",
    title="Influence",
    aliases=("iu", "influence_unlearning"),
    summary="One Newton step to the optimum of the retained rows' loss, by conjugate gradients.",
    paper="Koh and Liang, arXiv:1703.04730; Guo et al., Certified data removal, arXiv:1911.03030; conjugate gradients instead of WoodFisher.",
    formula="θ ← θ − s·(G_R + δI)⁻¹ ∇(L_R + δ/2·‖θ − θ0‖²), G_R the Gauss-Newton matrix of R; at an optimum of F ∪ R, −∇L_R = ΣF ∇ℓ / n_R",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS}),
    modalities=frozenset(Modality),
    settings=InfluenceSettings,
    cost="steps · (1 + 3 · iterations) passes over R.",
    weakness="Exact for models linear in their weights under squared error, close for other convex ones; a deep model that memorised the rows is far outside the step's reach, and damping then decides: on the gate's worlds 0.005 forgets most of the mixture (UA 73) and wrecks the digits (RA 25), 0.02 keeps both and hardly touches the mixture (UA 7).",
)
