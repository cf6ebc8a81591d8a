"""A checkpoint's version, ready to answer: opened from the store, held against its manifest's digest, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from core.datasets.kinds import Arrays
from core.datasets.schema import Schema
from core.domain.checkpoint import CheckpointManifest, Mode
from core.domain.errors import ObjectMissing, SealBroken
from core.persistence import checkpoints, models, versions
from core.use_cases.doors import Doors

if TYPE_CHECKING:
    from core.use_cases.open_checkpoint import Opened


@dataclass(frozen=True)
class ServedCheckpoint:
    """One version of a checkpoint; see `follow_manifest.ServedModel`."""

    tenant_id: str
    model_id: str
    name: str
    version_id: str
    number: int
    manifest_digest: str
    schema: Schema
    opened: Opened
    degraded: bool = False

    def answers(self, questions: Arrays) -> list[dict[str, Any]]:
        """Return for n questions a label and its probability, or a value; of a text's continuation, its next token."""
        from core.modelling import checkpoint_networks as networks
        from core.use_cases.modalities import answers

        inputs = self.opened.inputs(questions)
        outputs, _ = networks.answers(self.opened.network, inputs)
        if outputs.dim() == 3:  # noqa: PLR2004 - (texts, tokens, vocabulary)
            return self.opened.continuations(inputs, outputs)
        return answers(self.schema, outputs)


def open_served(doors: Doors, row: Row[Any]) -> ServedCheckpoint | None:
    """Return what the live version of a checkpoint is; None for a lattice's.

    Raises:
        KeyDestroyed, ObjectMissing: a later version overtook it.
        SealBroken: what is stored is not what the manifest names.
    """
    with doors.database.transaction() as session:
        model = models.get_model(session, row.model_id)
        if model.mode != Mode.APPROXIMATE:
            return None
        version = versions.find_version(session, row.model_id, row.id)
        if version is None:
            return None
        checkpoint = checkpoints.find_checkpoint(session, version.provenance["checkpoint"])
    if checkpoint is None:
        raise ObjectMissing
    from core.use_cases.open_checkpoint import digest_of, open_checkpoint

    opened = open_checkpoint(doors, model, checkpoint)
    if digest_of(opened.network) != CheckpointManifest.from_json(version.manifest).tensors:
        raise SealBroken("the stored checkpoint is not the one that the manifest names")
    return ServedCheckpoint(
        tenant_id=row.tenant_id,
        model_id=row.model_id,
        name=row.name,
        version_id=version.id,
        number=version.number,
        manifest_digest=version.manifest_digest,
        schema=opened.schema,
        opened=opened,
    )
