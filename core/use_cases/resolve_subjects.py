"""Find the records that a deletion request is about, and the models that learned from them. References only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.deletion import CopiesPolicy, DeletedRecord, RequestKind
from core.domain.errors import DatasetNotFound, ModelNotFound, SubjectMissing
from core.domain.model import Recipe
from core.domain.references import owner_reference, record_reference
from core.lattice.placement import place
from core.persistence import datasets, models, requests
from core.persistence.round_trips import Question, together
from core.use_cases.doors import Doors


@dataclass(frozen=True)
class Identity:
    """Whom a request is about, as the caller said it. Never printed, stored or logged."""

    identity_type: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class RecordSubject:
    """Records of one data set, as the caller named them. Never printed, stored or logged."""

    dataset: str
    record_ids: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class DeletionOrder:
    """What a caller asks to be forgotten."""

    identities: tuple[Identity, ...] = ()
    records: tuple[RecordSubject, ...] = ()
    models: tuple[str, ...] | None = None
    """Identifiers or names; None: every model that saw the subject, and the data sets themselves."""
    copies: CopiesPolicy = CopiesPolicy.REPORT
    external_id: str | None = None
    regulation: str | None = None
    kind: RequestKind = RequestKind.DATA_DELETION
    concept: str | None = None
    """concept_suppression: id or name of the data set whose rows show the concept."""
    method: Mapping[str, Any] | None = None
    """On models in approximate mode: this method and its settings, in place of those that their policies rank."""


@dataclass(frozen=True)
class Resolved:
    """The subject of a request as Lethe knows it."""

    owners: frozenset[bytes]
    """Owners named by identity; they are refused at ingest from now on."""
    records: list[Row[Any]]
    """Rows of `records`: dataset_id, record, owner, content, public."""
    models: list[Row[Any]]
    copies: int
    """Records of other owners with identical content; among `records` already when the policy says expand."""
    related: list[str] = field(default_factory=list)
    """Earlier requests about the same owners: linked, never a reason to drop this one."""

    @property
    def in_backbone(self) -> bool:
        """Whether a record lies in the public part that an affected model's backbone was pre-trained on."""
        learned = {model.dataset_id for model in self.models}
        return any(row.public and row.dataset_id in learned for row in self.records)


def named_owners(doors: Doors, tenant_id: str, order: DeletionOrder) -> frozenset[bytes]:
    """Return the references of those whom an order names by an identity.

    Raises:
        SubjectMissing: the order names nobody, nor any record.
    """
    if not order.identities and not any(subject.record_ids for subject in order.records):
        raise SubjectMissing
    key = doors.tenant_key(tenant_id)
    return frozenset(owner_reference(key, one.identity_type, one.value) for one in order.identities)


def subject_questions(tenant_id: str, owners: frozenset[bytes]) -> list[Question]:
    """Return what `resolve_subjects` asks first; it can be asked before, with something else."""
    return [
        datasets.owned_by(tenant_id, owners),
        datasets.alike_to_owned(tenant_id, owners),
        models.learned_from_owned(tenant_id, owners),
        requests.about(tenant_id, owners),
    ]


def resolve_subjects(  # noqa: PLR0913, PLR0917 - where, who, and what is known of it already
    session: Connection,
    doors: Doors,
    tenant_id: str,
    order: DeletionOrder,
    owners: frozenset[bytes],
    answers: Sequence[list[Any]] = (),
) -> Resolved:
    """Look up an order's subjects.

    Args:
        session: a transaction.
        doors: the outside.
        tenant_id: whose data sets are looked through.
        order: what is to be forgotten.
        owners: its `named_owners`.
        answers: to `subject_questions`, if they were asked in this transaction already.

    Raises:
        DatasetNotFound, ModelNotFound: it names what does not exist.
    """
    rows, copies, everyone, related = answers or together(session, *subject_questions(tenant_id, owners))
    if order.records:
        rows = rows + _named_records(session, doors, tenant_id, order)
        copies, everyone = together(
            session,
            datasets.alike(tenant_id, {row.content for row in rows}),
            models.learned_from(tenant_id, {row.dataset_id for row in rows}),
        )
    learned = {row.dataset_id for row in rows}
    records, count = _expanded(owners, rows, copies, order.copies)
    if any(row.dataset_id not in learned for row in records):
        everyone = models.models_on(session, tenant_id, {row.dataset_id for row in records})
    return Resolved(
        owners=owners,
        records=records,
        models=_affected(session, tenant_id, order, everyone),
        copies=count,
        related=[row.request_id for row in related],
    )


def _named_records(session: Connection, doors: Doors, tenant_id: str, order: DeletionOrder) -> list[Row[Any]]:
    """Return the records that an order names one by one."""
    key, rows = doors.tenant_key(tenant_id), []
    for subject in order.records:
        dataset = datasets.find_dataset(session, tenant_id, subject.dataset)
        if dataset is None:
            raise DatasetNotFound
        references = [record_reference(key, record_id) for record_id in subject.record_ids]
        rows += datasets.records_by_reference(session, tenant_id, dataset.id, references)
    return rows


def with_copies(
    session: Connection, tenant_id: str, owners: frozenset[bytes], rows: list[Row[Any]], policy: CopiesPolicy
) -> tuple[list[Row[Any]], int]:
    """Return the rows once each, with others' identical ones if the policy says so, and how many of those there are."""
    copies = datasets.copies_of(session, tenant_id, {bytes(row.content) for row in rows})
    return _expanded(owners, rows, copies, policy)


def _expanded(
    owners: frozenset[bytes], rows: list[Row[Any]], alike: list[Row[Any]], policy: CopiesPolicy
) -> tuple[list[Row[Any]], int]:
    found = {(row.dataset_id, bytes(row.record)): row for row in rows}
    subjects = owners | {bytes(row.owner) for row in found.values()}
    copies = [
        row for row in alike if (row.dataset_id, bytes(row.record)) not in found and bytes(row.owner) not in subjects
    ]
    if policy is CopiesPolicy.EXPAND:
        found |= {(row.dataset_id, bytes(row.record)): row for row in copies}
    return [found[name] for name in sorted(found)], len(copies)


def _affected(session: Connection, tenant_id: str, order: DeletionOrder, everyone: list[Row[Any]]) -> list[Row[Any]]:
    if order.models is None:
        return everyone
    wanted = set()
    for name in order.models:
        model = models.find_model(session, tenant_id, name)
        if model is None:
            raise ModelNotFound
        wanted.add(model.id)
    return [model for model in everyone if model.id in wanted]


def placed(doors: Doors, model: Row[Any], rows: list[Row[Any]]) -> list[DeletedRecord]:
    """Return where in the model each private record of its data set was learned."""
    recipe = Recipe.from_json(model.recipe)
    key = doors.keys.get(model.placement_key_id)
    dead = []
    for row in rows:
        if row.dataset_id == model.dataset_id and not row.public:
            where = place(key, bytes(row.owner), shards=recipe.shards, slices=recipe.slices)
            dead.append(DeletedRecord(bytes(row.record), bytes(row.owner), where.shard, where.slice))
    return dead
