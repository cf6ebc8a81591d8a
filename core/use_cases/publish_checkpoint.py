"""Let a checkpoint be served: its manifest becomes the live version, and what it replaces is to be destroyed. Torch-free."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.domain.checkpoint import CheckpointManifest
from core.domain.errors import OvertakenByVersion
from core.domain.identifiers import new_identifier
from core.domain.model import Guarantee, ModelState
from core.faults import reach
from core.persistence import checkpoints, models, requests, versions
from core.persistence.database import VERSIONS_CHANNEL, notify
from core.persistence.requests import ErasureKind


def publish_checkpoint_version(  # noqa: PLR0913
    session: Connection,
    model: Row[Any],
    manifest: CheckpointManifest,
    *,
    checkpoint_id: str,
    guarantee: Guarantee,
    provenance: dict[str, Any],
    base: str | None,
) -> str:
    """Make a sealed checkpoint the live version and return the version's identifier.

    Args:
        session: a transaction that holds the model's lock.
        model: the model's row.
        manifest: what will be served.
        checkpoint_id: the checkpoint's row.
        guarantee: what it promises.
        provenance: who made it and why: reason, job, fence, request.
        base: the version that it was made from; None for the first one.

    Raises:
        OvertakenByVersion: another version went live since.
    """
    current = versions.live_version(session, model.id)
    if (None if current is None else current.id) != base:
        raise OvertakenByVersion
    served = checkpoints.live_checkpoint(session, model.id)
    version_id = new_identifier("ver")
    versions.add_version(
        session,
        tenant_id=model.tenant_id,
        id=version_id,
        model_id=model.id,
        guarantee=guarantee,
        manifest_digest=manifest.digest(),
        manifest=manifest.as_json(),
        job_id=provenance["job"],
        provenance={**provenance, "parent": base, "checkpoint": checkpoint_id},
    )
    reach("after_manifest_write")
    versions.move_alias(session, tenant_id=model.tenant_id, model_id=model.id, version_id=version_id)
    reach("after_alias_move")
    if served is not None and provenance.get("request"):
        doom_checkpoints(session, model, [served.id], provenance["request"])
        doom_attributions(session, model, provenance["request"])
    checkpoints.go_live(session, checkpoint_id)
    if current is None:
        models.set_model_state(session, model, ModelState.LIVE)
    notify(session, VERSIONS_CHANNEL, model.id)
    return version_id


def doom_checkpoints(session: Connection, model: Row[Any], ids: list[str], request_id: str) -> None:
    """Bury checkpoints and order the death of their keys, on account of a request."""
    common = {"tenant_id": model.tenant_id, "kind": ErasureKind.NODE, "request_id": request_id}
    dead = checkpoints.bury_checkpoints(session, ids)
    requests.order_erasures(
        session, ({**common, "key_id": row.data_key_id, "object_digest": row.object_digest} for row in dead)
    )


def doom_attributions(session: Connection, model: Row[Any], request_id: str, *, job_id: str | None = None) -> None:
    """Forget what was computed from the served version, by all runs or by one, and order the death of its keys."""
    common = {"tenant_id": model.tenant_id, "kind": ErasureKind.NODE, "request_id": request_id}
    requests.order_erasures(
        session,
        (
            {**common, "key_id": kept["key_id"], "object_digest": kept["object_digest"]}
            for kept in checkpoints.drop_attributions(session, model.id, job_id)
        ),
    )
