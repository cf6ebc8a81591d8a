"""Which adapter serves which modality."""

from __future__ import annotations

from collections.abc import Mapping

from core.methods.card import Modality
from core.unlearning.approximate.adapters.adapter import ModelAdapter
from core.unlearning.approximate.adapters.causal_language_model import CausalLanguageModel
from core.unlearning.approximate.adapters.classifier import Classifier
from core.unlearning.approximate.adapters.regressor import Regressor

ADAPTERS: Mapping[Modality, ModelAdapter] = {
    Modality.CLASSIFIER: Classifier(),
    Modality.REGRESSOR: Regressor(),
    Modality.CAUSAL_LANGUAGE_MODEL: CausalLanguageModel(),
}
