from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.audit import log
from core.audit.sorted_tree import AbsenceProof, Neighbour, SortedTree, commit, prove_absent, verify_absent
from tests.unit.audit.evidence import make_leaves, sha

ABSENT = sha("absent")
few_leaves = st.integers(0, 20).map(lambda count: make_leaves("slice", count))


def test_the_commitment_binds_size_and_root() -> None:
    leaves = sorted(make_leaves("slice", 2))
    root = log.node_hash(log.leaf_hash(leaves[0]), log.leaf_hash(leaves[1]))
    expected = hashlib.sha256(b"lethe slice\x00" + bytes(7) + b"\x02" + root).hexdigest()
    assert commit(leaves) == commit(leaves[::-1]) == expected


def test_an_empty_slice_has_a_commitment_and_holds_nobody() -> None:
    assert commit([]) == hashlib.sha256(b"lethe slice\x00" + bytes(8) + hashlib.sha256(b"").digest()).hexdigest()
    assert verify_absent(prove_absent([], ABSENT), commit([]), ABSENT)


@given(few_leaves, st.binary(min_size=32, max_size=32))
def test_every_absent_record_is_proved_absent(leaves: list[bytes], record: bytes) -> None:
    proof = prove_absent(leaves, record)
    assert verify_absent(proof, commit(leaves), record)
    assert AbsenceProof.from_json(json.loads(json.dumps(proof.as_json()))) == proof


@pytest.mark.parametrize("record", [bytes(32), b"\xff" * 32])
def test_a_record_before_the_first_or_after_the_last_is_proved_absent(record: bytes) -> None:
    leaves = make_leaves("slice", 7)
    proof = prove_absent(leaves, record)
    assert (proof.before is None) or (proof.after is None)
    assert verify_absent(proof, commit(leaves), record)


@given(few_leaves.filter(bool), st.data())
def test_no_proof_of_another_record_hides_a_present_one(leaves: list[bytes], data: st.DataObject) -> None:
    tree = SortedTree.of(leaves)
    present = data.draw(st.sampled_from(leaves))[:32]
    with pytest.raises(ValueError, match="is in the slice"):
        tree.prove_absent(present)
    for other in (ABSENT, bytes(32), b"\xff" * 32):
        assert not verify_absent(tree.prove_absent(other), tree.commitment, present)


def test_the_neighbours_of_a_present_record_do_not_pass_for_adjacent() -> None:
    tree = SortedTree.of(make_leaves("slice", 6))
    hidden = tree.leaves[3][:32]
    before, after = tree._neighbour(2), tree._neighbour(4)
    proof = AbsenceProof(size=6, root=tree.root, position=3, before=before, after=after)
    assert not verify_absent(proof, tree.commitment, hidden)
    assert not verify_absent(replace(proof, position=4), tree.commitment, hidden)
    smaller = SortedTree.of([*tree.leaves[:3], *tree.leaves[4:]])
    assert verify_absent(smaller.prove_absent(hidden), smaller.commitment, hidden)
    assert not verify_absent(smaller.prove_absent(hidden), tree.commitment, hidden)


def test_the_last_leaf_of_a_truncated_tree_is_not_the_last_leaf() -> None:
    tree = SortedTree.of(make_leaves("slice", 4))
    hidden = tree.leaves[3][:32]
    left_half = SortedTree.of(tree.leaves[:2])
    assert not verify_absent(left_half.prove_absent(hidden), tree.commitment, hidden)
    lie = replace(tree.prove_absent(b"\xff" * 32), position=4, before=tree._neighbour(2))
    assert not verify_absent(lie, tree.commitment, hidden)
    assert not verify_absent(
        AbsenceProof(size=4, root=tree.root, position=4, before=None, after=None), tree.commitment, hidden
    )
    assert not verify_absent(
        AbsenceProof(size=0, root=tree.root, position=0, before=None, after=None), tree.commitment, hidden
    )


def test_a_leaf_of_another_length_is_no_neighbour_even_where_it_was_committed() -> None:
    short = bytes(33)
    root = log.leaf_hash(short)
    commitment = hashlib.sha256(b"lethe slice\x00" + bytes(7) + b"\x01" + root).hexdigest()
    proof = AbsenceProof(size=1, root=root, position=1, before=Neighbour(short, ()), after=None)
    assert not verify_absent(proof, commitment, ABSENT)


def test_any_altered_part_of_a_proof_fails() -> None:
    tree = SortedTree.of(make_leaves("slice", 9))
    proof = tree.prove_absent(ABSENT)
    before, after = proof.before, proof.after
    assert before is not None
    assert after is not None
    altered = [
        replace(proof, size=10),
        replace(proof, size=-1),
        replace(proof, position=proof.position + 1),
        replace(proof, root=ABSENT),
        replace(proof, before=None),
        replace(proof, after=None),
        replace(proof, before=after, after=before),
        replace(proof, before=Neighbour(before.leaf[:32] + ABSENT, before.path)),
        replace(proof, before=Neighbour(before.leaf[:32], before.path)),
        replace(proof, after=Neighbour(after.leaf, after.path[:-1])),
    ]
    assert verify_absent(proof, tree.commitment, ABSENT)
    assert not any(verify_absent(each, tree.commitment, ABSENT) for each in altered)
    assert not verify_absent(proof, tree.commitment, ABSENT[:31])


def test_leaves_that_repeat_a_record_or_have_another_length_are_refused() -> None:
    leaves = make_leaves("slice", 3)
    with pytest.raises(ValueError, match="name one record"):
        commit([*leaves, leaves[0][:32] + ABSENT])
    with pytest.raises(ValueError, match="64 bytes"):
        commit([*leaves, ABSENT])
    with pytest.raises(ValueError, match="32 bytes"):
        prove_absent(leaves, b"short")


@pytest.mark.parametrize(
    "change",
    [
        {"size": "9"},
        {"size": True},
        {"position": 1.0},
        {"root": "AB" * 32},
        {"root": None},
        {"extra": 1},
        {"before": 3},
        {"before": {"leaf": "00"}},
        {"before": {"leaf": 7, "path": []}},
        {"before": {"leaf": "00" * 64, "path": ["zz"]}},
        {"before": {"leaf": "00" * 65, "path": []}},
        {"before": {"leaf": "00" * 64, "path": "00"}},
    ],
)
def test_a_proof_of_another_shape_cannot_be_read(change: dict[str, object]) -> None:
    value = prove_absent(make_leaves("slice", 9), ABSENT).as_json()
    with pytest.raises(ValueError, match=r"proof|digest|neighbour|leaf"):
        AbsenceProof.from_json({**value, **change})
    with pytest.raises(ValueError, match="proof"):
        AbsenceProof.from_json([])
