from __future__ import annotations

import numpy as np
import pytest
import torch

from core.domain.model import BackboneRecipe
from core.domain.task import TaskName
from core.modelling.losses import mean_loss, row_losses
from core.modelling.tabular import as_tensor, scaled_number, unscaled_number
from core.modelling.tabular_transformer import TabularTransformer, TabularTransformerShape

SHAPE = TabularTransformerShape(numbers=2, categories=(3, 2), width=8, layers=2, heads=2, outputs=3)
EMPTY = float("nan")


def make_transformer(shape: TabularTransformerShape = SHAPE) -> TabularTransformer:
    chance = torch.Generator().manual_seed(0)
    sizes = shape.tensor_shapes()
    return shape.backbone({name: 0.5 * torch.randn(size, generator=chance) for name, size in sizes.items()})


def test_every_column_is_a_token_of_its_own_after_the_class_token() -> None:
    transformer = make_transformer()
    own = transformer.tensors
    hidden = transformer.embed(torch.tensor([[0.5, EMPTY, 2.0, 1.0], [EMPTY, -1.0, EMPTY, 0.0]]))
    assert hidden.shape == (2, SHAPE.tokens, 8) == (2, 5, 8)
    expected = [
        [own["class_token"][0, 0], 0.5 * own["slopes"][0] + own["offsets"][0], own["empty"][1], own["categories"][2], own["categories"][4]],
        [own["class_token"][0, 0], own["empty"][0], own["offsets"][1] - own["slopes"][1], own["empty"][2], own["categories"][3]],
    ]  # fmt: skip
    torch.testing.assert_close(hidden, torch.stack([torch.stack(row) for row in expected]))


@pytest.mark.parametrize(("numbers", "categories"), [(3, ()), (0, (2, 2)), (1, (1,))])
def test_a_table_may_hold_one_sort_of_column_alone(numbers: int, categories: tuple[int, ...]) -> None:
    shape = TabularTransformerShape.from_recipe(
        BackboneRecipe(width=8, heads=2), numbers=numbers, categories=categories, outputs=1, task=TaskName.REGRESSION
    )
    transformer = make_transformer(shape)
    inputs = torch.zeros(4, *shape.input_shape)
    weights = transformer.folded(range(shape.layers), {}, 0.0)
    features = transformer.top_features(transformer.embed(inputs), weights)
    assert features.shape == (4, 8)
    assert features.isfinite().all()


def test_rows_are_scaled_by_the_contract_alone() -> None:
    numbers, categories = np.array([[0.0, 5.0], [10.0, np.nan]]), np.array([[1], [-1]])
    tensor = as_tensor(numbers, categories, [(0, 10), (0, 20)])
    np.testing.assert_array_equal(tensor.numpy(), np.array([[-1, -0.5, 1], [1, np.nan, np.nan]], np.float32))
    assert tensor.dtype == torch.float32
    alone = as_tensor(numbers[:1], categories[:1], [(0, 10), (0, 20)])
    np.testing.assert_array_equal(alone.numpy(), tensor.numpy()[:1])
    with pytest.raises(ValueError, match="2 columns of numbers and 1 ranges"):
        as_tensor(numbers, categories, [(0, 10)])


def test_what_was_scaled_comes_back_and_never_leaves_the_range() -> None:
    values = np.array([25.0, 100.0, 346.0])
    np.testing.assert_allclose(unscaled_number(scaled_number(values, 25, 346), 25, 346), values)
    assert unscaled_number(np.array([-3.0, 3.0], np.float32), 25, 346).tolist() == [25, 346]


def test_the_loss_belongs_to_the_task() -> None:
    numbers = row_losses(TaskName.REGRESSION, torch.tensor([[0.5], [-1.0]]), torch.tensor([0.0, 1.0]))
    assert numbers.tolist() == [0.25, 4.0]
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    losses = row_losses(TaskName.CLASSIFICATION, logits, labels)
    torch.testing.assert_close(losses, torch.tensor([0.126928, 0.693147]))
    torch.testing.assert_close(mean_loss(TaskName.CLASSIFICATION, logits, labels), losses.mean())
