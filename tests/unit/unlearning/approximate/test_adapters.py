"""What each adapter answers, against torch's own losses and by hand."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import hessian
from torch.nn.functional import cross_entropy

from core.methods.card import Modality
from core.unlearning.approximate.adapters.adapter import ModelAdapter, plain
from core.unlearning.approximate.adapters.registry import ADAPTERS

CLASSIFIER, REGRESSOR, LANGUAGE = (ADAPTERS[one] for one in Modality)
LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
TARGETS = torch.tensor([0, 1])
TOKEN_LOGITS = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[-100, 1, 4, -100], [-100, -100, 2, 0]])


def test_every_modality_has_its_adapter() -> None:
    assert {kind: adapter.modality for kind, adapter in ADAPTERS.items()} == {kind: kind for kind in Modality}


def test_a_classifiers_margin_is_the_logit_of_its_probability() -> None:
    right = LOGITS.softmax(-1)[torch.arange(2), TARGETS]
    assert torch.allclose(CLASSIFIER.margins(LOGITS, TARGETS), (right / (1 - right)).log(), atol=1e-5)
    assert CLASSIFIER.scores(LOGITS, TARGETS).tolist() == [1.0, 0.0]


def test_language_losses_sum_over_the_answer_and_margins_average() -> None:
    each = [
        cross_entropy(TOKEN_LOGITS[row, :-1], LABELS[row, 1:], ignore_index=-100, reduction="sum") for row in range(2)
    ]
    assert torch.allclose(LANGUAGE.losses(TOKEN_LOGITS, LABELS), torch.stack(each))
    assert LANGUAGE.units(LABELS).tolist() == [2.0, 2.0]
    assert torch.allclose(LANGUAGE.margins(TOKEN_LOGITS, LABELS), -torch.stack(each) / 2)


@pytest.mark.parametrize(
    ("adapter", "outputs", "targets"),
    [
        (CLASSIFIER, LOGITS, TARGETS),
        (REGRESSOR, LOGITS, torch.ones(2, 3)),
        (LANGUAGE, TOKEN_LOGITS, LABELS),
    ],
    ids=["classifier", "regressor", "language"],
)
def test_the_curvature_is_the_losses_second_derivative(
    adapter: ModelAdapter, outputs: torch.Tensor, targets: torch.Tensor
) -> None:
    second = hessian(lambda given: adapter.losses(given, targets).sum(), outputs)  # type: ignore[no-untyped-call]
    direction = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    expected = second.reshape(outputs.numel(), -1) @ direction.flatten()
    assert torch.allclose(adapter.curvature(outputs, targets, direction).flatten(), expected, atol=1e-5)


def test_relabelling_never_keeps_a_target_and_leaves_what_is_not_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not (CLASSIFIER.relabelled(TARGETS, LOGITS, generator) == TARGETS).any()
    drawn = LANGUAGE.relabelled(LABELS, TOKEN_LOGITS, generator)
    assert torch.equal(drawn == -100, LABELS == -100)
    assert not ((drawn == LABELS) & (LABELS != -100)).any()
    values = torch.randn(5000, generator=generator) * 3 + 7
    redrawn = REGRESSOR.relabelled(values, values, generator)
    assert float(redrawn.mean()) == pytest.approx(7, abs=0.2)
    assert float(redrawn.std()) == pytest.approx(3, rel=0.05)


def test_one_class_cannot_be_relabelled() -> None:
    with pytest.raises(ValueError, match="no other class"):
        CLASSIFIER.relabelled(TARGETS, LOGITS[:, :1], torch.Generator())


def test_an_answer_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="answers with a tensor"):
        plain((LOGITS, LOGITS))


def test_predictions_and_targets_of_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="predictions are"):
        REGRESSOR.losses(torch.zeros(2, 1), torch.zeros(2, 3))
