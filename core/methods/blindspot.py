"""The card of `blindspot`."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import (
    MethodCard,
    MethodSettings,
    Modality,
    Need,
    batch_size,
    epochs,
    knob,
    learning_rate,
    weight,
)


@dataclass(frozen=True, kw_only=True)
class BlindspotSettings(MethodSettings):
    proxy_epochs: int = knob(3, "How long a fresh network sees the retained rows.", at_least=1, at_most=10_000)
    epochs: int = epochs(5)
    learning_rate: float = learning_rate(1e-3)
    batch_size: int = batch_size()
    layer: str = knob("", "Module whose activations are drawn to the proxy's; empty compares answers only.")
    layer_weight: float = weight(50.0, "Of that.")


CARD = MethodCard(
    name="blindspot",
    title="Blindspot",
    summary="A fresh network that glanced at the retained rows teaches the rows to forget; the others keep their targets.",
    paper="Tarun et al., Deep regression unlearning, arXiv:2210.08196.",
    formula="min |f_θ(F) − f_proxy(F)| + λ·AT(θ, proxy on F) + |f_θ(R) − y|, AT = ‖a/‖a‖ − a′/‖a′‖‖², a the channels' mean square",
    needs=frozenset({Need.FORGET, Need.RETAIN, Need.LABELS, Need.REINITIALISATION}),
    modalities=frozenset({Modality.REGRESSOR}),
    settings=BlindspotSettings,
    cost="proxy_epochs · E(R) + epochs · E(F ∪ R), and one frozen forward pass beside F.",
    weakness="The proxy is one more short training, and how short decides what the rows to forget are taught.",
)
