"""The questions of `lethe fsck` to the database, as a list one can read: each returns the `object` of what is wrong.

STATE holds the tables against each other; HISTORY holds them against the log, both ways: a state without its entry was
changed behind the service's back, and an entry without its row tells of something that was taken away.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.use_cases.finding import Severity

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
REPAIR_STALLED = "repair_stalled"
"""Not asked where repair is switched off for the whole deployment."""


@dataclass(frozen=True)
class Question:
    """One SQL statement that should return nothing, and what it means when it does."""

    code: str
    sentence: str
    sql: str
    severity: Severity = _ERROR


STATE = (
    Question(
        "alias_behind",
        "the serving alias does not point at the model's newest version",
        """
        SELECT a.model_id AS object FROM aliases a LEFT JOIN versions v ON v.id = a.version_id
        WHERE a.name = 'serving'
          AND v.number IS DISTINCT FROM (SELECT max(n.number) FROM versions n WHERE n.model_id = a.model_id)
        """,
    ),
    Question(
        "model_unserved",
        "the model is live, and no alias says which version",
        """
        SELECT m.id AS object FROM models m WHERE m.state = 'live'
          AND NOT EXISTS (SELECT 1 FROM aliases a WHERE a.model_id = m.id AND a.name = 'serving')
        """,
    ),
    Question(
        "certificate_missing",
        "the request is completed, and not certified for every model that it touched",
        """
        SELECT r.id AS object FROM deletion_requests r JOIN jobs j ON j.request_id = r.id
        WHERE r.state = 'completed' AND NOT EXISTS (
          SELECT 1 FROM certificates c WHERE c.request_id = r.id AND c.model_id = coalesce(j.model_id, ''))
        """,
    ),
    Question(
        "completed_too_early",
        "the request is completed, and the newest job of it for some model is not done, or it has none",
        """
        SELECT r.id AS object FROM deletion_requests r WHERE r.state = 'completed' AND (
          EXISTS (SELECT 1 FROM (
            SELECT DISTINCT ON (j.subject) j.state FROM jobs j WHERE j.request_id = r.id
            ORDER BY j.subject, j.created_at DESC, j.id DESC) newest WHERE newest.state <> 'done')
          OR NOT EXISTS (SELECT 1 FROM jobs j WHERE j.request_id = r.id))
        """,
    ),
    Question(
        "erasure_open",
        "the request is completed, and this key was ordered destroyed and is not",
        """
        SELECT e.key_id AS object FROM erasures e JOIN deletion_requests r ON r.id = e.request_id
        WHERE r.state = 'completed' AND e.destroyed_at IS NULL
        """,
    ),
    Question(
        "row_of_deleted_record",
        "a completed request deleted this record from its data set, and its row is not erased",
        """
        SELECT encode(q.record, 'hex') AS object FROM request_records q
        JOIN deletion_requests r ON r.id = q.request_id AND r.state = 'completed' AND r.scope_models IS NULL
        JOIN records x ON x.dataset_id = q.dataset_id AND x.record = q.record
        WHERE x.erased_at IS NULL
        """,
    ),
    Question(
        "row_of_suppressed_owner",
        "the owner was deleted, and a record of theirs is not erased",
        """
        SELECT encode(x.record, 'hex') AS object FROM suppressions s
        JOIN deletion_requests r ON r.id = s.request_id AND r.state IN ('completed', 'denied', 'cancelled')
        JOIN records x ON x.tenant_id = s.tenant_id AND x.owner = s.owner
        WHERE s.released_at IS NULL AND x.erased_at IS NULL
        """,
    ),
    Question(
        "owner_not_suppressed",
        "a completed request deleted an owner, who may come back without recorded re-consent",
        """
        SELECT r.id AS object FROM request_owners o
        JOIN deletion_requests r ON r.id = o.request_id AND r.state = 'completed' AND r.scope_models IS NULL
        WHERE NOT EXISTS (
          SELECT 1 FROM suppressions s
          WHERE s.tenant_id = o.tenant_id AND s.owner = o.owner AND s.released_at IS NULL)
        AND NOT EXISTS (
          SELECT 1 FROM audit_entries e
          WHERE e.tenant_id = o.tenant_id AND e.object = encode(o.owner, 'hex') AND e.action = 'reconsent.recorded'
            AND e.at > r.received_at)
        """,
    ),
    Question(
        "content_of_erased_record",
        "the record is erased, and a reference to its content is kept",
        "SELECT encode(record, 'hex') AS object FROM records WHERE erased_at IS NOT NULL AND content IS NOT NULL",
    ),
    Question(
        "node_forgotten_to_switch_off",
        "a live node learned a slice of a deleted record before it was deleted",
        """
        SELECT DISTINCT n.key AS object FROM nodes n
        JOIN tombstones t ON t.model_id = n.model_id AND t.shard = n.shard AND t.slice = ANY (n.slices)
        JOIN models m ON m.id = n.model_id
        LEFT JOIN records x ON x.dataset_id = m.dataset_id AND x.record = t.record
        WHERE n.state = 'live' AND n.created_at < t.buried_at AND coalesce(x.version, 1) <= n.dataset_version
        """,
    ),
    Question(
        "job_without_lease",
        "the job runs, and no worker holds a lease on it",
        "SELECT id AS object FROM jobs WHERE state = 'running' AND (lease_until IS NULL OR worker IS NULL)",
    ),
    Question(
        "lease_ran_out",
        "the job's worker fell silent; the next worker takes it over",
        """
        SELECT id AS object FROM jobs
        WHERE state IN ('running', 'verifying') AND lease_until < clock_timestamp() - interval '1 minute'
        """,
        _WARNING,
    ),
    Question(
        "job_without_purpose",
        "the job waits to train a node that is live already; whoever takes it ends it",
        """
        SELECT j.id AS object FROM jobs j JOIN nodes n ON n.model_id = j.model_id AND n.state = 'live'
        WHERE j.kind = 'train_node' AND j.state = 'waiting' AND split_part(j.subject, '/', 3) = n.key
        """,
        _WARNING,
    ),
    Question(
        REPAIR_STALLED,
        "the model is not what a fresh build would give, repair is wanted, no job is open that would mend it, and no "
        "shard waits for the repair budget",
        """
        SELECT m.id AS object FROM models m JOIN aliases a ON a.model_id = m.id AND a.name = 'serving'
        JOIN versions v ON v.id = a.version_id AND v.guarantee <> 'retrain_equivalent'
        WHERE m.state = 'live' AND m.repair AND NOT EXISTS (
          SELECT 1 FROM jobs j WHERE j.model_id = m.id AND j.lane = 'compute' AND j.state IN ('waiting', 'running'))
          AND NOT EXISTS (SELECT 1 FROM repair_shards s WHERE s.model_id = m.id AND s.wanted IS NOT NULL)
        """,
        _WARNING,
    ),
)


def _last_word(table: str, code: str, noun: str) -> Question:
    """Return whether the newest entry about each row of a table with states says the state that it is in."""
    return Question(
        code,
        f"the log's last word on this {noun} is not the state that it is in",
        f"""
        SELECT r.id AS object FROM {table} r WHERE r.state IS DISTINCT FROM (
          SELECT convert_from(e.body, 'UTF8')::jsonb ->> 'to' FROM audit_entries e
          WHERE e.tenant_id = r.tenant_id AND e.object = r.id ORDER BY e.index DESC LIMIT 1)
        """,  # noqa: S608 - both names are written below
    )


def _row_of_entry(action: str, table: str, noun: str) -> Question:
    """Return whether everything that the log says came into being is there."""
    return Question(
        "entry_without_row",
        f"the log tells of this {noun}, and there is none",
        f"""
        SELECT e.object FROM audit_entries e WHERE e.action = '{action}'
          AND NOT EXISTS (SELECT 1 FROM {table} r WHERE r.id = e.object)
        """,  # noqa: S608 - both names are written below
    )


HISTORY = (
    _last_word("deletion_requests", "request_state_unlogged", "request"),
    _last_word("jobs", "job_state_unlogged", "job"),
    Question(
        "model_state_unlogged",
        "the log's last word on this model is not the state that it is in",
        """
        SELECT m.id AS object FROM models m WHERE 'model.' || m.state IS DISTINCT FROM (
          SELECT e.action FROM audit_entries e WHERE e.tenant_id = m.tenant_id AND e.object = m.id
            AND e.action IN ('model.registered', 'model.live', 'model.failed') ORDER BY e.index DESC LIMIT 1)
        """,
    ),
    Question(
        "version_unlogged",
        "the log does not tell of this version with this manifest",
        """
        SELECT v.id AS object FROM versions v WHERE NOT EXISTS (
          SELECT 1 FROM audit_entries e WHERE e.tenant_id = v.tenant_id AND e.object = v.id
            AND e.action = 'version.created'
            AND convert_from(e.body, 'UTF8')::jsonb -> 'refs' ->> 'manifest' = v.manifest_digest)
        """,
    ),
    Question(
        "alias_unlogged",
        "the log says that the model's alias points elsewhere",
        """
        SELECT a.model_id AS object FROM aliases a WHERE a.version_id IS DISTINCT FROM (
          SELECT convert_from(e.body, 'UTF8')::jsonb -> 'refs' ->> 'version' FROM audit_entries e
          WHERE e.tenant_id = a.tenant_id AND e.object = a.model_id AND e.action = 'alias.moved'
            AND convert_from(e.body, 'UTF8')::jsonb -> 'refs' ->> 'alias' = a.name
          ORDER BY e.index DESC LIMIT 1)
        """,
    ),
    Question(
        "node_state_unlogged",
        "the log does not say of this node what its state says",
        """
        SELECT n.key AS object FROM nodes n
        WHERE CASE n.state WHEN 'live' THEN 'nodes.committed' ELSE 'nodes.switched_off' END IS DISTINCT FROM (
          SELECT e.action FROM audit_entries e WHERE e.tenant_id = n.tenant_id AND e.object = n.key
            AND convert_from(e.body, 'UTF8')::jsonb -> 'refs' ->> 'model' = n.model_id
          ORDER BY e.index DESC LIMIT 1)
        """,
    ),
    Question(
        "certificate_unlogged",
        "the entry that the certificate names does not hold its digest, or its bytes are not those that were logged",
        """
        SELECT c.id AS object FROM certificates c
        LEFT JOIN audit_entries e ON e.index = c.log_index AND e.object = c.id AND e.action = 'certificate.issued'
        WHERE encode(sha256(c.envelope), 'hex') <> c.sha256
          OR convert_from(e.body, 'UTF8')::jsonb -> 'refs' ->> 'certificate_sha256' IS DISTINCT FROM c.sha256
        """,
    ),
    Question(
        "erasure_unlogged",
        "the ledger and the log do not agree on whether this key was destroyed",
        """
        SELECT x.key_id AS object FROM erasures x WHERE (x.destroyed_at IS NOT NULL) <> EXISTS (
          SELECT 1 FROM audit_entries e WHERE e.tenant_id = x.tenant_id AND e.object = x.key_id
            AND e.action IN ('data_key.destroyed', 'node_key.destroyed'))
        """,
    ),
    Question(
        "api_key_unlogged",
        "the log does not say of this API key what it may do, or whether it was revoked",
        """
        SELECT k.id AS object FROM api_keys k WHERE NOT EXISTS (
          SELECT 1 FROM audit_entries e WHERE e.tenant_id = k.tenant_id AND e.object = k.id
            AND e.action = 'key.created'
            AND convert_from(e.body, 'UTF8')::jsonb -> 'refs' -> 'scope' = to_jsonb(k.scopes))
        OR (k.revoked_at IS NOT NULL) <> EXISTS (
          SELECT 1 FROM audit_entries e WHERE e.tenant_id = k.tenant_id AND e.object = k.id
            AND e.action = 'key.revoked')
        """,
    ),
    _row_of_entry("deletion_request.received", "deletion_requests", "request"),
    _row_of_entry("job.created", "jobs", "job"),
    _row_of_entry("version.created", "versions", "version"),
    _row_of_entry("certificate.issued", "certificates", "certificate"),
    _row_of_entry("model.registered", "models", "model"),
    _row_of_entry("dataset.registered", "datasets", "data set"),
    _row_of_entry("key.created", "api_keys", "API key"),
    Question(
        "entry_without_row",
        "the log tells of this node, and there is none",
        """
        SELECT e.object FROM audit_entries e WHERE e.action = 'nodes.committed' AND NOT EXISTS (
          SELECT 1 FROM nodes n WHERE n.key = e.object
            AND n.model_id = convert_from(e.body, 'UTF8')::jsonb -> 'refs' ->> 'model')
        """,
    ),
    Question(
        "entry_without_row",
        "the log tells of an alias of this model, and it has none",
        """
        SELECT DISTINCT e.object FROM audit_entries e WHERE e.action = 'alias.moved'
          AND NOT EXISTS (SELECT 1 FROM aliases a WHERE a.model_id = e.object)
        """,
    ),
    Question(
        "entry_without_row",
        "the log tells that this key was destroyed for a request, and the ledger does not know it",
        """
        SELECT e.object FROM audit_entries e WHERE e.action IN ('data_key.destroyed', 'node_key.destroyed')
          AND convert_from(e.body, 'UTF8')::jsonb -> 'refs' ? 'request'
          AND NOT EXISTS (SELECT 1 FROM erasures x WHERE x.key_id = e.object)
        """,
    ),
)
