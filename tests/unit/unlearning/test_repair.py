from __future__ import annotations

from dataclasses import replace

from core.domain.model import FamilyChoice, FamilyName
from core.lattice.families import SliceSet, build_family, choose_family
from core.unlearning.exact.node_spec import NodeSpec, ShardGround
from core.unlearning.exact.repair import canonical_nodes, missing_nodes, provisional_extension
from tests.unit.unlearning.tiny import entry_of

TRIE = build_family(FamilyName.SUBSET_TRIE, 4)
BEFORE = ShardGround(backbone="b", recipe="r", shard=0, slice_roots=["0", "1", "2", "3"])


def after_hit(number: int) -> ShardGround:
    return replace(
        BEFORE, slice_roots=[root + "'" * (index == number) for index, root in enumerate(BEFORE.slice_roots)]
    )


def sets(specs: list[NodeSpec]) -> list[SliceSet]:
    return [spec.slices for spec in specs]


def test_an_empty_shard_misses_the_whole_family_parents_first() -> None:
    specs = missing_nodes(TRIE, BEFORE, [])
    assert sets(specs) == list(TRIE.by_depth())
    keys = [spec.key for spec in specs]
    assert all(spec.parent_key is None or keys.index(spec.parent_key) < index for index, spec in enumerate(specs))


def test_after_a_hit_exactly_the_nodes_with_that_slice_are_missing() -> None:
    live = [entry_of(spec) for spec in canonical_nodes(TRIE, BEFORE) if 2 not in spec.slices]
    assert {spec.slices for spec in missing_nodes(TRIE, after_hit(2), live)} == {s for s in TRIE.parents if 2 in s}


def test_a_child_is_missing_when_its_parent_changed_even_if_its_own_slices_are_the_same() -> None:
    live = [entry_of(spec) for spec in canonical_nodes(TRIE, BEFORE)]
    elsewhere = replace(BEFORE, backbone="another")
    assert len(missing_nodes(TRIE, elsewhere, live)) == len(TRIE.parents)


def test_the_deepest_clean_node_is_extended_where_that_is_cheaper() -> None:
    live = [entry_of(spec) for spec in canonical_nodes(TRIE, BEFORE) if 0 not in spec.slices]
    (spec,) = provisional_extension(TRIE, after_hit(0), live)
    assert spec.slices == (0, 1, 2, 3)
    assert not spec.canonical
    assert spec.parent_key == next(node.key for node in live if node.slices == (1, 2, 3))


def test_the_familys_own_way_is_taken_where_it_costs_no_more() -> None:
    live = [entry_of(spec) for spec in canonical_nodes(TRIE, BEFORE) if 3 not in spec.slices]
    (spec,) = provisional_extension(TRIE, after_hit(3), live)
    assert spec.canonical
    assert spec.key == canonical_nodes(TRIE, after_hit(3))[-1].key


def test_two_hits_are_mended_one_slice_at_a_time() -> None:
    live = [entry_of(spec) for spec in canonical_nodes(TRIE, BEFORE) if not {0, 1} & set(spec.slices)]
    ground = replace(BEFORE, slice_roots=["0'", "1'", "2", "3"])
    assert sets(provisional_extension(TRIE, ground, live)) == [(0, 2, 3), (0, 1, 2, 3)]


def test_slices_that_are_likely_to_be_hit_are_added_last() -> None:
    hot_first = FamilyChoice(name=FamilyName.PRIOR, slices=4, budget=1, prior=(8.0, 4.0, 2.0, 1.0))
    family = choose_family(hot_first)
    assert family.cold_first == (3, 2, 1, 0)
    alone = entry_of(BEFORE.spec((0,), None, canonical=False))
    assert sets(provisional_extension(family, BEFORE, [alone])) == [(0, 3), (0, 2, 3), (0, 1, 2, 3)]


def test_a_dead_shard_is_mended_along_the_family() -> None:
    specs = provisional_extension(TRIE, BEFORE, [])
    assert sets(specs) == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]
    assert all(spec.canonical for spec in specs)


def test_a_shard_at_full_depth_needs_no_extension() -> None:
    assert provisional_extension(TRIE, BEFORE, [entry_of(spec) for spec in canonical_nodes(TRIE, BEFORE)]) == []


def test_a_node_on_outdated_slices_is_never_built_upon() -> None:
    stale = [entry_of(spec) for spec in canonical_nodes(TRIE, BEFORE)]
    ground = replace(BEFORE, slice_roots=["0'", "1'", "2'", "3'"])
    stale_keys = {node.key for node in stale}
    assert not stale_keys & {spec.parent_key for spec in provisional_extension(TRIE, ground, stale)}
