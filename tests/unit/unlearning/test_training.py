from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.lattice.families import build_family
from core.modelling.ensemble import Ensemble
from core.modelling.tensors import tensor_digest
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.backbone import public_logits
from core.unlearning.exact.layer_groups import layer_group
from core.unlearning.exact.loader import Loader
from core.unlearning.exact.nodes import declared_names
from core.unlearning.exact.repair import canonical_nodes
from core.unlearning.exact.slice_records import SliceRecords
from core.unlearning.exact.training import train_node
from tests.unit.unlearning.tiny import (
    CLASSES,
    SLICES,
    backbone,
    build_shard,
    chain_of,
    make_ground,
    make_recipe,
    make_slices,
    rows,
)

FAMILY = build_family(make_recipe().family, SLICES)


def with_mutation(records: SliceRecords, position: int, field: str) -> SliceRecords:
    """Return the slice with one pixel one step brighter, or one label another."""
    changed = getattr(records, field).clone()
    if field == "inputs":
        changed[position, 0, 3, 3] = torch.nextafter(changed[position, 0, 3, 3], torch.tensor(9.0))
    else:
        changed[position] = (changed[position] + 1) % CLASSES
    return replace(records, **{field: changed})


@pytest.mark.parametrize("field", ["inputs", "targets"])
def test_the_data_digest_of_every_node_fed_a_record_changes_with_its_smallest_change(field: str) -> None:
    recipe = make_recipe(epochs=1)
    slices = make_slices()
    honest = build_shard(slices, recipe)
    for number, records in slices.items():
        for position in range(len(records)):
            mutated = build_shard({**slices, number: with_mutation(records, position, field)}, recipe)
            moved = {chosen for chosen in honest if honest[chosen].data_digest != mutated[chosen].data_digest}
            assert moved == {chosen for chosen in honest if number in chosen}


def test_a_stage_leaves_its_layer_group_and_head_and_touches_nothing_else() -> None:
    before = tensor_digest(backbone().tensors)
    nodes = build_shard(make_slices(), make_recipe())
    for slices, node in nodes.items():
        assert list(node.tensors) == declared_names(layer_group(4, SLICES, len(slices)))
    assert tensor_digest(backbone().tensors) == before


def test_a_stage_moves_every_tensor_it_declares_and_none_of_its_parents() -> None:
    recipe, slices = make_recipe(), make_slices()
    nodes = build_shard(slices, recipe)
    spec = canonical_nodes(FAMILY, make_ground(slices, recipe))[-1]
    parents = chain_of(nodes, FAMILY, spec.slices[:-1])
    before = [tensor_digest(parent) for parent in parents]
    trained = train_node(spec, activations=SliceActivations(backbone(), slices), parents=parents, recipe=recipe)
    assert [tensor_digest(parent) for parent in parents] == before
    assert all(trained.tensors[name].any() for name in trained.tensors)
    assert not torch.equal(trained.tensors["head.weight"], parents[-1]["head.weight"])


def test_training_learns() -> None:
    recipe = make_recipe(epochs=12)
    slices = make_slices((12, 12, 12, 12))
    nodes = build_shard(slices, recipe)
    images, labels = rows(300, seed=900)
    ensemble = Ensemble.build(backbone(), [[chain_of(nodes, FAMILY, (0, 1, 2, 3))]], recipe.node)
    accuracy = (ensemble.logits(images).argmax(dim=1) == labels).float().mean().item()
    untrained = (public_logits(backbone(), images).argmax(dim=1) == labels).float().mean().item()
    assert accuracy > max(0.7, untrained + 0.1)


def test_an_empty_slice_is_fed_like_any_other() -> None:
    nodes = build_shard(make_slices((0, 3, 0, 2)), make_recipe())
    assert [node.records for node in nodes.values()] == [0, 3, 3, 5]


def test_a_node_without_records_answers_as_what_it_stands_on() -> None:
    recipe = make_recipe()
    nodes = build_shard(make_slices((0, 3, 2, 2)), recipe)
    images, _ = rows(5, seed=3)
    chain = chain_of(nodes, FAMILY, (0,))
    assert nodes[0,].epochs == 0
    assert nodes[0,].tensors["head.weight"].data_ptr() != backbone().tensors["head.weight"].data_ptr()
    answer = Ensemble.build(backbone(), [[chain]], recipe.node).logits(images)
    torch.testing.assert_close(answer, public_logits(backbone(), images))


def test_every_node_has_a_head_of_its_own() -> None:
    nodes = build_shard(make_slices(), make_recipe())
    heads = {tensor_digest({"head": node.tensors["head.weight"]}) for node in nodes.values()}
    assert len(heads) == len(nodes)
    addresses = {node.tensors["head.weight"].data_ptr() for node in nodes.values()}
    assert len(addresses) == len(nodes)


def test_parents_that_do_not_fit_the_node_are_refused() -> None:
    recipe, slices = make_recipe(), make_slices()
    nodes = build_shard(slices, recipe)
    spec = canonical_nodes(FAMILY, make_ground(slices, recipe))[1]
    wrong = [nodes[0, 1].tensors]
    with pytest.raises(ValueError, match="depth 1 does not hold exactly its layer group"):
        train_node(spec, activations=SliceActivations(backbone(), slices), parents=wrong, recipe=recipe)


def test_what_progress_raises_ends_the_training() -> None:
    recipe, slices = make_recipe(epochs=5), make_slices()
    spec = canonical_nodes(FAMILY, make_ground(slices, recipe))[0]
    seen = []

    def lease_lost(epoch: int) -> None:
        seen.append(epoch)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train_node(
            spec, activations=SliceActivations(backbone(), slices), parents=[], recipe=recipe, progress=lease_lost
        )
    assert seen == [1]


def test_padding_weighs_nothing() -> None:
    slices = make_slices((5, 3, 6, 4))
    shallow = canonical_nodes(FAMILY, make_ground(slices, make_recipe()))[0]
    activations = SliceActivations(backbone(), slices)
    narrow = replace(make_recipe(), node=replace(make_recipe().node, batch_size=5))
    wide = replace(narrow, node=replace(narrow.node, batch_size=64))
    fed = [train_node(shallow, activations=activations, parents=[], recipe=recipe) for recipe in (narrow, wide)]
    for name, tensor in fed[0].tensors.items():
        torch.testing.assert_close(tensor, fed[1].tensors[name], rtol=1e-4, atol=1e-5)


def test_a_slice_whose_records_are_out_of_order_is_refused() -> None:
    records = make_slices()[0]
    with pytest.raises(ValueError, match="sorted by reference"):
        replace(records, references=records.references[::-1])


def test_a_record_that_leaves_moves_no_other_past_its_neighbours() -> None:
    whole, key = make_slices(), "5" * 64
    for position in range(len(whole[2])):
        fed = [
            [batch_order(make_slices(without=without), key, epoch) for epoch in range(2)]
            for without in (None, (2, position))
        ]
        (gone,) = set(fed[0][0]) - set(fed[1][0])
        assert [[one for one in epoch if one != gone] for epoch in fed[0]] == fed[1]


def batch_order(slices: dict[int, SliceRecords], key: str, epoch: int) -> list[bytes]:
    """Return the references in the order in which an epoch feeds them."""
    loader = Loader(key, (0, 2), SliceActivations(backbone(), slices), 0)
    references = [row.tobytes() for number in (0, 2) for row in slices[number].references]
    return [references[row] for row in loader._order(epoch)]
