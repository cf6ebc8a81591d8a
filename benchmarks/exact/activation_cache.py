"""Activations computed, against the same activations opened from the cache on disk: where does keeping them pay?

Processor seconds of one thread, system calls included. One owner a record, which is the cache's worst case: a file, a key and a seal each. Both sides give the same bits, or
nothing is reported. The encoders are drawn by chance, as time does not depend on what weights say.
"""

from __future__ import annotations

import hashlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.service.report import Run, arguments, finish, table, warn_if_busy
from core.domain.model import BackboneRecipe
from core.keys.directory import DirectoryKeyStore
from core.modelling.determinism import pinned
from core.modelling.vision_transformer import VisionTransformerShape
from core.object_store.directory import DirectoryObjectStore
from core.persistence.database import Database
from core.settings import Settings
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.backbone import drawn
from core.unlearning.exact.slice_records import SliceRecords
from core.use_cases.doors import Doors
from core.use_cases.keep_activations import KeptActivations

ENCODERS = {
    "width 64, 4 layers, 50 tokens": BackboneRecipe(width=64, layers=4, heads=4, patch=4),
    "width 192, 6 layers, 50 tokens": BackboneRecipe(width=192, layers=6, heads=4, patch=4),
    "width 384, 12 layers, 50 tokens": BackboneRecipe(width=384, layers=12, heads=6, patch=4),
}
IMAGE = (1, 28, 28)


def main() -> None:
    """Measure three encoders, each below its top quarter of layers, and print milliseconds per record."""
    run = arguments("activation_cache", "activations computed against activations opened from the cache", room="exact")
    warn_if_busy()
    pinned(1)
    rows = [_measured(run, name, recipe) for name, recipe in ENCODERS.items()]
    table(rows)
    finish(run, {"rows": rows})


def _measured(run: Run, name: str, recipe: BackboneRecipe) -> dict[str, Any]:
    shape = VisionTransformerShape.from_recipe(recipe, IMAGE, 10)
    backbone = shape.backbone(drawn(shape, seed=1))
    boundary = recipe.layers - recipe.layers // 4
    records = _records(run.pick(256, 64))
    with tempfile.TemporaryDirectory() as directory:
        doors = _doors(Path(directory))
        owners = {reference.tobytes(): f"blk_{row:05}" for row, reference in enumerate(records.references)}
        doors.keys.put_many({key_id: secrets.token_bytes(32) for key_id in owners.values()})
        store = KeptActivations(doors, backbone, "0" * 64, {0: records}, owners)
        states = SliceActivations(backbone, {0: records}).at(boundary, 0)
        kept = _seconds(lambda: store.keep(states, boundary, 0, np.ones(len(records), bool)), 1)
        found = SliceActivations(backbone, {0: records}, store).at(boundary, 0)
        assert torch.equal(found, states)
        computed = _seconds(lambda: SliceActivations(backbone, {0: records}).at(boundary, 0), run.pick(5, 2))
        opened = _seconds(lambda: SliceActivations(backbone, {0: records}, store).at(boundary, 0), run.pick(5, 2))
    per = 1000 / len(records)
    return {
        "encoder": name,
        "layers below": boundary,
        "computed ms": round(per * computed, 3),
        "opened ms": round(per * opened, 3),
        "kept ms": round(per * kept, 3),
        "ratio": round(computed / opened, 2),
        "KiB": round(states[0].numel() * 4 / 1024),
    }


def _records(count: int) -> SliceRecords:
    references = np.array([list(hashlib.sha256(str(row).encode()).digest()) for row in range(count)], np.uint8)
    images = torch.randn((count, *IMAGE), generator=torch.Generator().manual_seed(2))
    return SliceRecords.sorted_by_reference(
        0, references, references, inputs=images, targets=torch.zeros(count, dtype=torch.int64)
    )


def _doors(directory: Path) -> Doors:
    settings = Settings(data_directory=directory, activation_cache_mebibytes=4096)
    keys, store = DirectoryKeyStore(directory / "keys"), DirectoryObjectStore(directory / "objects")
    return Doors(database=Database("postgresql://nowhere"), keys=keys, store=store, settings=settings)


def _seconds(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
