"""Take rows in, for a new data set or for a new version of one: read, validate, seal every owner's under a key of their own.

    columns ─▶ rows, validated ─▶ owners' references ─▶ suppressed? ─▶ blocks ─▶ sealed, packed in chunks ─▶ one commit

A failure at any point leaves nothing behind, and no key: their names are drafted before they exist. Chunks without a key
are garbage that `lethe fsck` names.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from core.datasets.blocks import OwnerBlock, encode_block, group_by_owner, pack
from core.datasets.readers import read_columns
from core.datasets.schema import Schema
from core.datasets.validation import Rows, validate
from core.domain.access import Caller
from core.domain.errors import Flaw, LetheError, OwnerSuppressed
from core.domain.identifiers import new_identifier
from core.domain.references import owner_reference
from core.keys.envelope import seal
from core.persistence import datasets, drafts
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.draft_keys import add_draft, destroy_draft
from core.use_cases.ingest_lock import take_ingest_lock

CHUNK_BYTES = 8 << 20
MOST_FLAWS = 100


@dataclass(frozen=True)
class Intake:
    """Rows that are validated and sealed, and in no table yet."""

    tenant_id: str
    schema: Schema
    rows: Rows
    owned: list[OwnerBlock]
    where: list[dict[str, Any]]
    """What the `blocks` table will say of each of these."""
    key: bytes
    """The tenant's."""

    @property
    def owners(self) -> set[bytes]:
        return {block.owner for block in self.owned if block.owner is not None}

    def keep(self, session: Connection, dataset_id: str, version: int) -> int:
        """Write the rows down as one version of a data set; return how many have copies under other owners.

        Raises:
            OwnerSuppressed: a deletion of one of the owners was accepted since the first look.
        """
        for block, where in zip(self.owned, self.where, strict=True):
            common = {
                "tenant_id": self.tenant_id,
                "dataset_id": dataset_id,
                "owner": block.owner or datasets.NOBODY,
                "public": block.public,
                "version": version,
            }
            datasets.add_blocks(session, [{**common, **where, "records": len(block.rows)}])
            references = zip(block.rows.record_references, block.rows.content_references, strict=True)
            datasets.add_records(
                session,
                [
                    {**common, "record": record.tobytes(), "content": content.tobytes()}
                    for record, content in references
                ],
            )
        # Last, and once more: a deletion accepted since the first look must refuse this ingest.
        take_ingest_lock(session, self.tenant_id)
        self.refuse_suppressed(session)
        return datasets.count_copies(session, self.tenant_id, dataset_id, version)

    def refuse_suppressed(self, session: Connection) -> None:
        """Refuse rows of owners who were deleted."""
        _refuse_suppressed(session, self.tenant_id, self.rows, self.schema, self.key)


def ingest_rows(  # noqa: PLR0913
    files: Mapping[str, bytes],
    schema: Schema,
    keep: Callable[[Connection, Intake], Answer],
    *,
    caller: Caller,
    once: OnceKey,
    doors: Doors,
) -> Answer:
    """Seal the rows of files, and have `keep` write them down in one transaction.

    Raises:
        RowsRefused, UnreadableFile, UnsafeFile, TooLarge: the files break the schema or the limits.
        OwnerSuppressed: rows belong to owners who were deleted and have not consented anew.
    """
    rows = validate(read_columns(files, schema=schema, limit_bytes=doors.settings.upload_limit_bytes), schema)
    key = doors.tenant_key(caller.tenant_id)
    with doors.database.transaction() as session:
        _refuse_suppressed(session, caller.tenant_id, rows, schema, key)
    owned = group_by_owner(rows, tenant_key=key, identity_type=schema.owner_identity_type)
    names = [new_identifier("blk") for _ in owned]
    draft = add_draft(doors, caller.tenant_id, names)
    intake = Intake(caller.tenant_id, schema, rows, owned, _store_blocks(names, owned, doors), key)

    def effect(session: Connection) -> Answer:
        answer = keep(session, intake)
        drafts.drop_draft(session, draft)
        return answer

    try:
        answer = answer_once(doors, caller, once, effect)
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
