from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.audit.certificate import Absence, SwitchedOff
from core.audit.sorted_tree import SortedTree
from core.audit.structure import claim_flaws, manifest_flaws
from core.domain.deletion import Result
from core.domain.manifest import Manifest
from core.domain.model import Guarantee
from tests.unit.audit.evidence import (
    CLEANED,
    DELETED,
    full_manifest,
    make_claim,
    make_leaves,
    make_manifest,
    make_node,
    shallow_manifest,
)

WHOLE = full_manifest()
LOW, OTHER_LOW, TOP, OTHER_TOP = WHOLE.nodes


def served_by(*nodes: Any, shard_0: tuple[str, ...] = ()) -> Manifest:
    """The other shard as it was, and these nodes in shard 0."""
    return make_manifest([OTHER_LOW, OTHER_TOP, *nodes], [shard_0 or (nodes[-1].key,), (OTHER_TOP.key,)])


def test_both_the_repaired_and_the_shallow_lattice_stand() -> None:
    assert claim_flaws(make_claim()) == []
    assert claim_flaws(make_claim(manifest=shallow_manifest(), guarantee=Guarantee.INFLUENCE_FREE, absences=())) == []


def test_a_dead_shard_is_a_legal_answer() -> None:
    dead = make_manifest([OTHER_LOW, OTHER_TOP], [(), (OTHER_TOP.key,)])
    assert claim_flaws(make_claim(manifest=dead, guarantee=Guarantee.INFLUENCE_FREE, absences=())) == []
    all_dead = make_manifest([], [(), ()])
    assert claim_flaws(make_claim(manifest=all_dead, guarantee=Guarantee.INFLUENCE_FREE, absences=())) == []


def test_a_node_that_learned_the_slice_needs_an_absence_proof() -> None:
    [flaw] = claim_flaws(make_claim(absences=()))
    assert TOP.key in flaw
    assert "record 0" in flaw


def test_an_ancestor_that_learned_the_slice_needs_an_absence_proof_too() -> None:
    stale = SortedTree.of([*CLEANED.leaves, DELETED.record + bytes(32)])
    below = make_node(0, (1,), None, slice_roots=(stale.commitment,))
    above = make_node(0, (0, 1), below.key)
    [flaw] = claim_flaws(make_claim(manifest=served_by(below, above)))
    assert below.key in flaw


def test_the_absence_must_be_from_the_nodes_own_root() -> None:
    elsewhere = SortedTree.of(make_leaves("elsewhere", 5))
    proof = elsewhere.prove_absent(DELETED.record)
    [flaw] = claim_flaws(make_claim(absences=(Absence(place=DELETED, commitment=elsewhere.commitment, proof=proof),)))
    assert "nothing shows" in flaw
    [flaw] = claim_flaws(make_claim(absences=(Absence(place=DELETED, commitment=CLEANED.commitment, proof=proof),)))
    assert "absence 0 does not hold" in flaw


def test_the_absence_of_another_record_does_not_count() -> None:
    other = replace(DELETED, record=bytes(32))
    proof = CLEANED.prove_absent(other.record)
    absence = Absence(place=other, commitment=CLEANED.commitment, proof=proof)
    assert len(claim_flaws(make_claim(absences=(absence,)))) == 2
    assert len(claim_flaws(make_claim(absences=(replace(absence, place=DELETED),)))) == 1
    two = make_claim(records=(DELETED, other))
    assert "record 1" in claim_flaws(two)[0]
    assert claim_flaws(replace(two, absences=(*two.absences, absence))) == []


@pytest.mark.parametrize(("shard", "number"), [(2, 1), (-1, 1), (0, 2), (0, -1)])
def test_a_record_placed_outside_the_lattice_proves_nothing(shard: int, number: int) -> None:
    outside = replace(DELETED, shard=shard, slice=number)
    assert claim_flaws(make_claim(records=(outside,), absences=())) == ["record 0 is placed outside the lattice"]


def test_a_key_that_is_not_the_digest_of_its_inputs_is_seen() -> None:
    for altered in (replace(TOP, slice_roots=("00" * 32,) * 2), replace(TOP, key="00" * 32)):
        assert "digest" in manifest_flaws(served_by(LOW, altered))[0]
    for manifest in (replace(WHOLE, trainer_protocol=2), replace(WHOLE, backbone=""), replace(WHOLE, recipe="")):
        assert len(manifest_flaws(manifest)) == 4


