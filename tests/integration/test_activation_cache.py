"""Activations on disk: they never change a bit, die with their owners' keys, and are never believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.domain.errors import LetheError
from core.domain.references import owner_reference
from core.keys.envelope import unseal
from core.persistence import datasets, models
from core.unlearning.exact import activations
from core.use_cases.activation_files import ActivationFiles
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.world import add_dataset, add_model, address, ask, built, drain, serving

BOUNDARIES = 2
"""Above the embedding, in a backbone of three layers and three slices."""


@pytest.fixture
def cached(doors: Doors) -> Doors:
    """Return the doors of a worker that keeps 64 MiB of activations."""
    return keeping(doors, 64)


def keeping(doors: Doors, mebibytes: int) -> Doors:
    return replace(doors, settings=doors.settings.model_copy(update={"activation_cache_mebibytes": mebibytes}))


def files(doors: Doors) -> list[Path]:
    return sorted(path for path in doors.settings.activations.rglob("*") if path.is_file())


def block_keys(doors: Doors, model: str) -> dict[str, str]:
    """Return the key of each owner's block, by address."""
    with doors.database.transaction() as session:
        row = models.get_model(session, model)
        blocks = datasets.live_blocks(session, row.dataset_id, public=False, version=row.dataset_version)
    by_owner = {bytes(block.owner): block.key_id for block in blocks}
    key = doors.tenant_key(world.ADMIN.tenant_id)
    found = {address(owner): by_owner.get(owner_reference(key, "email", address(owner))) for owner in range(24)}
    return {name: key_id for name, key_id in found.items() if key_id is not None}


def computed_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of rows of each slice that is not known when it is computed."""
    counted: list[int] = []
    original = activations.SliceActivations._compute

    def counting(self: Any, hidden: Any, boundary: int, inputs: Any, known: Any) -> None:
        counted.append(int((~known).sum()))
        original(self, hidden, boundary, inputs, known)

    monkeypatch.setattr(activations.SliceActivations, "_compute", counting)
    return counted


def again(doors: Doors, name: str) -> str:
    """Build a second model of the same recipe and placement; return the digest of what it serves."""
    model = add_model(doors, name)
    drain(doors)
    return str(serving(doors, model)["manifest_digest"])


def test_with_without_and_with_half_a_cache_one_content_is_served(cached: Doors) -> None:
    without = built(keeping(cached, 0))
    expected = serving(cached, without)["manifest_digest"]
    assert files(cached) == []
    assert again(cached, "fills-it") == expected
    kept = files(cached)
    assert kept
    for path in kept[::2]:
        path.unlink()
    assert again(cached, "half-filled") == expected
    assert files(cached) == kept
    assert again(cached, "filled") == expected


def test_a_full_cache_leaves_only_the_embedding_to_compute(cached: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    built(cached)
    counted = computed_batches(monkeypatch)
    again(cached, "filled")
    # Three slices in each of two shards, at boundaries 2, 1 and 0; the last is computed as ever.
    assert sum(counted) == 2 * world.OWNERS
    assert counted.count(0) == 12


def test_what_was_altered_or_is_anothers_is_computed_again(cached: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(cached)
    expected = serving(cached, model)["manifest_digest"]
    kept = files(cached)
    broken = bytearray(kept[0].read_bytes())
    broken[-1] ^= 1
    kept[0].write_bytes(broken)
    kept[1].write_bytes(b"")
    by_owner: dict[str, list[Path]] = {}
    for path in kept[2:]:
        by_owner.setdefault(path.parent.name, []).append(path)
    one, other = [paths for paths in by_owner.values() if len(paths) == BOUNDARIES][:2]
    # Another boundary of the same owner, and another owner's: each opens under its own name alone.
    one[0].write_bytes(one[1].read_bytes())
    other[0].write_bytes(one[1].read_bytes())
    counted = computed_batches(monkeypatch)
    assert again(cached, "robbed") == expected
    assert sum(counted) == 2 * world.OWNERS + 4 * world.ROWS_EACH


def test_a_deletion_takes_the_owners_activations_and_no_others(cached: Doors) -> None:
    model = built(cached)
    keys = block_keys(cached, model)
    stolen = {path: path.read_bytes() for path in files(cached) if path.parent.name == keys[address(3)]}
    assert stolen
    ask(cached, 3)
    drain(cached)
    left = {path.parent.name for path in files(cached)}
    assert left == set(keys.values()) - {keys[address(3)]}
    # A copy from before, as in a backup, opens under no key that is left.
    for sealed in stolen.values():
        for key_id in cached.keys.list_ids():
            with pytest.raises((LetheError, ValueError)):
                unseal(cached.keys.get(key_id), sealed, context=key_id.encode())
    assert serving(cached, model)["guarantee"] == "retrain_equivalent"


def test_after_a_deletion_the_repaired_content_is_that_of_a_build_without_a_cache(cached: Doors) -> None:
    model = built(cached)
    ask(cached, 3)
    drain(cached)
    assert again(keeping(cached, 0), "fresh") == serving(cached, model)["manifest_digest"]


def test_on_a_machine_that_did_not_delete_the_next_sweep_removes_what_no_key_opens(cached: Doors) -> None:
    built(cached)
    gone = files(cached)[0].parent.name
    cached.keys.destroy([gone])
    assert ActivationFiles(cached.settings).sweep(cached.keys) == 1
    assert gone not in {path.parent.name for path in files(cached)}
    assert ActivationFiles(keeping(cached, 0).settings).sweep(cached.keys) > 1
    assert files(cached) == []


def test_the_cache_never_grows_beyond_its_size(tmp_path: Path, doors: Doors) -> None:
    kept = ActivationFiles(
        doors.settings.model_copy(
            update={"activation_cache_mebibytes": 1, "activation_cache_directory": tmp_path / "cache"}
        )
    )
    for number in range(40):
        kept.write(f"blk_{number % 7}", f"file-{number}", bytes(100_000))
        assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) <= 1 << 20
    assert kept.read("blk_4", "file-39") == bytes(100_000)
    assert kept.read("blk_0", "file-0") is None
    kept.write("blk_0", "too-large", bytes(1 << 20))
    assert kept.read("blk_0", "too-large") is None


def test_no_cache_is_made_where_none_is_wanted(doors: Doors) -> None:
    add_dataset(doors)
    add_model(doors)
    drain(doors)
    assert not doors.settings.activations.exists()
