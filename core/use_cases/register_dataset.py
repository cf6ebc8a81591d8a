"""Take a data set in: read, validate, seal every owner's rows under a key of their own, keep references only.

    columns ─▶ rows, validated ─▶ owners' references ─▶ suppressed? ─▶ blocks ─▶ sealed, packed in chunks ─▶ one commit

A failure at any point leaves nothing registered, and no key: their names are drafted before they exist. Chunks without
a key are garbage that `lethe fsck` names.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from core.datasets.blocks import OwnerBlock, encode_block, group_by_owner, pack
from core.datasets.readers import read_columns
from core.datasets.schema import Schema
from core.datasets.validation import Rows, validate
from core.domain.access import Caller, Scope
from core.domain.errors import Flaw, LetheError, NameTaken, OwnerSuppressed
from core.domain.identifiers import new_identifier
from core.domain.references import owner_reference
from core.keys.envelope import seal
from core.persistence import datasets, drafts
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.draft_keys import add_draft, destroy_draft
from core.use_cases.ingest_lock import take_ingest_lock
from core.use_cases.read_datasets import describe_dataset

CHUNK_BYTES = 8 << 20
MOST_FLAWS = 100


def register_dataset(  # noqa: PLR0913
    name: str, schema: Schema, files: Mapping[str, bytes], *, caller: Caller, once: OnceKey, doors: Doors
) -> Answer:
    """Register a data set from the bytes of its files.

    Raises:
        RowsRefused, UnreadableFile, UnsafeFile, TooLarge: the files break the schema or the limits.
        OwnerSuppressed: rows belong to owners who were deleted and have not consented anew.
        NameTaken: the tenant has a data set of that name.
    """
    caller.require(Scope.DATASETS_WRITE)
    rows = validate(read_columns(files, schema=schema, limit_bytes=doors.settings.upload_limit_bytes), schema)
    key = doors.tenant_key(caller.tenant_id)
    with doors.database.transaction() as session:
        _refuse_suppressed(session, caller.tenant_id, rows, schema, key)
    owned = group_by_owner(rows, tenant_key=key, identity_type=schema.owner_identity_type)
    names = [new_identifier("blk") for _ in owned]
    draft = add_draft(doors, caller.tenant_id, names)
    kept = _store_blocks(names, owned, doors)

    def keep(session: Connection) -> Answer:
        dataset_id = new_identifier("ds")
        _keep_rows(session, caller.tenant_id, dataset_id, owned, kept)
        # Last, and once more: a deletion accepted since the first look must refuse this ingest.
        take_ingest_lock(session, caller.tenant_id)
        _refuse_suppressed(session, caller.tenant_id, rows, schema, key)
        datasets.add_dataset(
            session,
            tenant_id=caller.tenant_id,
            id=dataset_id,
            name=name,
            schema=schema.as_json(),
            records=len(rows.record_ids),
            public_records=int(rows.public.sum()),
            owners=len({block.owner for block in owned} - {None}),
            copies=datasets.count_copies(session, caller.tenant_id, dataset_id),
        )
        drafts.drop_draft(session, draft)
        return Answer(status=201, body=describe_dataset(datasets.find_dataset(session, caller.tenant_id, dataset_id)))

    try:
        answer = answer_once(doors, caller, once, keep)
    except IntegrityError as error:
        destroy_draft(doors, draft)
        if "datasets_name_unique" not in str(error.orig):
            raise
        raise NameTaken("a data set of that name exists already") from None
    except LetheError:
        destroy_draft(doors, draft)
        raise
    if answer.replayed:
        # The rows are there from the first time; a second sealed copy would outlive every deletion.
        destroy_draft(doors, draft)
    return answer


def _refuse_suppressed(session: Connection, tenant_id: str, rows: Rows, schema: Schema, key: bytes) -> None:
    known = {value: owner_reference(key, schema.owner_identity_type, value) for value in set(rows.owners) if value}
    refused = datasets.suppressed_among(session, tenant_id, set(known.values()))
    if refused:
        where = [number for number, value in enumerate(rows.owners) if known.get(value) in refused]
        flaws = [
            Flaw(
                f"row {number}",
                "owner_suppressed",
                "the owner was deleted; record their new consent first (POST /v1/suppressions:reconsent)",
            )
            for number in where[:MOST_FLAWS]
        ]
        raise OwnerSuppressed(f"{len(where)} rows belong to {len(refused)} owners who were deleted", flaws=flaws)


def _store_blocks(names: list[str], owned: list[OwnerBlock], doors: Doors) -> list[dict[str, Any]]:
    """Seal each owner's rows and store them packed in chunks; return what the `blocks` table will say of each."""
    keys = {key_id: secrets.token_bytes(32) for key_id in names}
    doors.keys.put_many(keys)
    sealed = (
        (key_id, seal(keys[key_id], encode_block(block.rows), context=key_id.encode()))
        for key_id, block in zip(names, owned, strict=True)
    )
    spans: dict[str, dict[str, Any]] = {}
    for chunk in pack(sealed, CHUNK_BYTES):
        digest = doors.store.put(chunk.content)
        for key_id, start, length in chunk.spans:
            spans[key_id] = {"key_id": key_id, "object_digest": digest, "start": start, "length": length}
    return [spans[key_id] for key_id in names]


def _keep_rows(
    session: Connection, tenant_id: str, dataset_id: str, owned: list[OwnerBlock], kept: list[dict[str, Any]]
) -> None:
    for block, where in zip(owned, kept, strict=True):
        common = {
            "tenant_id": tenant_id,
            "dataset_id": dataset_id,
            "owner": block.owner or datasets.NOBODY,
            "public": block.public,
        }
        datasets.add_blocks(session, [{**common, **where, "records": len(block.rows)}])
        references = zip(block.rows.record_references, block.rows.content_references, strict=True)
        datasets.add_records(
            session,
            [{**common, "record": record.tobytes(), "content": content.tobytes()} for record, content in references],
        )