@pytest.mark.parametrize("slices", [(), (1, 0), (0, 0), (0, 2), (-1, 0)])
def test_impossible_slices_are_seen(slices: tuple[int, ...]) -> None:
    node = make_node(0, slices, LOW.key, slice_roots=("00" * 32,) * len(slices))
    assert "impossible" in manifest_flaws(served_by(LOW, node))[0]


def test_a_node_in_no_shard_or_with_roots_missing_is_seen() -> None:
    for node in (make_node(0, (0, 1), LOW.key, slice_roots=("00" * 32,)), make_node(2, (0,), None, slice_roots=("0",))):
        assert "impossible" in manifest_flaws(served_by(LOW, node))[0]


def test_a_missing_or_hidden_parent_is_seen() -> None:
    assert "is missing" in manifest_flaws(served_by(TOP))[0]
    assert "hides" in manifest_flaws(served_by(make_node(0, (0, 1), None)))[0]


def test_a_parent_of_another_shard_or_set_is_seen() -> None:
    strange = [make_node(0, (0, 1), OTHER_LOW.key), make_node(0, (1,), LOW.key)]
    for node in strange:
        assert "does not extend" in manifest_flaws(served_by(LOW, node))[0]
    beside = make_node(0, (2,), None, slice_roots=("00" * 32,))
    wider = replace(served_by(beside, make_node(0, (0, 1), beside.key)), slices=3)
    assert "does not extend" in manifest_flaws(wider)[0]


def test_serving_what_is_not_there_or_not_its_own_is_seen() -> None:
    assert "not its own" in manifest_flaws(replace(WHOLE, served=(("00" * 32,), (OTHER_TOP.key,))))[0]
    assert "not its own" in manifest_flaws(replace(WHOLE, served=((OTHER_TOP.key,), (OTHER_TOP.key,))))[0]
    assert "not its own" in manifest_flaws(replace(WHOLE, served=((TOP.key, TOP.key), (OTHER_TOP.key,))))[0]
    assert "different depths" in manifest_flaws(replace(WHOLE, served=((TOP.key, LOW.key), (OTHER_TOP.key,))))[0]
    assert "each shard" in manifest_flaws(replace(WHOLE, served=((TOP.key,),)))[0]
    assert "twice" in manifest_flaws(replace(WHOLE, nodes=(*WHOLE.nodes, TOP)))[0]


def test_two_nodes_of_one_depth_may_answer_together() -> None:
    beside = make_node(0, (1,), None)
    tied = make_manifest([LOW, beside], [(LOW.key, beside.key), ()])
    assert manifest_flaws(tied) == []


def test_a_node_said_to_be_switched_off_may_not_be_there() -> None:
    still = SwitchedOff(key=TOP.key, shard=0, slices=(0, 1))
    assert "switched off and is in" in claim_flaws(make_claim(switched_off=(still,)))[0]
    gone = replace(still, key="00" * 32)
    assert "twice" in claim_flaws(make_claim(switched_off=(gone, gone)))[0]


def test_retrain_equivalent_needs_full_depth_and_canonical_nodes() -> None:
    assert claim_flaws(make_claim(manifest=shallow_manifest(), absences=())) == [
        "the certificate says retrain_equivalent, and its manifest does not"
    ]
    provisional = replace(WHOLE, nodes=(LOW, OTHER_LOW, replace(TOP, canonical=False), OTHER_TOP))
    assert len(claim_flaws(make_claim(manifest=provisional))) == 1
    assert claim_flaws(make_claim(manifest=provisional, guarantee=Guarantee.INFLUENCE_FREE)) == []


@pytest.mark.parametrize("change", [{"guarantee": None}, {"version": None}, {"manifest": None}, {"records": ()}])
def test_unlearned_says_what_from_what_and_how_well(change: dict[str, Any]) -> None:
    assert claim_flaws(make_claim(**{"absences": () if "records" in change else make_claim().absences, **change}))


def test_never_trained_carries_nothing_that_was_unlearned() -> None:
    nothing = {"manifest": None, "records": (), "switched_off": (), "absences": (), "guarantee": None}
    honest = make_claim(result=Result.NEVER_TRAINED, **nothing)
    assert claim_flaws(honest) == []
    for name in nothing:
        assert len(claim_flaws(replace(honest, **{name: getattr(make_claim(), name)}))) == 1
