"""Open a checkpoint and the rows that it is changed or judged by. Loads torch; runs where methods run, and in the predictor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sqlalchemy import Row
from torch import Tensor, nn

from core.datasets.kinds import Arrays
from core.datasets.schema import Schema, TabularSchema, TextSchema, schema_from_json
from core.domain.checkpoint import CheckpointRecipe
from core.domain.errors import DatasetNotFound
from core.domain.task import Modality
from core.modelling import checkpoint_networks as networks
from core.modelling.tensors import NamedTensors, from_bytes, tensor_digest, to_bytes
from core.persistence import datasets
from core.unlearning.approximate.samples import Samples
from core.use_cases.doors import Doors
from core.use_cases.modalities import as_inputs, as_targets
from core.use_cases.read_rows import read_rows
from core.use_cases.register_checkpoint import unpacked

NEWEST = 2**31 - 1
"""A version that no data set has reached: all that came."""


@dataclass(frozen=True)
class Opened:
    """A checkpoint in memory, with what is needed to feed it."""

    recipe: CheckpointRecipe
    schema: Schema
    network: nn.Module
    tokenizer: bytes | None

    def inputs(self, arrays: Arrays) -> Tensor:
        """Return (n, …) what the network reads, scaled by the contract alone."""
        if isinstance(self.schema, TextSchema):
            from core.modelling.hugging_face import token_ids

            tokens = self.recipe.architecture.tokens or networks.AT_ONCE
            return token_ids(self.tokenizer or b"", arrays["texts"].tolist(), tokens, self.recipe.architecture.config)
        if isinstance(self.schema, TabularSchema):
            return one_hot(self.schema, as_inputs(self.schema, arrays))
        return as_inputs(self.schema, arrays)

    def continuations(self, inputs: Tensor, outputs: Tensor) -> list[dict[str, Any]]:
        """Return for texts the likeliest next token of each."""
        from core.modelling.hugging_face import continuations

        return continuations(self.tokenizer or b"", inputs, outputs, self.recipe.architecture.config)

    def targets(self, arrays: Arrays, inputs: Tensor) -> Tensor:
        """Return what the network is to say: classes, values in -1..1, or the next tokens."""
        if self.recipe.modality is not Modality.CAUSAL_LANGUAGE_MODEL:
            return as_targets(self.schema, arrays)
        from core.modelling.hugging_face import next_tokens

        return next_tokens(inputs, self.recipe.architecture.config)

    def samples(
        self,
        doors: Doors,
        dataset_id: str,
        *,
        version: int = NEWEST,
        keep: Collection[bytes] | None = None,
        drop: Collection[bytes] = (),
    ) -> Samples:
        """Return the rows of a version of a data set, in the order of their references.

        Raises:
            KeyDestroyed: a row was erased since it was looked up.
        """
        with doors.database.transaction() as session:
            blocks = [
                block
                for public in (False, True)
                for block in datasets.live_blocks(session, dataset_id, public=public, version=version)
            ]
        rows = read_rows(doors, blocks, schema=self.schema, keep=keep)
        references = [reference.tobytes() for reference in rows.records]
        dropped = set(drop)
        order = [at for at in sorted(range(len(rows)), key=lambda at: references[at]) if references[at] not in dropped]
        arrays = {name: values[np.array(order, dtype=np.int64)] for name, values in rows.arrays.items()}
        inputs = self.inputs(arrays)
        return Samples(tuple(references[at].hex() for at in order), inputs, self.targets(arrays, inputs))


def one_hot(schema: TabularSchema, columns: Tensor) -> Tensor:
    """Return (n, numbers + categories): numbers as they are scaled, a column for each category, zeros for an empty cell."""
    count = len(schema.numeric)
    parts = [columns[:, :count].nan_to_num(0.0)]
    for at, column in enumerate(schema.categorical):
        codes = columns[:, count + at]
        known = torch.nn.functional.one_hot(codes.nan_to_num(0.0).long(), len(column.categories)).float()
        parts.append(torch.where(codes.isnan()[:, None], torch.zeros(()), known))
    return torch.cat(parts, dim=1)


def open_checkpoint(doors: Doors, model: Row[Any], checkpoint: Row[Any]) -> Opened:
    """Return the network that a sealed checkpoint holds.

    Raises:
        KeyDestroyed, ObjectMissing: it was disposed of.
        CheckpointRefused: it is not what its architecture promises.
    """
    recipe = CheckpointRecipe.from_json(model.recipe)
    with doors.database.transaction() as session:
        dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
    if dataset is None:
        raise DatasetNotFound
    content = doors.get_sealed(checkpoint.data_key_id, checkpoint.object_digest)
    held = recipe.tokenizer
    tokenizer = None if held is None else doors.get_sealed(held["key_id"], held["object_digest"])
    return Opened(recipe, schema_from_json(dataset.schema), read_network(recipe, content), tokenizer)


def read_network(recipe: CheckpointRecipe, content: bytes) -> nn.Module:
    """Return the network in what `packed_network` or a registration wrote."""
    weights, adapter = unpacked(content)
    factors = from_bytes(adapter) if adapter else None
    return networks.load(recipe.architecture, recipe.modality, from_bytes(weights), factors)


def packed_network(tensors: NamedTensors) -> bytes:
    """Return tensors as they are sealed: without an adapter's file, as the factors are among them."""
    weights = to_bytes({name: one.detach().clone() for name, one in tensors.items()})  # tied ones are written twice
    return len(weights).to_bytes(8, "little") + weights


def digest_of(network: nn.Module) -> str:
    return tensor_digest({name: one.detach() for name, one in network.state_dict().items()})


def halves(samples: Samples) -> tuple[Samples, Samples]:
    """Return the held-out half and the test half of rows that no training saw, told apart by their keyed references."""
    odd = [int(reference[-1], 16) % 2 == 1 for reference in samples.references]
    return (
        samples.part([at for at, one in enumerate(odd) if one]),
        samples.part([at for at, one in enumerate(odd) if not one]),
    )
