"""State, sign and log what was done for one request in one model, and sign the log's head over it: one transaction.

The statement keeps what anybody can recompute (the manifest, which slices were struck, proofs of absence) apart from
what the operator merely says. A promise is certified once, however often a worker comes by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.certificate import (
    Absence,
    DeletionClaim,
    Limitation,
    RecordPlace,
    RequestFacts,
    SwitchedOff,
    make_statement,
    sign_statement,
)
from core.audit.checkpoint import sign_checkpoint
from core.audit.entry import Action
from core.domain.deletion import CopiesPolicy, Result
from core.domain.errors import OvertakenByDeletion
from core.domain.identifiers import new_identifier
from core.domain.manifest import Manifest
from core.domain.model import Guarantee
from core.lattice.placement import Place
from core.persistence import audit, models, nodes, requests, versions
from core.persistence.database import clock
from core.use_cases.doors import Doors
from core.use_cases.keep_ledger import require_unforked
from core.use_cases.shard_members import SliceTrees


def issue_certificate(  # noqa: PLR0913
    session: Connection,
    doors: Doors,
    *,
    request: Row[Any],
    model: Row[Any] | None,
    version: Row[Any] | None,
    guarantee: Guarantee | None,
    trees: SliceTrees | None = None,
) -> str | None:
    """Issue one certificate and return its identifier; None when this promise was certified before.

    Args:
        session: the transaction that certifies.
        doors: the outside.
        request: whose request, as locked.
        model: in which model; None when no model ever saw the subject.
        version: the version that is certified.
        guarantee: what is promised of it.
        trees: the model's slices as read before, where several certificates are issued; None reads them if need be.

    Raises:
        OvertakenByDeletion: a served node's slice was touched since; certify the next version instead.
    """
    model_id = model.id if model is not None else ""
    if requests.has_certificate(session, request.id, model_id, guarantee):
        return None
    certificate_id = new_identifier("crt")
    claim = _claim(session, doors, request, model, version, guarantee, trees)
    envelope = sign_statement(doors.certificate_signer(), make_statement(claim))
    digest = hashlib.sha256(envelope).hexdigest()
    audit.note(
        session,
        Action.CERTIFICATE_ISSUED,
        tenant=request.tenant_id,
        object=certificate_id,
        request=request.id,
        model=model_id or None,
        certificate_sha256=digest,
    )
    index = audit.flush(session)[-1]
    requests.add_certificate(
        session,
        tenant_id=request.tenant_id,
        id=certificate_id,
        request_id=request.id,
        model_id=model_id,
        version_id=version.id if version is not None else None,
        guarantee=guarantee or "",
        envelope=envelope,
        sha256=digest,
        log_index=index,
    )
    sign_head(session, doors)
    return certificate_id


def sign_head(session: Connection, doors: Doors) -> None:
    """Sign a checkpoint over the log as it stands in this transaction; the caller holds the log's lock.

    After the commit, `publish_checkpoint` takes it to the erasure ledger.

    Raises:
        LogForked: the log is not the one that was signed last, as in a restored database; see `replay_ledger`.
    """
    require_unforked(session, doors)
    sign_head_anew(session, doors)


def sign_head_anew(session: Connection, doors: Doors) -> None:
    """Sign a checkpoint whatever was signed before; the caller holds the log's lock and knows why."""
    entries, root = audit.head(session)
    note = sign_checkpoint(doors.log_signer(), doors.settings.log_origin, entries, root)
    audit.keep_checkpoint(session, entries=entries, note=note)


def _claim(  # noqa: PLR0913, PLR0917
    session: Connection,
    doors: Doors,
    request: Row[Any],
    model: Row[Any] | None,
    version: Row[Any] | None,
    guarantee: Guarantee | None,
    trees: SliceTrees | None,
) -> DeletionClaim:
    facts = RequestFacts(
        id=request.id,
        external_id_digest=hashlib.sha256(request.external_id.encode()).hexdigest() if request.external_id else None,
        regulation=request.regulation,
        received_at=request.received_at,
    )
    common = {
        "request": facts,
        "model": model.id if model is not None else request.tenant_id,
        "guarantee": guarantee,
        # Not this machine's clock, which may be wrong: what is signed agrees with the log.
        "issued_at": clock(session),
        "limitations": _limitations(doors, request, _backbone_limitation(session, model))
        + _equivalence(session, model, version),
    }
    if model is None or version is None:
        asserted = _asserted(session, doors, request, None)
        return DeletionClaim(**common, version=None, result=Result.NEVER_TRAINED, manifest=None, asserted=asserted)
    manifest = Manifest.from_json(version.manifest)
    references = [bytes(row.record) for row in requests.records_of_request(session, request.id, model.dataset_id)]
    places = [
        RecordPlace(record=bytes(row.record), shard=row.shard, slice=row.slice)
        for row in models.graves(session, model.id, references)
    ]
    lost = nodes.died_for(session, model.id, request.id)
    return DeletionClaim(
        **common,
        version=version.id,
        result=Result.UNLEARNED,
        manifest=manifest,
        records=places,
        switched_off=[SwitchedOff(key=row.key, shard=row.shard, slices=tuple(row.slices)) for row in lost],
        absences=_absences(session, doors, model, manifest, places, trees),
        asserted=_asserted(session, doors, request, model),
    )


