"""Ask a model everything that the judge wants to know: answers only, as arrays. Here the kitchen's rows meet the judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from core.methods.card import Modality
from core.unlearning.approximate.adapters.adapter import plain
from core.unlearning.approximate.adapters.token_losses import IGNORED
from core.unlearning.approximate.samples import Samples
from core.verification.answers import (
    Answers,
    Evidence,
    answers_from_logits,
    answers_from_losses,
    answers_from_predictions,
)

ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The rows that every model is asked about."""

    modality: Modality
    forget: Samples
    retain: Samples
    test: Samples
    holdout: Samples | None = None


def gather_evidence(model: nn.Module, questions: Questions, *, scale: float = 1.0) -> Evidence:
    """Return what a model answers.

    Args:
        model: it is put into evaluation mode.
        questions: what it is asked.
        scale: of a regressor: the error in whose units it is judged; see `usual_error`.

    Raises:
        NotComparable: an answer is not finite, or does not fit the rows.
    """
    parts = (questions.forget, questions.retain, questions.test, questions.holdout)
    answers = [None if part is None else _answers(model.eval(), questions.modality, part, scale) for part in parts]
    forget, retain, test, holdout = answers
    assert forget is not None and retain is not None and test is not None  # noqa: S101, PT018 - they were asked
    return Evidence(forget, retain, test, holdout)


def usual_error(models: Sequence[nn.Module], rows: Samples) -> float:
    """Return the root mean square error of some regressors on some rows: ask oracles, about test rows."""
    with torch.no_grad():
        errors = [plain(model.eval()(rows.inputs)).flatten() - rows.targets.flatten() for model in models]
    return float(torch.stack(errors).double().square().mean().sqrt())


@torch.no_grad()
def _answers(model: nn.Module, modality: Modality, rows: Samples, scale: float) -> Answers:
    head = _last_linear(model)
    seen: list[Tensor] = []
    handle = None
    if head is not None and modality is not Modality.CAUSAL_LANGUAGE_MODEL:
        handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1)))
    try:
        parts = torch.split(torch.arange(len(rows)), ROWS_AT_ONCE)
        found = [_values(modality, plain(model(rows.inputs[part])), rows.targets[part]) for part in parts]
    finally:
        if handle is not None:
            handle.remove()
    values = torch.cat(found).double().numpy()
    features = torch.cat(seen).double().numpy() if seen else None
    if modality is Modality.CLASSIFIER:
        return answers_from_logits(values, rows.targets.numpy(), features)
    if modality is Modality.REGRESSOR:
        targets = rows.targets.flatten().double().numpy()
        return answers_from_predictions(values, targets, scale=scale, features=features)
    return answers_from_losses(values, features)


def _values(modality: Modality, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return (b, classes) logits, (b,) predictions, or (b,) the mean loss of each answer's tokens."""
    if modality is Modality.CLASSIFIER:
        return outputs
    if modality is Modality.REGRESSOR:
        return outputs.flatten()
    wanted = targets[:, 1:]
    counted = wanted != IGNORED
    likelihood = log_softmax(outputs[:, :-1].double(), -1).gather(-1, wanted.masked_fill(~counted, 0)[..., None])[
        ..., 0
    ]
    return -(likelihood * counted).sum(-1) / counted.sum(-1)


def _last_linear(model: nn.Module) -> nn.Linear | None:
    """Return the layer that gives the answer; what it is given are the features."""
    linears = [one for one in model.modules() if isinstance(one, nn.Linear)]
    return linears[-1] if linears else None
