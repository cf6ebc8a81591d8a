"""Erase rows from their data sets: order the keys of blocks dead that nobody else needs, and reseal the others.

Resealing is needed when a request names single records, or expands to copies that others own. A kill in between leaves
either the old block with its key or the new one with its own; the old key dies only after the new block is what the
database names.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.datasets.blocks import decode_block, encode_block, without_records
from core.domain.errors import SealBroken
from core.domain.identifiers import new_identifier
from core.keys.envelope import unseal
from core.persistence import datasets, drafts, jobs, requests
from core.persistence.requests import ErasureKind
from core.use_cases.doors import Doors
from core.use_cases.draft_keys import add_draft, destroy_draft


def erase_rows(session: Connection, request: Row[Any]) -> None:
    """Mark a request's rows erased, and order the death of every key that only they needed."""
    rows = requests.records_of_request(session, request.id)
    for dataset_id in sorted({row.dataset_id for row in rows}):
        mine = [row for row in rows if row.dataset_id == dataset_id]
        references = [bytes(row.record) for row in mine]
        datasets.erase_records(session, request.tenant_id, dataset_id, references, request_id=request.id)
        for owner, public in sorted({(bytes(row.owner), row.public) for row in mine}):
            for block in datasets.blocks_of(session, dataset_id, owner, public=public, lock=True):
                if datasets.records_in_block(session, block):
                    continue
                datasets.mark_block_erased(session, block)
                order = {"tenant_id": request.tenant_id, "key_id": block.key_id, "kind": ErasureKind.BLOCK}
                requests.order_erasures(session, [{**order, "request_id": request.id, "object_digest": None}])


def rewrite_shared_blocks(job: Row[Any], *, doors: Doors) -> None:
    """Take the request's records out of every block that also holds records that stay."""
    with doors.database.transaction() as session:
        erased = requests.records_of_request(session, job.request_id)
        request = requests.lock_request(session, job.request_id)
    if request.scope_models is not None:
        return
    # A block that only the request's records were in is erased already; what is left may hold others' rows too.
    parts = sorted({(row.dataset_id, bytes(row.owner), row.public) for row in erased})
    for dataset_id, owner, public in parts:
        gone = {bytes(row.record) for row in erased if row.dataset_id == dataset_id}
        with doors.database.transaction() as session:
            versions = [one.version for one in datasets.blocks_of(session, dataset_id, owner, public=public)]
        for version in versions:
            _rewrite(job, doors, Part(dataset_id, owner, public, version), gone)


class Part(NamedTuple):
    """What names a block."""

    dataset_id: str
    owner: bytes
    public: bool
    version: int


def _rewrite(job: Row[Any], doors: Doors, part: Part, gone: set[bytes]) -> None:
    key_id = new_identifier("blk")
    draft = add_draft(doors, job.tenant_id, [key_id])
    try:
        _reseal(job, doors, part, gone, key_id=key_id, draft=draft)
    finally:
        destroy_draft(doors, draft)


def _reseal(  # noqa: PLR0913
    job: Row[Any], doors: Doors, part: Part, gone: set[bytes], *, key_id: str, draft: str
) -> None:
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        jobs.hold(session, job.id, job.fence)
        held = datasets.blocks_of(session, part.dataset_id, part.owner, public=part.public, lock=True)
        block = next((one for one in held if one.version == part.version), None)
        if block is None:
            return
        rows = decode_block(read_block(doors, block))
        kept = without_records(rows, gone)
        if len(kept.record_ids) == len(rows.record_ids):
            return
        digest = doors.put_sealed(key_id, encode_block(kept))
        length = len(doors.store.get(digest))
        datasets.replace_block(
            session, block, key_id=key_id, object_digest=digest, start=0, length=length, records=len(kept.record_ids)
        )
        drafts.drop_draft(session, draft)
        order = {"tenant_id": job.tenant_id, "key_id": block.key_id, "kind": ErasureKind.BLOCK}
        requests.order_erasures(session, [{**order, "request_id": job.request_id, "object_digest": None}])


def read_block(doors: Doors, block: Row[Any]) -> bytes:
    """Return the plain bytes of one owner's block, from inside its chunk.

    Raises:
        SealBroken: the chunk was altered where it is stored.
        KeyDestroyed: the block was erased.
    """
    sealed = doors.store.get_range(block.object_digest, block.start, block.length)
    key, context = doors.keys.get(block.key_id), block.key_id.encode()
    try:
        return unseal(key, sealed, context=context)
    except SealBroken:
        # A part has no digest to be held against. The whole has, and is read again if it was altered on its way only.
        return unseal(key, _from_the_whole(doors, block), context=context)


def _from_the_whole(doors: Doors, block: Row[Any]) -> bytes:
    return doors.store.get(block.object_digest)[block.start : block.start + block.length]
