"""Rows by SQL: a model whose nodes are declared but were never trained, and a past of finished requests.

Everything that a deletion reads and writes is there, in the shapes of the real thing: records with keyed references,
blocks, nodes whose keys are the digests of what they name, a version, a valid log with a valid tree. What is missing is
what a deletion never touches: rows, tensors, and the manifests of versions that went before.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.service.scratch import Scratch
from core.audit.entry import Actor, ActorKind
from core.datasets.schema import ImageSchema
from core.domain.identifiers import new_identifier
from core.domain.manifest import NodeEntry
from core.domain.model import Recipe
from core.domain.references import owner_reference
from core.lattice.families import build_family
from core.persistence import datasets, models, nodes
from core.unlearning.exact.node_spec import ShardGround
from core.unlearning.exact.repair import canonical_nodes
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.publish_version import publish_version

SCHEMA = ImageSchema(image_shape=(8, 8), labels=("a", "b"), owner_identity_type="email", public_column="public")
RECIPE = Recipe(shards=5, slices=4)
"""The lattice of the design's own examples: 5 x 15 nodes."""
CLIENT = "ak_past"
AUDITED = 3
"""Log entries of a past request: received, scheduled, job created."""


@dataclass(frozen=True)
class Declared:
    """A data set and a live model on it."""

    dataset_id: str
    model_id: str
    records: int
    owners: int


def address(number: int) -> str:
    """Return the identity of an owner, as the load generators write it."""
    return f"person-{number}@example.org"


def declare(scratch: Scratch, *, owners: int, rows_each: int, name: str = "declared") -> Declared:
    """Add a data set of so many owners, and a model with every node of its lattice."""
    doors, dataset_id, model_id = scratch.doors, new_identifier("ds"), new_identifier("mdl")
    doors.keys.put(f"placement_{model_id}", bytes(range(32)))
    declared = Declared(dataset_id, model_id, owners * rows_each, owners)
    with doors.database.transaction() as session:
        counts = {"records": declared.records + 1, "public_records": 1, "owners": owners, "copies": 0}
        row = {"tenant_id": DEFAULT_TENANT, "id": dataset_id, "name": name, "schema": SCHEMA.as_json(), **counts}
        datasets.add_dataset(session, **row)
    with psycopg.connect(scratch.url) as connection:
        _copy_owners(connection, doors, declared, rows_each)
    with doors.database.transaction(Actor(ActorKind.WORKER, "benchmark")) as session:
        _add_lattice(session, declared, name)
    analyse(scratch)
    return declared


def _copy_owners(connection: psycopg.Connection[Any], doors: Doors, declared: Declared, rows_each: int) -> None:
    key = doors.tenant_key(DEFAULT_TENANT)
    references = [owner_reference(key, "email", address(number)) for number in range(declared.owners)]
    common, cursor = (DEFAULT_TENANT, declared.dataset_id), connection.cursor()
    with cursor.copy("COPY records (tenant_id, dataset_id, record, owner, content, public) FROM STDIN") as copy:
        for number, owner in enumerate(references):
            for row in range(rows_each):
                name = f"{declared.dataset_id} {number} {row}".encode()
                record, content = hashlib.sha256(b"record " + name), hashlib.sha256(b"content " + name)
                copy.write_row((*common, record.digest(), owner, content.digest(), False))
    columns = "tenant_id, dataset_id, owner, public, key_id, object_digest, start, length, records"
    with cursor.copy(f"COPY blocks ({columns}) FROM STDIN") as copy:
        for number, owner in enumerate(references):
            copy.write_row(
                (*common, owner, False, f"blk_{declared.dataset_id[-20:]}_{number}", "0" * 64, 0, 1, rows_each)
            )


def _add_lattice(session: Any, declared: Declared, name: str) -> None:
    backbone = hashlib.sha256(declared.model_id.encode()).hexdigest()
    models.add_model(
        session,
        shards=RECIPE.shards,
        slice_count=RECIPE.slices,
        tenant_id=DEFAULT_TENANT,
        id=declared.model_id,
        name=name,
        dataset_id=declared.dataset_id,
        recipe=RECIPE.as_json(),
        placement_key_id=f"placement_{declared.model_id}",
        state="registered",
        approval_required=False,
        repair=True,
        backbone_key=backbone,
        occupancy={},
    )
    models.add_backbone(
        session,
        tenant_id=DEFAULT_TENANT,
        key=backbone,
        digest=backbone,
        object_digest="0" * 64,
        data_key_id=new_identifier("bbk"),
        training={"environment": {}, "records": 1, "epochs": 1},
    )
    family = build_family(RECIPE.family, RECIPE.slices)
    for shard in range(RECIPE.shards):
        roots = [hashlib.sha256(f"{declared.model_id} {shard} {number}".encode()).hexdigest() for number in range(4)]
        ground = ShardGround(backbone=backbone, recipe=RECIPE.digest(), shard=shard, slice_roots=roots)
        for spec in canonical_nodes(family, ground):
            tensors = hashlib.sha256(spec.key.encode()).hexdigest()
            entry = NodeEntry(
                key=spec.key,
                shard=shard,
                slices=spec.slices,
                slice_roots=spec.slice_roots,
                parent=spec.parent_key,
                canonical=True,
                data_digest=tensors,
                tensor_digest=tensors,
            )
            work = {"job_id": "job_declared", "fence": 1, "records": 1, "epochs": 1, "seconds": 0.0}
            key_id = new_identifier("nod")
            place = {"tenant_id": DEFAULT_TENANT, "model_id": declared.model_id}
            nodes.add_node(session, entry, **place, object_digest=tensors, data_key_id=key_id, **work)
    model = models.lock_model(session, declared.model_id)
    publish_version(session, model, provenance={"reason": "build", "request": None, "job": "job_declared", "fence": 1})


