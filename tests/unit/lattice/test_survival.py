from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.manifest import NodeEntry
from core.domain.model import FamilyName
from core.lattice.families import SliceSet, build_family
from core.lattice.placement import Place
from core.lattice.survival import served_nodes, switched_off, with_ancestors

PLACES = st.sets(st.builds(Place, st.integers(0, 2), st.integers(0, 3)))


def key_of(shard: int, slices: SliceSet) -> str:
    return f"{shard}:{slices}"


def make_node(
    shard: int, slices: SliceSet, *, parent: str | None = None, canonical: bool = True, key: str | None = None
) -> NodeEntry:
    return NodeEntry(
        key=key or key_of(shard, slices), shard=shard, slices=slices, slice_roots=("00",) * len(slices), parent=parent,
        canonical=canonical, data_digest="", tensor_digest="",
    )  # fmt: skip


def make_lattice(name: FamilyName = FamilyName.SUBSET_TRIE, shards: int = 3, slices: int = 4) -> list[NodeEntry]:
    family = build_family(name, slices)
    return [
        make_node(shard, chosen, parent=key_of(shard, family.parents[chosen]) if family.parents[chosen] else None)
        for shard in range(shards)
        for chosen in family.by_depth()
    ]


@given(PLACES, st.sampled_from(FamilyName))
def test_nothing_served_after_a_deletion_has_learned_a_hit_slice(hits: set[Place], name: FamilyName) -> None:
    nodes = make_lattice(name)
    dead = {node.key for node in switched_off(nodes, hits)}
    live = [node for node in nodes if node.key not in dead]
    manifest = with_ancestors(live, served_nodes(live, 3))
    assert not {Place(node.shard, number) for node in manifest for number in node.slices} & hits
    assert {node.key for node in manifest if node.parent is None or node.parent in {one.key for one in manifest}} == {
        node.key for node in manifest
    }


@given(PLACES)
def test_a_trie_serves_each_shard_at_all_the_depth_it_has_left(hits: set[Place]) -> None:
    nodes = make_lattice()
    dead = switched_off(nodes, hits)
    served = served_nodes([node for node in nodes if node not in dead], 3)
    for shard in range(3):
        left = tuple(number for number in range(4) if Place(shard, number) not in hits)
        assert served[shard] == ((key_of(shard, left),) if left else ())


def test_a_hit_in_one_shard_leaves_the_others_alone() -> None:
    dead = switched_off(make_lattice(), [Place(1, 2)])
    assert len(dead) == 8
    assert {node.shard for node in dead} == {1}


def test_ties_are_all_served_ordered_by_slices_then_key() -> None:
    nodes = [make_node(0, (1, 3)), make_node(0, (0, 2), key="b"), make_node(0, (0, 2), key="a"), make_node(0, (1,))]
    assert served_nodes(nodes, 1) == (("a", "b", key_of(0, (1, 3))),)


def test_canonical_nodes_are_served_before_provisional_ones_of_the_same_depth() -> None:
    nodes = [make_node(0, (0, 1), canonical=False), make_node(0, (1, 2)), make_node(0, (2,))]
    assert served_nodes(nodes, 1) == ((key_of(0, (1, 2)),),)


def test_a_deeper_provisional_node_is_served_before_a_shallower_canonical_one() -> None:
    nodes = [make_node(0, (0, 1), canonical=False), make_node(0, (2,))]
    assert served_nodes(nodes, 1) == ((key_of(0, (0, 1)),),)


def test_a_shard_without_nodes_serves_nothing() -> None:
    assert served_nodes([make_node(1, (0,))], 3) == ((), (key_of(1, (0,)),), ())


def test_ancestors_come_once_and_in_order() -> None:
    nodes = make_lattice(shards=2)
    served = ((key_of(0, (0, 1, 3)), key_of(0, (0, 1, 2))), (key_of(1, (2, 3)),))
    chosen = with_ancestors(reversed(nodes), served)
    assert [(node.shard, node.slices) for node in chosen] == [
        (0, (0,)), (0, (0, 1)), (0, (0, 1, 2)), (0, (0, 1, 3)), (1, (2,)), (1, (2, 3)),
    ]  # fmt: skip


def test_a_missing_ancestor_is_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        with_ancestors([make_node(0, (0, 1), parent=key_of(0, (0,)))], ((key_of(0, (0, 1)),),))


def test_a_node_outside_the_lattice_is_refused() -> None:
    with pytest.raises(ValueError, match="shard 3"):
        served_nodes([make_node(3, (0,))], 3)
