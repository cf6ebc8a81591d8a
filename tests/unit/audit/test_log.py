from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.audit import log
from tests.shared_data import shared
from tests.unit.audit.evidence import reader_of

entries_of_a_log = st.lists(st.binary(max_size=4), min_size=1, max_size=40)


def hashes_of(entries: list[bytes]) -> list[bytes]:
    return [log.leaf_hash(entry) for entry in entries]


def tree_head(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, written as the recursion that it is there."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while 2 * split < len(hashes):
        split *= 2
    return log.node_hash(tree_head(hashes[:split]), tree_head(hashes[split:]))


def test_three_leaves_hash_as_the_standard_says() -> None:
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in (b"", b"\x00", b"\x10")]
    pair = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    expected = "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert hashlib.sha256(b"\x01" + pair + leaves[2]).hexdigest() == expected
    assert log.root(3, reader_of(leaves)).hex() == expected


def test_the_published_tree_has_the_published_roots() -> None:
    tree = json.loads((shared("vectors-merkle") / "tree.json").read_text())
    read = reader_of(hashes_of([bytes.fromhex(leaf) for leaf in tree["leaf_inputs_hex"]]))
    assert {size: log.root(int(size), read).hex() for size in tree["root_by_size"]} == tree["root_by_size"]


def test_the_published_inclusion_proofs_are_judged_as_published() -> None:
    lines = (shared("vectors-merkle") / "inclusion.jsonl").read_text().splitlines()
    assert len(lines) > 90
    for case in map(json.loads, lines):
        assert case["kind"] == "inclusion"
        holds = log.verify_inclusion(
            case["leafIdx"],
            case["treeSize"],
            base64.b64decode(case["leafHash"] or ""),
            [base64.b64decode(value) for value in case["proof"] or []],
            root=base64.b64decode(case["root"] or ""),
        )
        assert holds is not case["wantErr"], case["file"]


@given(entries_of_a_log)
def test_every_prefix_has_the_root_of_the_recursion(entries: list[bytes]) -> None:
    hashes = hashes_of(entries)
    read = reader_of(hashes)
    for size in range(len(hashes) + 1):
        assert log.root(size, read) == tree_head(hashes[:size])


@given(entries_of_a_log, st.data())
def test_every_entry_proves_its_place_and_no_other(entries: list[bytes], data: st.DataObject) -> None:
    hashes = hashes_of([bytes([row]) + entry for row, entry in enumerate(entries)])
    size = data.draw(st.integers(1, len(hashes)))
    index = data.draw(st.integers(0, size - 1))
    read = reader_of(hashes)
    proof, root = log.inclusion_proof(index, size, read), log.root(size, read)
    for place in range(-1, size + 1):
        assert log.verify_inclusion(place, size, hashes[index], proof, root=root) is (place == index)


@given(entries_of_a_log, st.data())
def test_an_altered_inclusion_proof_fails(entries: list[bytes], data: st.DataObject) -> None:
    hashes = hashes_of(entries)
    size, read = len(hashes), reader_of(hashes)
    index = data.draw(st.integers(0, size - 1))
    proof, root = log.inclusion_proof(index, size, read), log.root(size, read)
    for altered in alterations(proof):
        assert not log.verify_inclusion(index, size, hashes[index], altered, root=root)
    assert not log.verify_inclusion(index, size, flipped(hashes[index]), proof, root=root)
    assert not log.verify_inclusion(index, size, hashes[index], proof, root=flipped(root))


@given(entries_of_a_log, st.data())
def test_a_longer_log_proves_that_it_extends_the_shorter(entries: list[bytes], data: st.DataObject) -> None:
    hashes = hashes_of(entries)
    new = data.draw(st.integers(0, len(hashes)))
    old = data.draw(st.integers(0, new))
    read = reader_of(hashes)
    proof, roots = log.consistency_proof(old, new, read), (log.root(old, read), log.root(new, read))
    assert log.verify_consistency(old, new, proof, old_root=roots[0], new_root=roots[1])
    for altered in alterations(proof):
        assert not log.verify_consistency(old, new, altered, old_root=roots[0], new_root=roots[1])
    assert not log.verify_consistency(old, new, proof, old_root=flipped(roots[0]), new_root=roots[1])
    if old:
        assert not log.verify_consistency(old, new, proof, old_root=roots[0], new_root=flipped(roots[1]))


