"""Where everything that a model is made of comes from: what it stands on, what it was fed, which job made it, and when.

    public rows ─▶ backbone ─▶ node ─▶ node ─▶ … ─▶ version ─▶ certificate
                      private slices ─┘                └─▶ export

Activations are no artefact: they live in the memory of a training process and end with it (see `docs/lineage.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.errors import CursorUnusable, ModelNotFound
from core.persistence import lineage, models, versions
from core.use_cases.doors import Doors
from core.use_cases.publish_version import dataset_version_of
from core.use_cases.wording import moment, page, read_cursor

AT_ONCE = 100


class ArtefactKind(StrEnum):
    """Kinds of artefacts, in the order in which one stands on the other."""

    BACKBONE = "backbone"
    NODE = "node"
    VERSION = "version"
    CERTIFICATE = "certificate"
    EXPORT = "export"


class ArtefactState(StrEnum):
    """What became of an artefact."""

    LIVE = "live"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    OUTSIDE = "outside"


STATES = {
    ArtefactKind.BACKBONE: {ArtefactState.LIVE},
    ArtefactKind.NODE: {ArtefactState.LIVE, ArtefactState.DEAD},
    ArtefactKind.VERSION: {ArtefactState.LIVE, ArtefactState.SUPERSEDED},
    ArtefactKind.CERTIFICATE: {ArtefactState.LIVE},
    ArtefactKind.EXPORT: {ArtefactState.OUTSIDE},
}
"""What an artefact of each kind can be; nobody looks for another state among them."""


def read_lineage(  # noqa: PLR0913
    model: str,
    *,
    caller: Caller,
    doors: Doors,
    limit: int,
    cursor: str | None,
    kind: ArtefactKind | None = None,
    state: ArtefactState | None = None,
) -> dict[str, Any]:
    """Return a page of a model's artefacts, those first that others stand on.

    Raises:
        ModelNotFound: the tenant has none such.
    """
    caller.require(Scope.MODELS_READ)
    filters = {"model": model, "kind": kind, "state": state}
    first, _, after = (read_cursor(cursor, of="lineage", filters=filters) or "/").partition("/")
    if first and first not in set(ArtefactKind):
        raise CursorUnusable
    with doors.database.transaction() as session:
        found = models.find_model(session, caller.tenant_id, model)
        if found is None:
            raise ModelNotFound
        shown: list[dict[str, Any]] = []
        kinds = list(ArtefactKind) if kind is None else [kind]
        for one in kinds[kinds.index(ArtefactKind(first)) if first in kinds else 0 :]:
            if state is not None and state not in STATES[one]:
                continue
            start = after if one == first else ""
            for artefact in _all_after(session, found, one, start):
                if state in {None, artefact["state"]}:
                    shown.append(artefact)
                if len(shown) > limit:
                    return page(shown, of="lineage", limit=limit, key="place", filters=filters)
    return page(shown, of="lineage", limit=limit, key="place", filters=filters)


def _all_after(session: Connection, model: Row[Any], kind: ArtefactKind, after: str) -> Iterator[dict[str, Any]]:
    while True:
        some = list(READERS[kind](session, model, after, AT_ONCE))
        yield from some
        if len(some) < AT_ONCE:
            return
        after = some[-1]["id"]


def _backbone(session: Connection, model: Row[Any], after: str, limit: int) -> Iterator[dict[str, Any]]:
    row = models.find_backbone(session, model.tenant_id, model.backbone_key)
    if row is None or not limit or after >= row.key:
        return
    yield _artefact(
        ArtefactKind.BACKBONE,
        row.key,
        digest=row.digest,
        data={"dataset": model.dataset_id, "part": "public", "records": row.training.get("records")},
        made=_made(session, row.key, "backbone.trained"),
        environment=row.training.get("environment"),
        made_at=row.created_at,
    )


def _nodes(session: Connection, model: Row[Any], after: str, limit: int) -> Iterator[dict[str, Any]]:
    for row in lineage.nodes_after(session, model.id, after, limit):
        parent = ("node", row.parent) if row.parent is not None else ("backbone", model.backbone_key)
        yield _artefact(
            ArtefactKind.NODE,
            row.key,
            state=ArtefactState(row.state),
            parents=[parent],
            digest=row.tensor_digest,
            data={
                "dataset": model.dataset_id,
                "dataset_version": row.dataset_version,
                "shard": row.shard,
                "slices": list(row.slices),
                "slice_roots": list(row.slice_roots),
                "fed": row.data_digest,
                "records": row.records,
            },
            canonical=row.canonical,
            made={"job": row.job_id, "fence": row.fence, "worker": row.worker},
            environment=row.environment,
            made_at=row.created_at,
            ended_at=row.died_at,
            ended_for=row.died_for,
        )


def _versions(session: Connection, model: Row[Any], after: str, limit: int) -> Iterator[dict[str, Any]]:
    live = versions.live_version(session, model.id)
    for row in lineage.versions_after(session, model.id, after, limit):
        provenance = row.provenance
        before = [("version", provenance["parent"])] if provenance.get("parent") else []
        yield _artefact(
            ArtefactKind.VERSION,
            row.id,
            state=ArtefactState.LIVE if live is not None and live.id == row.id else ArtefactState.SUPERSEDED,
            parents=[("node", node["key"]) for node in row.manifest.get("nodes", ())] + before,
            digest=row.manifest_digest,
            number=row.number,
            guarantee=row.guarantee,
            dataset_version=dataset_version_of(row),
            made={"job": row.job_id or None, "fence": provenance.get("fence"), "worker": row.worker},
            made_at=row.created_at,
        )


def _certificates(session: Connection, model: Row[Any], after: str, limit: int) -> Iterator[dict[str, Any]]:
    for row in lineage.certificates_after(session, model.id, after, limit):
        yield _artefact(
            ArtefactKind.CERTIFICATE,
            row.id,
            parents=[("version", row.version_id), ("request", row.request_id)],
            digest=row.sha256,
            guarantee=row.guarantee or None,
            made={**_made(session, row.id, "certificate.issued"), "log_index": row.log_index},
            made_at=row.issued_at,
        )


def _exports(session: Connection, model: Row[Any], after: str, limit: int) -> Iterator[dict[str, Any]]:
    for row in lineage.exports_after(session, model.id, after, limit):
        yield _artefact(
            ArtefactKind.EXPORT,
            row.entry,
            state=ArtefactState.OUTSIDE,
            parents=[("version", row.version)],
            digest=row.manifest,
            made={"actor": row.actor, "log_index": row.index},
            made_at=row.at,
        )


READERS: dict[ArtefactKind, Callable[[Connection, Row[Any], str, int], Iterator[dict[str, Any]]]] = {
    ArtefactKind.BACKBONE: _backbone,
    ArtefactKind.NODE: _nodes,
    ArtefactKind.VERSION: _versions,
    ArtefactKind.CERTIFICATE: _certificates,
    ArtefactKind.EXPORT: _exports,
}


def _artefact(  # noqa: PLR0913 - an artefact has as many sides as it has
    kind: ArtefactKind,
    name: str,
    *,
    digest: str,
    made: dict[str, Any],
    made_at: Any,
    state: ArtefactState = ArtefactState.LIVE,
    parents: list[tuple[str, str | None]] | None = None,
    ended_at: Any = None,
    **more: Any,
) -> dict[str, Any]:
    return {
        "object": "artefact",
        "kind": kind,
        "id": name,
        "place": f"{kind}/{name}",
        "state": state,
        "parents": [{"kind": one, "id": key} for one, key in parents or [] if key is not None],
        "digest": digest,
        "made": made,
        "made_at": moment(made_at),
        "ended_at": moment(ended_at),
        **more,
    }


def _made(session: Connection, name: str, action: str) -> dict[str, Any]:
    row = lineage.first_entry(session, name, action)
    return {"actor": row.actor, "log_index": row.index} if row is not None else {}
