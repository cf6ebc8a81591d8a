"""Everything that ever saw a person or a record and is still there: rows, nodes, backbones, versions, who serves them.

After a deletion the answer is empty; exports are told apart, as they lie where no deletion reaches. Looking is all that it
does: identities become keyed references at once, and nothing of the question is kept or logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.sorted_tree import commit
from core.domain.access import Caller, Scope
from core.domain.checkpoint import Mode
from core.domain.errors import DatasetNotFound, SubjectMissing
from core.domain.model import Recipe
from core.domain.references import owner_reference, record_reference
from core.lattice.placement import Place, place
from core.persistence import checkpoints, datasets, lineage, models, versions
from core.persistence.nodes import NodeState, drafts_of
from core.use_cases.doors import Doors
from core.use_cases.resolve_subjects import DeletionOrder
from core.use_cases.shard_members import Leaves, slice_leaves
from core.use_cases.wording import moment


def trace_subject(order: DeletionOrder, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return what is live and ever saw the subject, how much that saw it is gone, and what was exported.

    Args:
        order: whom or what; only its identities and records count.
        caller: whoever asks.
        doors: the outside.

    Raises:
        SubjectMissing: nobody is named.
        DatasetNotFound: it names what does not exist.
    """
    caller.require(Scope.REQUESTS_CREATE)
    with doors.database.transaction() as session:
        subject = _subject(session, doors, caller.tenant_id, order)
        live: list[dict[str, Any]] = list(_rows(session, caller.tenant_id, subject))
        exported: list[dict[str, Any]] = []
        gone = 0
        for model in models.list_models(session, caller.tenant_id):
            if model.mode == Mode.APPROXIMATE:
                live += _checkpoint(session, model, subject)
                continue
            trace = _Trace(session, doors, model, subject)
            seen, dead = trace.nodes()
            live += seen
            gone += dead
            live += trace.backbone()
            keys = {one["id"] for one in seen} | trace.dead_keys
            live += trace.versions({one["id"] for one in seen})
            live += trace.work()
            exported += trace.exports(keys)
    return {"object": "trace", "live": live, "nodes_gone": gone, "exported": exported}


@dataclass(frozen=True)
class _Subject:
    owners: frozenset[bytes]
    records: list[Row[Any]]
    """Erased or not."""


def _subject(session: Connection, doors: Doors, tenant_id: str, order: DeletionOrder) -> _Subject:
    if not order.identities and not any(subject.record_ids for subject in order.records):
        raise SubjectMissing
    key = doors.tenant_key(tenant_id)
    owners = frozenset(owner_reference(key, one.identity_type, one.value) for one in order.identities)
    wanted: set[tuple[str, bytes]] = set()
    for one in order.records:
        dataset = datasets.find_dataset(session, tenant_id, one.dataset)
        if dataset is None:
            raise DatasetNotFound
        wanted |= {(dataset.id, record_reference(key, record_id)) for record_id in one.record_ids}
    found = lineage.records_ever(session, tenant_id, owners, {record for _, record in wanted})
    mine = [row for row in found if bytes(row.owner) in owners or (row.dataset_id, bytes(row.record)) in wanted]
    return _Subject(owners, mine)


def _rows(session: Connection, tenant_id: str, subject: _Subject) -> Iterator[dict[str, Any]]:
    owners = {bytes(row.owner) for row in subject.records}
    blocks = {row.key_id: row for row in lineage.blocks_ever(session, tenant_id, owners) if row.erased_at is not None}
    # Erased, and openable until a worker destroys the key.
    doomed = {
        (blocks[key].dataset_id, bytes(blocks[key].owner), blocks[key].public, blocks[key].version)
        for key in lineage.keys_not_destroyed_yet(session, blocks)
    }
    for dataset_id in sorted({row.dataset_id for row in subject.records}):
        mine = [row for row in subject.records if row.dataset_id == dataset_id]
        kept = sum(
            row.erased_at is None or (dataset_id, bytes(row.owner), row.public, row.version) in doomed for row in mine
        )
        if kept:
            yield {"kind": "rows", "id": dataset_id, "model": None, "records": kept, "made_at": None}


def _checkpoint(session: Connection, model: Row[Any], subject: _Subject) -> Iterator[dict[str, Any]]:
    """Yield what is alive of a checkpoint that learned from the subject and was not made to forget it."""
    mine = {bytes(row.record) for row in subject.records if row.dataset_id == model.dataset_id}
    left = mine - {bytes(row.record) for row in models.graves(session, model.id, mine)}
    if not left:
        return
    served = checkpoints.live_checkpoint(session, model.id)
    if served is not None:
        made_at = moment(served.created_at)
        yield {"kind": "checkpoint", "id": served.id, "model": model.id, "records": len(left), "made_at": made_at}