PAST = (
    """INSERT INTO deletion_requests (tenant_id, id, state, regulation, created_by, copies_policy, copies, records,
         in_backbone, result, row_version, influence_free_at, completed_at)
       SELECT %(tenant)s, 'dr_' || p.name, 'completed', 'gdpr', %(client)s, 'report', 0, 2, false, 'unlearned', 5,
         clock_timestamp(), clock_timestamp() FROM past p""",
    """INSERT INTO request_owners (tenant_id, request_id, owner)
       SELECT %(tenant)s, 'dr_' || p.name, p.owner FROM past p""",
    """INSERT INTO request_records (tenant_id, request_id, dataset_id, record, owner, public)
       SELECT %(tenant)s, 'dr_' || p.name, %(dataset)s, sha256(p.owner || convert_to(r::text, 'UTF8')), p.owner, false
       FROM past p, generate_series(1, 2) r""",
    "INSERT INTO suppressions (tenant_id, owner, request_id) SELECT %(tenant)s, p.owner, 'dr_' || p.name FROM past p",
    """INSERT INTO jobs (tenant_id, id, kind, lane, subject, model_id, request_id, state, priority, attempt,
         max_attempts, fence, progress, started_at, finished_at)
       SELECT %(tenant)s, 'job_' || p.name, 'deactivate', 'deactivate', 'dr_' || p.name || '/' || %(model)s, %(model)s,
         'dr_' || p.name, 'done', 10, 1, 5, 2, '{"stage": "erased"}', clock_timestamp(), clock_timestamp() FROM past p""",
    """INSERT INTO idempotency_keys (tenant_id, client_id, route, key, fingerprint, status, body)
       SELECT %(tenant)s, %(client)s, 'POST /v1/deletion-requests', encode(p.owner, 'hex'), encode(p.owner, 'hex'), 202,
         jsonb_build_object('id', 'dr_' || p.name, 'subject_references', encode(p.owner, 'hex'), 'filler',
           repeat('x', 700)) FROM past p""",
)
"""What intake reads and writes; one row a request, two of `request_records`."""
PAST_WORK = (
    """INSERT INTO job_attempts (tenant_id, job_id, fence, worker, ended_at, outcome)
       SELECT %(tenant)s, 'job_' || p.name, f, 'worker-past', clock_timestamp(), 'unlearned'
       FROM past p, generate_series(1, 2) f""",
    """INSERT INTO tombstones (tenant_id, model_id, record, owner, shard, slice, request_id)
       SELECT %(tenant)s, %(model)s, sha256(p.owner || convert_to(r::text, 'UTF8')), p.owner, 0, 0, 'dr_' || p.name
       FROM past p, generate_series(1, 2) r""",
    """INSERT INTO erasures (tenant_id, key_id, kind, request_id, destroyed_at)
       SELECT %(tenant)s, k || p.name, CASE k WHEN 'blk_' THEN 'block' ELSE 'node' END, 'dr_' || p.name,
         clock_timestamp() FROM past p, unnest(ARRAY['blk_', 'nod_']) k""",
    """INSERT INTO nodes (tenant_id, model_id, key, shard, slices, slice_roots, parent, canonical, data_digest,
         tensor_digest, state, object_digest, data_key_id, job_id, fence, records, epochs, seconds, died_at, died_for)
       SELECT %(tenant)s, %(model)s, encode(p.owner, 'hex'), p.number %% 5, '{0}', ARRAY[encode(p.owner, 'hex')], NULL,
         true, encode(p.owner, 'hex'), encode(p.owner, 'hex'), 'dead', encode(p.owner, 'hex'), 'nod_' || p.name,
         'job_' || p.name, 1, 1, 1, 0, clock_timestamp(), 'dr_' || p.name FROM past p""",
    """INSERT INTO versions (tenant_id, id, model_id, number, guarantee, manifest_digest, manifest, provenance, job_id)
       SELECT %(tenant)s, 'ver_' || p.name, %(model)s, 1000 + p.number, 'influence_free', encode(p.owner, 'hex'), '{}',
         '{}', 'job_' || p.name FROM past p""",
    """INSERT INTO certificates (tenant_id, id, request_id, model_id, version_id, guarantee, envelope, sha256, log_index)
       SELECT %(tenant)s, 'crt_' || p.name || g, 'dr_' || p.name, %(model)s, 'ver_' || p.name, g,
         convert_to(repeat('x', 300), 'UTF8'), encode(p.owner, 'hex'), p.number
       FROM past p, unnest(ARRAY['influence_free', 'retrain_equivalent']) g""",
)
"""What the work on a request leaves behind besides: a dead node, a version without its manifest, two certificates."""
ENTRIES = """
    INSERT INTO audit_entries (tenant_id, index, action, actor, object, body)
    SELECT %(tenant)s, %(first)s + (p.number - %(begin)s) * 3 + e.place, e.action, %(client)s, e.kind || p.name,
      convert_to(format('{"action":"%%s","actor":{"id":"%%s","kind":"client"},"at":"2026-01-01T00:00:00.000000Z",'
        '"from":%%s,"id":"aud_%%s","object":"%%s","refs":{},"tenant":"%%s","to":"%%s","v":1}', e.action, %(client)s::text,
        e.before, lpad((p.number * 3 + e.place)::text, 26, '0'), e.kind || p.name, %(tenant)s::text, e.after), 'UTF8')
    FROM past p, (VALUES (0, 'deletion_request.received', 'dr_', 'null', 'received'),
      (1, 'deletion_request.scheduled', 'dr_', '"received"', 'scheduled'), (2, 'job.created', 'job_', 'null', 'waiting'))
      e (place, action, kind, before, after)"""
