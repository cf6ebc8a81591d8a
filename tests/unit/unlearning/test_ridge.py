"""Nodes of a ridge model: each record for itself, and what is left after one leaves is what a fresh build holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.domain.model import RidgeRecipe
from core.modelling.ridge import RidgeHead, sums_of
from core.modelling.tensors import tensor_digest
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.ridge import as_tensors, read_records
from core.unlearning.exact.ridge_rows import RidgeRows
from core.unlearning.exact.training import train_node
from tests.unit.unlearning.tiny import CLASSES, backbone, make_ground, make_recipe, make_slices, rows

COUNT = 70
"""More than one batch of activations."""


def records(without: int | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN201
    gone = None if without is None else (0, without)
    return make_slices((COUNT, 1, 1, 1), without=gone)[0]


def digest(held: RidgeRows) -> str:
    return held.tensor_digest()


@pytest.mark.parametrize("position", [0, 33, COUNT - 1])
def test_without_a_record_a_node_holds_byte_for_byte_what_a_fresh_one_does(position: int) -> None:
    whole, fresh = read_records(records(), backbone()), read_records(records(position), backbone())
    (gone,) = {one.tobytes() for one in whole.references} - {one.tobytes() for one in fresh.references}
    left = whole.without([gone])
    assert digest(left) == digest(fresh) != digest(whole)
    assert left.to_bytes() == fresh.to_bytes()
    assert left.data_digest("ab" * 32) == fresh.data_digest("ab" * 32) != whole.data_digest("ab" * 32)
    assert left.leaves() == fresh.leaves()


def test_its_digest_without_torch_is_the_one_with_torch() -> None:
    held = read_records(records(), backbone())
    assert held.tensor_digest() == tensor_digest(as_tensors(held))
    assert RidgeRows.from_bytes(held.to_bytes()).tensor_digest() == held.tensor_digest()
    with pytest.raises(ValueError, match="no rows of a ridge head"):
        RidgeRows.from_bytes(b"something else")


@pytest.mark.parametrize("changed", ["inputs", "targets"])
def test_the_data_digest_changes_with_the_smallest_change_of_what_is_read(changed: str) -> None:
    before = records()
    values = getattr(before, changed).clone()
    if changed == "inputs":
        values[5, 0, 0, 0] = torch.nextafter(values[5, 0, 0, 0], torch.tensor(9.0))
    else:
        values[5] = (values[5] + 1) % CLASSES
    after = read_records(replace(before, **{changed: values}), backbone())
    assert after.data_digest("00" * 32) != read_records(before, backbone()).data_digest("00" * 32)


def test_a_ridge_node_is_a_function_of_its_key_and_its_records() -> None:
    recipe = replace(make_recipe(), slices=1, ridge=RidgeRecipe())
    slices = {0: records()}
    spec = replace(make_ground(make_slices(), recipe).spec((0,), None, canonical=True))
    one, other = (
        train_node(spec, activations=SliceActivations(backbone(), slices), parents=[], recipe=recipe) for _ in range(2)
    )
    assert (one.tensor_digest, one.data_digest) == (other.tensor_digest, other.data_digest)
    assert one.tensor_digest == tensor_digest(one.tensors)
    assert one.records == COUNT


def test_a_ridge_head_learns_and_however_many_shards_there_are_it_is_the_same_head() -> None:
    images, labels = rows(200, seed=9)
    parts = make_slices((40, 30, 1, 50))
    nodes = [as_tensors(read_records(part, backbone())) for part in parts.values()]
    heads = [sums_of(node, backbone()) for node in nodes]
    together = {name: torch.cat([node[name] for node in nodes]) for name in nodes[0]}
    split = RidgeHead.build(backbone(), heads, RidgeRecipe())
    whole = RidgeHead.build(backbone(), [sums_of(together, backbone())], RidgeRecipe())
    assert torch.equal(split.weight, whole.weight)
    assert torch.equal(split.bias, whole.bias)
    right = (split.logits(images).argmax(dim=1) == labels).float().mean()
    assert right > 0.8
    loud = RidgeHead.build(backbone(), heads, RidgeRecipe(sharpness=80.0))
    assert torch.allclose(loud.logits(images), 10 * split.logits(images), rtol=1e-4, atol=1e-4)


def test_without_a_shard_or_without_a_row_the_public_head_answers() -> None:
    images, _ = rows(4, seed=9)
    empty = sums_of(as_tensors(read_records(make_slices((0, 1, 1, 1))[0], backbone())), backbone())
    for shards in ([], [empty]):
        head = RidgeHead.build(backbone(), shards, RidgeRecipe())
        assert head.degraded
        assert torch.equal(head.weight, backbone().tensors["head.weight"])
        assert head.logits(images).shape == (4, CLASSES)