class _Trace:
    """One model, seen from the subject."""

    def __init__(self, session: Connection, doors: Doors, model: Row[Any], subject: _Subject) -> None:
        self.session, self.model, self.subject = session, model, subject
        self.dead_keys: set[str] = set()
        self.mine = [row for row in subject.records if row.dataset_id == model.dataset_id]
        self.leaves: Leaves = slice_leaves(session, doors, model)[0] if self.mine else {}
        recipe = Recipe.from_json(model.recipe)
        key = doors.keys.get(model.placement_key_id)
        self.private: dict[Place, list[Row[Any]]] = {}
        for row in self.mine:
            if not row.public and row.version <= model.dataset_version:
                where = place(key, bytes(row.owner), shards=recipe.shards, slices=recipe.slices)
                self.private.setdefault(where, []).append(row)
        references = [bytes(row.record) for row in self.mine]
        self.buried = {bytes(row.record): row.buried_at for row in models.graves(session, model.id, references)}

    def nodes(self) -> tuple[list[dict[str, Any]], int]:
        """Return the live nodes that learned from the subject, and how many did and are gone."""
        seen: dict[str, dict[str, Any]] = {}
        dead: dict[str, Row[Any]] = {}
        for where in self.private:
            for row in lineage.nodes_over(self.session, self.model.id, where.shard, where.slice):
                if not self._saw(row, where):
                    continue
                if row.state == NodeState.LIVE:
                    seen[row.key] = self._named("node", row.key, row.created_at)
                else:
                    dead[row.data_key_id] = row
        self.dead_keys = {row.key for row in dead.values()}
        # Switched off, and openable until a worker destroys the key, any moment now.
        openable = lineage.keys_not_destroyed_yet(self.session, dead)
        seen |= {dead[key].key: self._named("node", dead[key].key, dead[key].created_at) for key in openable}
        return list(seen.values()), len(dead) - len(openable)

    def _saw(self, node: Row[Any], where: Place) -> bool:
        root = dict(zip(node.slices, node.slice_roots, strict=True))[where.slice]
        present = self.leaves[where]
        if node.state == NodeState.LIVE and root == commit(present):
            # Fed exactly what the slice holds now.
            return bool({bytes(row.record) for row in self.private[where]} & {leaf[:32] for leaf in present})
        # Its slice held something else then: it saw whatever was not buried yet when it was committed.
        return any(
            bytes(row.record) not in self.buried or node.created_at < self.buried[bytes(row.record)]
            for row in self.private[where]
            if row.version <= node.dataset_version
        )

    def backbone(self) -> Iterator[dict[str, Any]]:
        """Yield the backbone where the subject has rows in the public part, which no deletion takes out of it."""
        if any(row.public for row in self.mine):
            row = models.find_backbone(self.session, self.model.tenant_id, self.model.backbone_key)
            if row is not None:
                yield self._named("backbone", row.key, row.created_at)

    def versions(self, keys: set[str]) -> Iterator[dict[str, Any]]:
        """Yield the version that is live if it holds one of these nodes, and predictors that may answer from such a one."""
        known = keys | self.dead_keys
        live = versions.live_version(self.session, self.model.id)
        if live is not None and self._holds(live, keys):
            yield self._named("version", live.id, live.created_at)
        for row in versions.servings_of(self.session, self.model.id) if known else []:
            version = versions.find_version(self.session, self.model.id, str(row.version_number))
            if version is not None and self._holds(version, known):
                yield self._named("predictor", row.predictor_id, row.confirmed_at)

    def work(self) -> Iterator[dict[str, Any]]:
        """Yield drafts of nodes and trainings at work that may have read the subject's rows."""
        for where, rows in self.private.items():
            dates = [self.buried.get(bytes(row.record)) for row in rows]
            until = None if None in dates else max(date for date in dates if date is not None)
            for draft in drafts_of(self.session, self.model.id):
                same = draft.shard == where.shard and where.slice in draft.slices
                if same and (until is None or draft.created_at < until):
                    yield self._named("draft", draft.data_key_id, draft.created_at)
            subject = f"{self.model.id}/{where.shard}/"
            for job in lineage.trainings_since_before(self.session, subject, until):
                yield self._named("training", job.id, None)

    def exports(self, keys: set[str]) -> Iterator[dict[str, Any]]:
        """Yield exports of versions that held one of these nodes."""
        for row in lineage.exports_after(self.session, self.model.id, "", 10_000) if keys else []:
            version = versions.find_version(self.session, self.model.id, row.version)
            if version is not None and self._holds(version, keys):
                yield self._named("export", row.entry, row.at) | {"version": row.version}

    def _holds(self, version: Row[Any], keys: set[str]) -> bool:
        return any(node["key"] in keys for node in version.manifest["nodes"])

    def _named(self, kind: str, name: str, made_at: Any) -> dict[str, Any]:
        return {"kind": kind, "id": name, "model": self.model.id, "records": None, "made_at": moment(made_at)}