LEAVES = """
    INSERT INTO audit_tree (tenant_id, level, index, hash)
    SELECT 'ten_system', 0, e.index, sha256('\\x00'::bytea || e.body) FROM audit_entries e WHERE e.index >= %(first)s"""
LEVEL = """
    INSERT INTO audit_tree (tenant_id, level, index, hash)
    SELECT 'ten_system', %(level)s, l.index / 2, sha256('\\x01'::bytea || l.hash || r.hash)
    FROM audit_tree l JOIN audit_tree r ON r.level = l.level AND r.index = l.index + 1
    WHERE l.level = %(level)s - 1 AND l.index %% 2 = 0 AND l.index >= 2 * %(begin)s::bigint AND l.index < 2 * %(end)s::bigint"""


def add_past(scratch: Scratch, declared: Declared, begin: int, end: int, *, whole: bool) -> None:
    """Add finished requests number begin..end-1 about people in no data set, with three log entries each.

    Args:
        scratch: where.
        declared: the model that forgot them.
        begin: first number; the numbers before it were added already.
        end: one past the last.
        whole: also what the work on them left: attempts, tombstones, dead nodes, versions, erasures, certificates.
    """
    values = {"tenant": DEFAULT_TENANT, "client": CLIENT, "dataset": declared.dataset_id, "model": declared.model_id}
    with psycopg.connect(scratch.url) as connection:
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute("SET LOCAL work_mem = '256MB'")
        connection.execute("CREATE TEMPORARY TABLE past (number bigint, name text, owner bytea) ON COMMIT DROP")
        connection.execute(
            "INSERT INTO past SELECT n, lpad(n::text, 26, '0'), sha256(convert_to('past owner ' || n, 'UTF8')) "
            "FROM generate_series(%s::bigint, %s::bigint) n",
            (begin, end - 1),
        )
        connection.execute("ANALYZE past")
        for statement in PAST + (PAST_WORK if whole else ()):
            connection.execute(statement, values)
        _append(connection, begin, end, values)
    analyse(scratch)


def _append(connection: psycopg.Connection[Any], begin: int, end: int, values: dict[str, Any]) -> None:
    """Append to the log as `core.persistence.audit` does: every complete subtree has its hash."""
    found = connection.execute("SELECT coalesce(max(index) + 1, 0) FROM audit_entries").fetchone()
    first = int(found[0]) if found else 0
    total = first + AUDITED * (end - begin)
    connection.execute(ENTRIES, {**values, "first": first, "begin": begin})
    connection.execute(LEAVES, {"first": first})
    for level in range(1, total.bit_length()):
        connection.execute(LEVEL, {"level": level, "begin": first >> level, "end": total >> level})


def analyse(scratch: Scratch) -> None:
    """Give the planner what autovacuum would have given it by now."""
    with psycopg.connect(scratch.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def past_summary(*, whole: bool) -> str:
    """Return in words what a past request is made of."""
    intake = "1 request, 1 owner, 2 records, 1 suppression, 1 job, 1 idempotency key with its answer, 3 log entries"
    work = (
        "2 attempts, 2 tombstones, 2 erasures, 1 dead node, 1 version without its manifest, 2 certificates of 300 bytes"
    )
    return f"{intake}; {work}" if whole else intake


def describe(declared: Declared) -> str:
    return json.dumps({"records": declared.records, "owners": declared.owners, "nodes": 15 * RECIPE.shards})
