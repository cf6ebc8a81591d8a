"""Taking records out of a ridge head: exact sums, against the usual rank-one downdates and against solving afresh.

Digits through a backbone that is pre-trained on public rows. Records leave one by one until a tenth is left. The usual way
keeps the inverse of XᵀX + λI and takes a record out by Sherman and Morrison's formula, in float64; its head drifts away from
the one that a fresh solve gives. Ours is held to be equal bit for bit. Milliseconds are the processor's, of one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.service.report import arguments, finish, table, verdict, warn_if_busy
from core.domain.model import BackboneRecipe, RidgeRecipe
from core.modelling.determinism import pinned
from core.modelling.moments import UNIT, moments, one_hot, solve, total
from core.modelling.ridge import RidgeHead, sums_of
from core.modelling.vision_transformer import VisionTransformerShape
from core.unlearning.exact.backbone import pretrain, public_logits
from core.unlearning.exact.ridge import as_tensors, read_records
from core.unlearning.exact.ridge_rows import RidgeRows
from core.unlearning.exact.slice_records import SliceRecords

PUBLIC, TEST, SHARDS = 500, 300, 16
WIDTHS = (64, 384, 768)
PENALTY = 1.0


def main() -> None:
    """Measure drift and accuracy on digits, and seconds at three widths."""
    run = arguments("ridge", "taking records out of a ridge head", room="exact")
    warn_if_busy()
    pinned(1)
    digits = _digits(run.pick(20, 2))
    print()
    rows = [_timed(width, run.pick(20_000, 2_000), run.pick(7, 2)) for width in WIDTHS]
    table(rows)
    print()
    goals = [verdict("the head after every deletion is the fresh one, bit for bit", met=digits["ours_drift"] == 0.0)]
    finish(run, {"digits": digits, "times": rows, "goals": goals})


def _digits(epochs: int) -> dict[str, Any]:
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    inputs = torch.tensor(images[order].reshape(-1, 1, 8, 8) / 8 - 1, dtype=torch.float32)
    targets = torch.tensor(labels[order], dtype=torch.int64)
    recipe = BackboneRecipe(epochs=epochs)
    shape = VisionTransformerShape.from_recipe(recipe, (1, 8, 8), 10)
    backbone = shape.backbone(pretrain(inputs[:PUBLIC], targets[:PUBLIC], shape, recipe, seed=1))
    private, test = slice(PUBLIC, -TEST), slice(len(inputs) - TEST, None)
    rows = read_records(_records(inputs[private], targets[private]), backbone)
    head = RidgeHead.build(backbone, [sums_of(as_tensors(rows), backbone)], RidgeRecipe(penalty=PENALTY))
    with torch.no_grad():
        public = (public_logits(backbone, inputs[test]).argmax(1) == targets[test]).float().mean()
        ridge = (head.logits(inputs[test]).argmax(1) == targets[test]).float().mean()
    ours, usual = _drift(rows)
    result = {
        "private_records": len(rows),
        "accuracy_public_head": round(float(public), 4),
        "accuracy_ridge_head": round(float(ridge), 4),
        "ours_drift": ours,
        "rank_one_drift": usual,
    }
    table([result])
    return result


def _drift(rows: RidgeRows) -> tuple[float, float]:
    """Return by how much each way's head differs from the fresh one after nine in ten records left, relative to its norm."""
    spread = one_hot(rows.targets, 10)
    x = np.concatenate([rows.features / UNIT, np.ones((len(rows), 1))], axis=1)
    y = spread / UNIT
    ridge = PENALTY * np.diag([1.0] * rows.features.shape[1] + [0.0])
    inverse, cross = np.linalg.inv(x.T @ x + ridge), x.T @ y
    sums = moments(rows.features, spread)
    gone = np.random.default_rng(1).permutation(len(rows))[: len(rows) * 9 // 10]
    for row in gone:
        sums -= moments(rows.features[row : row + 1], spread[row : row + 1])
        along = inverse @ x[row]
        inverse += np.outer(along, along) / (1 - x[row] @ along)
        cross -= np.outer(x[row], y[row])
    kept = np.setdiff1d(np.arange(len(rows)), gone)
    fresh = solve(moments(rows.features[kept], spread[kept]), PENALTY)
    norm = np.linalg.norm(fresh)
    ours, usual = solve(sums, PENALTY), inverse @ cross
    return float(np.linalg.norm(ours - fresh) / norm), float(np.linalg.norm(usual - fresh) / norm)


def _timed(width: int, count: int, rounds: int) -> dict[str, Any]:
    """Return milliseconds for one record out of `count`, features being there: ours as the service does it."""
    chance = np.random.default_rng(2)
    features = (chance.standard_normal((count, width)) * UNIT).astype(np.int32)
    labels = chance.integers(10, size=count).astype(np.int32)
    references = chance.integers(256, size=(count, 32), dtype=np.uint8)
    shards = [
        RidgeRows(
            references=references[at::SHARDS],
            contents=references[at::SHARDS],
            fed=references[at::SHARDS],
            features=features[at::SHARDS],
            targets=labels[at::SHARDS],
        )
        for at in range(SHARDS)
    ]
    sums = [moments(shard.features, one_hot(shard.targets, 10)) for shard in shards]
    kept = shards[0].without([references[0].tobytes()])
    new = moments(kept.features, one_hot(kept.targets, 10))
    whole = total([new, *sums[1:]])
    y = np.eye(10)[labels[1:]]
    x = np.concatenate([features[1:] / UNIT, np.ones((count - 1, 1))], axis=1)

    def remove() -> None:
        left = shards[0].without([references[0].tobytes()])
        RidgeRows.from_bytes(left.to_bytes()).tensor_digest()

    return {
        "width": width,
        "records": count,
        "take out of its shard ms": _ms(remove, rounds),
        "shard's sums ms": _ms(lambda: moments(kept.features, one_hot(kept.targets, 10)), rounds),
        "add shards ms": _ms(lambda: total([new, *sums[1:]]), rounds),
        "solve ms": _ms(lambda: solve(whole, PENALTY), rounds),
        "afresh, in float64, ms": _ms(lambda: _afresh(x, y), rounds),
    }


def _afresh(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ y), np.float64)


def _ms(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - began))
    return round(statistics.median(taken), 2)


def _records(inputs: torch.Tensor, targets: torch.Tensor) -> SliceRecords:
    references = np.random.default_rng(3).integers(256, size=(len(inputs), 32), dtype=np.uint8)
    return SliceRecords.sorted_by_reference(0, references, references, inputs=inputs, targets=targets)


if __name__ == "__main__":
    main()