@given(entries_of_a_log, st.data())
def test_a_rewritten_log_cannot_prove_that_it_extends_the_old_one(entries: list[bytes], data: st.DataObject) -> None:
    hashes = hashes_of(entries)
    old = data.draw(st.integers(1, len(hashes)))
    rewritten = [*hashes]
    place = data.draw(st.integers(0, old - 1))
    rewritten[place] = flipped(rewritten[place])
    new, read = len(hashes), reader_of(rewritten)
    proof = log.consistency_proof(old, new, read)
    old_root = log.root(old, reader_of(hashes))
    assert not log.verify_consistency(old, new, proof, old_root=old_root, new_root=log.root(new, read))


def test_a_proof_reads_logarithmically_many_nodes() -> None:
    size, reads = 1_000_003, 0

    def read(level: int, index: int) -> bytes:
        nonlocal reads
        reads += 1
        return hashlib.sha256(f"{level}/{index}".encode()).digest()

    proofs = log.inclusion_proof(777_777, size, read), log.consistency_proof(777_777, size, read)
    log.root(size, read)
    assert max(map(len, proofs)) <= 21
    assert reads <= 5 * 20


def test_the_empty_log_extends_only_from_its_own_root() -> None:
    some = log.leaf_hash(b"")
    assert log.root(0, reader_of([])) == log.EMPTY_ROOT
    assert log.verify_consistency(0, 1, [], old_root=log.EMPTY_ROOT, new_root=some)
    assert not log.verify_consistency(0, 1, [], old_root=some, new_root=some)
    assert not log.verify_consistency(0, 0, [], old_root=some, new_root=some)
    assert not log.verify_consistency(2, 1, [], old_root=some, new_root=some)
    assert not log.verify_consistency(3, 4, [], old_root=some, new_root=some)


def test_a_path_of_another_length_fails_even_under_a_root_made_for_it() -> None:
    some, other, more = (log.leaf_hash(name) for name in (b"a", b"b", b"c"))
    assert not log.verify_inclusion(0, 1, some, [other], root=log.node_hash(other, some))
    assert not log.verify_inclusion(0, 2, some, [], root=some)
    assert not log.verify_consistency(2, 4, [], old_root=some, new_root=some)
    old_root, new_root = log.node_hash(other, some), log.node_hash(other, log.node_hash(some, more))
    assert log.verify_consistency(3, 4, [some, more, other], old_root=old_root, new_root=new_root)
    old_root, new_root = log.node_hash(more, old_root), log.node_hash(more, new_root)
    assert not log.verify_consistency(3, 4, [some, more, other, more], old_root=old_root, new_root=new_root)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_a_place_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    read = reader_of(hashes_of([b"a", b"b", b"c"]))
    with pytest.raises(ValueError, match="no leaf"):
        log.inclusion_proof(index, size, read)


@pytest.mark.parametrize(("old", "new"), [(3, 2), (-1, 2)])
def test_a_shorter_log_does_not_extend_a_longer_one(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="extend"):
        log.consistency_proof(old, new, reader_of(hashes_of([b"a", b"b", b"c"])))


def flipped(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


def alterations(proof: list[bytes]) -> list[list[bytes]]:
    """Every proof that differs from this one by a flipped bit, a lost hash or one too many."""
    changed = [[*proof[:row], flipped(value), *proof[row + 1 :]] for row, value in enumerate(proof)]
    short = [[*proof[:row], value[:-1], *proof[row + 1 :]] for row, value in enumerate(proof)]
    lost = [[*proof[:row], *proof[row + 1 :]] for row in range(len(proof))]
    return [*changed, *short, *lost, [*proof, log.EMPTY_ROOT], [log.EMPTY_ROOT, *proof]]
