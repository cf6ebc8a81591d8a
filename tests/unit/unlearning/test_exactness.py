from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.domain.model import FamilyName
from core.unlearning.exact.training import TrainedNode
from tests.unit.unlearning.tiny import build_shard, make_recipe, make_slices

ROOT = Path(__file__).parents[3]
DELETED_SLICE, DELETED_POSITION = 1, 2
Digests = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def rebuilt_elsewhere() -> Digests:
    """Digests of a build that never saw the record, from a process of its own that went another way."""
    command = [sys.executable, "-m", "tests.unit.unlearning.other_process", str(DELETED_SLICE), str(DELETED_POSITION)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output))


@pytest.mark.parametrize("family", list(FamilyName))
def test_nodes_without_the_owners_slice_are_those_of_a_build_that_never_saw_it(
    family: FamilyName, rebuilt_elsewhere: Digests
) -> None:
    built = build_shard(make_slices(), make_recipe(family=family))
    same = {
        slices for slices, node in built.items() if rebuilt_elsewhere[family][json.dumps(slices)] == node.tensor_digest
    }
    assert same == {slices for slices in built if DELETED_SLICE not in slices}


def test_repair_after_the_deletion_gives_the_nodes_of_a_build_that_never_saw_it(rebuilt_elsewhere: Digests) -> None:
    repaired = build_shard(make_slices(without=(DELETED_SLICE, DELETED_POSITION)), make_recipe())
    digests = {json.dumps(slices): node.tensor_digest for slices, node in repaired.items()}
    assert digests == rebuilt_elsewhere[FamilyName.CHAIN]


@pytest.mark.parametrize("number", range(4))
def test_dropping_a_record_moves_no_bit_of_nodes_that_never_saw_its_slice(number: int) -> None:
    recipe = make_recipe(family=FamilyName.CYCLIC, epochs=1)
    before, after = build_shard(make_slices(), recipe), build_shard(make_slices(without=(number, 0)), recipe)
    moved = {slices for slices in before if before[slices].tensor_digest != after[slices].tensor_digest}
    assert moved == {slices for slices in before if number in slices}


def test_parents_reloaded_from_their_files_give_the_same_children() -> None:
    recipe = make_recipe()
    in_memory, reloaded = build_shard(make_slices(), recipe), build_shard(make_slices(), recipe, reload=True)
    assert _digests(in_memory) == _digests(reloaded)


def _digests(nodes: dict[tuple[int, ...], TrainedNode]) -> dict[tuple[int, ...], tuple[str, str]]:
    return {slices: (node.tensor_digest, node.data_digest) for slices, node in nodes.items()}