def _absences(  # noqa: PLR0913, PLR0917
    session: Connection,
    doors: Doors,
    model: Row[Any],
    manifest: Manifest,
    places: Sequence[RecordPlace],
    trees: SliceTrees | None,
) -> list[Absence]:
    """Prove each record absent from every slice that a node in the manifest learned again since it was cleaned.

    A node that the data set outgrew learned a smaller slice, and has a root of its own.
    """
    known = nodes.nodes_by_key(session, model.id, [node.key for node in manifest.nodes])
    roots: dict[Place, dict[str, int]] = {}
    for node in manifest.nodes:
        version = known[node.key].dataset_version if node.key in known else model.dataset_version
        for number, root in zip(node.slices, node.slice_roots, strict=True):
            roots.setdefault(Place(node.shard, number), {})[root] = version
    needed = [where for where in places if Place(where.shard, where.slice) in roots]
    if not needed:
        return []
    trees = trees or SliceTrees.read(session, doors, model)
    proofs = []
    for where in needed:
        spot = Place(where.shard, where.slice)
        for root, version in sorted(roots[spot].items()):
            tree = trees.at(spot, version)
            if tree.commitment != root:
                raise OvertakenByDeletion
            proofs.append(Absence(place=where, commitment=root, proof=tree.prove_absent(where.record)))
    return proofs


def _asserted(session: Connection, doors: Doors, request: Row[Any], model: Row[Any] | None) -> dict[str, Any]:
    destroyed = requests.count_erasures(session, request.id)
    asserted: dict[str, Any] = {
        "keysDestroyed": {"blocks": destroyed["block"], "nodes": destroyed["node"]},
        "keyStoreBackupDays": doors.settings.key_backup_days,
        "rowsErasedFromDataSets": request.scope_models is None,
        "copiesUnderOtherOwners": {"count": request.copies, "policy": request.copies_policy},
    }
    if model is not None:
        backbone = models.find_backbone(session, model.tenant_id, model.backbone_key)
        asserted["trainer"] = backbone.training["environment"] if backbone is not None else None
        asserted["serving"] = [
            {"predictor": row.predictor_id, "versionNumber": row.version_number}
            for row in versions.servings_of(session, model.id)
        ]
    return asserted


def _limitations(doors: Doors, request: Row[Any], backbone: Limitation) -> list[Limitation]:
    listed = [
        Limitation.PLACEMENT_ASSERTED,
        Limitation.SLICE_ORDER_ASSERTED,
        Limitation.SERVING_ASSERTED,
        backbone,
        Limitation.ADAPTIVE_REQUESTS,
        Limitation.SAME_ENVIRONMENT_NEEDED_FOR_REPLAY,
        Limitation.EXTERNAL_COPIES_NOT_COVERED,
        Limitation.PAST_ANSWERS_NOT_COVERED,
    ]
    if request.copies and request.copies_policy == CopiesPolicy.REPORT:
        listed.append(Limitation.COPIES_REMAIN)
    if doors.settings.key_backup_days:
        listed.append(Limitation.KEY_STORE_BACKUPS_EXPIRE_IN_DAYS)
    if request.scope_models is not None:
        listed.append(Limitation.DATA_SET_COPY_RETAINED)
    return listed


def _equivalence(session: Connection, model: Row[Any] | None, version: Row[Any] | None) -> list[Limitation]:
    """Say so where any node of the version was trained on a GPU."""
    if model is None or version is None:
        return []
    keys = [node["key"] for node in version.manifest["nodes"]]
    return [Limitation.EQUIVALENCE_DISTRIBUTIONAL] if nodes.any_on_gpu(session, model.id, keys) else []


def _backbone_limitation(session: Connection, model: Row[Any] | None) -> Limitation:
    backbone = None if model is None else models.find_backbone(session, model.tenant_id, model.backbone_key)
    if backbone is not None and "directory_digest" in backbone.training:
        return Limitation.BACKBONE_LEARNED_ELSEWHERE
    learned = backbone is None or backbone.training["records"]
    return Limitation.BACKBONE_NOT_COVERED if learned else Limitation.BACKBONE_LEARNED_NOTHING
