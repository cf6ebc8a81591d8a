"""Read a shard's records through the frozen backbone, once: the only step of a ridge model that needs torch.

Each record is read alone. Kernels may round a row by where it stands in a batch, and a record's place changes when another
one leaves; read alone, its features are a function of the record and the backbone, and of nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from core.domain.task import TaskName
from core.modelling.backbone import Backbone
from core.modelling.moments import fixed_point
from core.modelling.tensors import tensor_bytes, tensor_digest
from core.unlearning.exact.node_spec import NodeSpec
from core.unlearning.exact.nodes import NodeTensors
from core.unlearning.exact.ridge_rows import RidgeRows
from core.unlearning.exact.slice_records import SliceRecords


def read_records(
    records: SliceRecords, backbone: Backbone, progress: Callable[[int], None] = lambda _: None
) -> RidgeRows:
    """Return the records as a ridge head learns them; `progress` is called with how many have been read."""
    return RidgeRows(
        references=records.references,
        contents=records.content_references,
        fed=np.array([_fed(*row) for row in zip(records.inputs, records.targets, strict=True)], np.uint8).reshape(
            -1, 32
        ),
        features=fixed_point(_features(records.inputs, backbone, progress).numpy()),
        targets=_targets(records.targets, backbone.shape.task).numpy(),
    )


def as_tensors(rows: RidgeRows) -> NodeTensors:
    """Return the columns as a node's tensors."""
    return {name: torch.tensor(column) for name, column in rows.columns().items()}


def learn(
    spec: NodeSpec, records: SliceRecords, backbone: Backbone, progress: Callable[[int], None] = lambda _: None
) -> tuple[NodeTensors, str, str, float]:
    """Return a node's tensors, the digests of what was read and of what it holds, and the seconds it took."""
    started = time.perf_counter()
    rows = read_records(records, backbone, progress)
    tensors = as_tensors(rows)
    return tensors, rows.data_digest(spec.key), tensor_digest(tensors), time.perf_counter() - started


@torch.no_grad()
def _features(inputs: Tensor, backbone: Backbone, progress: Callable[[int], None]) -> Tensor:
    bare = backbone.folded(range(backbone.shape.layers), {}, 0.0)
    features = torch.empty(len(inputs), backbone.shape.width)
    # Always the same memory: kernels round by alignment, too.
    device = backbone.tensors["head.weight"].device
    alone = torch.zeros(1, *backbone.shape.input_shape, dtype=inputs.dtype, device=device)
    for row, record in enumerate(inputs):
        alone[0] = record
        features[row] = backbone.top_features(backbone.embed(alone), bare)[0]
        progress(row + 1)
    return features


def _targets(targets: Tensor, task: TaskName) -> Tensor:
    if task is TaskName.CLASSIFICATION:
        return targets.to(torch.int32)
    return torch.from_numpy(fixed_point(targets.numpy()))


def _fed(inputs: Tensor, target: Tensor) -> list[int]:
    return list(hashlib.sha256(b"lethe fed row\x00" + tensor_bytes(inputs) + tensor_bytes(target)).digest())
