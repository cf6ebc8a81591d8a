"""The first schema: every table carries its tenant, and the log refuses to be changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_21_first_schema"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "aliases",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("aliases_pkey")),
    )
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
    )
    op.create_index("api_keys_tenant", "api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "audit_checkpoints",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("audit_checkpoints_pkey")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index", name=op.f("audit_entries_pkey")),
    )
    op.create_index("audit_entries_by_action", "audit_entries", ["tenant_id", "action", "index"], unique=False)
    op.create_index("audit_entries_by_object", "audit_entries", ["tenant_id", "object", "index"], unique=False)
    op.create_table(
        "audit_tree",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("audit_tree_pkey")),
    )
    op.create_table(
        "backbones",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("object_digest", sa.Text(), nullable=False),
        sa.Column("data_key_id", sa.Text(), nullable=False),
        sa.Column("training", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("backbones_pkey")),
    )
    op.create_table(
        "blocks",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.LargeBinary(length=32), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("object_digest", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("dataset_id", "owner", "public", name=op.f("blocks_pkey")),
    )
    op.create_table(
        "certificates",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False, comment="empty when no model ever saw the subject"),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("guarantee", sa.Text(), nullable=False, comment="empty when no model ever saw the subject"),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("certificates_pkey")),
        sa.UniqueConstraint("request_id", "model_id", "guarantee", name="certificates_one_per_promise"),
    )
    op.create_table(
        "datasets",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("schema", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("public_records", sa.Integer(), nullable=False),
        sa.Column("owners", sa.Integer(), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("datasets_pkey")),
        sa.UniqueConstraint("tenant_id", "name", name="datasets_name_unique"),
    )
    op.create_table(
        "deletion_requests",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("wait_reason", sa.Text(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("regulation", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("scope_models", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("copies_policy", sa.Text(), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("in_backbone", sa.Boolean(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("row_version", sa.Integer(), nullable=False),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("influence_free_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("copies_policy IN ('report', 'expand')", name=op.f("deletion_requests_copies_policy_known")),
        sa.CheckConstraint("result IN ('unlearned', 'never_trained')", name=op.f("deletion_requests_result_known")),
        sa.CheckConstraint(
            "state IN ('received', 'pending_approval', 'on_hold', 'scheduled', 'running', 'verifying', 'needs_attention', 'completed', 'denied', 'cancelled')",
            name=op.f("deletion_requests_state_known"),
        ),
        sa.CheckConstraint(
            "wait_reason IN ('approval', 'owner_in_backbone', 'job_dead')",
            name=op.f("deletion_requests_wait_reason_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("deletion_requests_pkey")),
        sa.UniqueConstraint("tenant_id", "created_by", "external_id", name="deletion_requests_external_id_unique"),
    )
    op.create_index("deletion_requests_by_state", "deletion_requests", ["tenant_id", "state", "id"], unique=False)
    op.create_index("deletion_requests_by_tenant", "deletion_requests", ["tenant_id", "id"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column(
            "object_digest",
            sa.Text(),
            nullable=True,
            comment="an object to remove with the key; none for shared chunks",
        ),
        sa.Column(
            "ordered_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('block', 'node')", name=op.f("erasures_kind_known")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("erasures_pkey")),
    )
    op.create_index("erasures_by_request", "erasures", ["request_id"], unique=False)
    op.create_index(
        "erasures_open", "erasures", ["request_id"], unique=False, postgresql_where=sa.text("destroyed_at IS NULL")
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("tenant_id", "client_id", "route", "key", name=op.f("idempotency_keys_pkey")),
    )
    op.create_table(
        "job_attempts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "fence", name=op.f("job_attempts_pkey")),
    )
    op.create_table(
        "jobs",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_after", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('deactivate', 'build', 'train_shard')", name=op.f("jobs_kind_known")),
        sa.CheckConstraint("lane IN ('deactivate', 'compute')", name=op.f("jobs_lane_known")),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'verifying', 'done', 'failed', 'dead')", name=op.f("jobs_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
    )
    op.create_index("jobs_by_model", "jobs", ["model_id", "created_at"], unique=False)
    op.create_index("jobs_by_request", "jobs", ["request_id"], unique=False)
    op.create_index(
        "jobs_one_computation_per_subject",
        "jobs",
        ["subject"],
        unique=True,
        postgresql_where=sa.text("lane = 'compute' AND state = 'running'"),
    )
    op.create_index(
        "jobs_one_deactivation_per_model",
        "jobs",
        ["model_id"],
        unique=True,
        postgresql_where=sa.text("lane = 'deactivate' AND state = 'running'"),
    )
    op.create_index(
        "jobs_one_waiting_per_subject",
        "jobs",
        ["subject"],
        unique=True,
        postgresql_where=sa.text("lane = 'compute' AND state = 'waiting'"),
    )
    op.create_index(
        "jobs_open",
        "jobs",
        ["lane", "run_after"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'running', 'verifying')"),
    )
    op.create_table(
        "key_drafts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("key_drafts_pkey")),
    )
    op.create_table(
        "models",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("recipe", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("placement_key_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("approval_required", sa.Boolean(), nullable=False),
        sa.Column("repair", sa.Boolean(), nullable=False),
        sa.Column("backbone_key", sa.Text(), nullable=False),
        sa.Column("occupancy", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("state IN ('registered', 'live', 'failed')", name=op.f("models_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("models_pkey")),
        sa.UniqueConstraint("tenant_id", "name", name="models_name_unique"),
    )
    op.create_table(
        "node_drafts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("data_key_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("slices", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("data_key_id", name=op.f("node_drafts_pkey")),
    )
    op.create_index("node_drafts_by_model", "node_drafts", ["model_id", "shard"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("slices", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("slice_roots", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("canonical", sa.Boolean(), nullable=False),
        sa.Column("data_digest", sa.Text(), nullable=False),
        sa.Column("tensor_digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("object_digest", sa.Text(), nullable=False),
        sa.Column("data_key_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("died_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("died_for", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('live', 'dead')", name=op.f("nodes_state_known")),
        sa.PrimaryKeyConstraint("model_id", "key", name=op.f("nodes_pkey")),
    )
    op.create_index("nodes_died_for", "nodes", ["died_for", "model_id"], unique=False)
    op.create_index(
        "nodes_live", "nodes", ["model_id", "shard"], unique=False, postgresql_where=sa.text("state = 'live'")
    )
    op.create_table(
        "records",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(length=32), nullable=False),
        sa.Column("owner", sa.LargeBinary(length=32), nullable=False),
        sa.Column("content", sa.LargeBinary(length=32), nullable=True),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("dataset_id", "record", name=op.f("records_pkey")),
    )
    op.create_index("records_by_content", "records", ["tenant_id", "content"], unique=False)
    op.create_index("records_by_owner", "records", ["tenant_id", "owner"], unique=False)
    op.create_table(
        "request_owners",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "owner", name=op.f("request_owners_pkey")),
    )
    op.create_table(
        "request_records",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(length=32), nullable=False),
        sa.Column("owner", sa.LargeBinary(length=32), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "dataset_id", "record", name=op.f("request_records_pkey")),
    )
    op.create_table(
        "servings",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("predictor_id", sa.Text(), nullable=False),
        sa.Column("version_number", sa.Integer(), nullable=False),
        sa.Column("lease_seconds", sa.Float(), nullable=False),
        sa.Column(
            "confirmed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("model_id", "predictor_id", name=op.f("servings_pkey")),
    )
    op.create_index("servings_by_predictor", "servings", ["predictor_id"], unique=False)
    op.create_table(
        "slices",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("slice", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "shard", "slice", name=op.f("slices_pkey")),
    )
    op.create_table(
        "suppressions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column(
            "suppressed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "owner", name=op.f("suppressions_pkey")),
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("tenants_pkey")),
    )
    op.create_table(
        "tombstones",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(length=32), nullable=False),
        sa.Column("owner", sa.LargeBinary(length=32), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("slice", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("buried_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "record", name=op.f("tombstones_pkey")),
    )
    op.create_index("tombstones_by_request", "tombstones", ["request_id", "model_id"], unique=False)
    op.create_table(
        "versions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("guarantee", sa.Text(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("provenance", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "guarantee IN ('influence_free', 'retrain_equivalent')", name=op.f("versions_guarantee_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("versions_pkey")),
        sa.UniqueConstraint("model_id", "number", name="versions_number_unique"),
    )
    op.create_index("versions_by_job", "versions", ["job_id"], unique=False)
    op.execute(
        """
        CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit log is append-only';
        END
        $$
        """
    )
    for table in ("audit_entries", "audit_tree", "audit_checkpoints"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()"
        )


def downgrade() -> None:
    for table in ("audit_entries", "audit_tree", "audit_checkpoints"):
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute("DROP FUNCTION audit_is_append_only()")
    op.drop_index("versions_by_job", table_name="versions")
    op.drop_table("versions")
    op.drop_index("tombstones_by_request", table_name="tombstones")
    op.drop_table("tombstones")
    op.drop_table("tenants")
    op.drop_table("suppressions")
    op.drop_table("slices")
    op.drop_index("servings_by_predictor", table_name="servings")
    op.drop_table("servings")
    op.drop_table("request_records")
    op.drop_table("request_owners")
    op.drop_index("records_by_owner", table_name="records")
    op.drop_index("records_by_content", table_name="records")
    op.drop_table("records")
    op.drop_index("nodes_live", table_name="nodes", postgresql_where=sa.text("state = 'live'"))
    op.drop_index("nodes_died_for", table_name="nodes")
    op.drop_table("nodes")
    op.drop_index("node_drafts_by_model", table_name="node_drafts")
    op.drop_table("node_drafts")
    op.drop_table("models")
    op.drop_table("key_drafts")
    op.drop_index(
        "jobs_open", table_name="jobs", postgresql_where=sa.text("state IN ('waiting', 'running', 'verifying')")
    )
    op.drop_index(
        "jobs_one_waiting_per_subject",
        table_name="jobs",
        postgresql_where=sa.text("lane = 'compute' AND state = 'waiting'"),
    )
    op.drop_index(
        "jobs_one_deactivation_per_model",
        table_name="jobs",
        postgresql_where=sa.text("lane = 'deactivate' AND state = 'running'"),
    )
    op.drop_index(
        "jobs_one_computation_per_subject",
        table_name="jobs",
        postgresql_where=sa.text("lane = 'compute' AND state = 'running'"),
    )
    op.drop_index("jobs_by_request", table_name="jobs")
    op.drop_index("jobs_by_model", table_name="jobs")
    op.drop_table("jobs")
    op.drop_table("job_attempts")
    op.drop_table("idempotency_keys")
    op.drop_index("erasures_open", table_name="erasures", postgresql_where=sa.text("destroyed_at IS NULL"))
    op.drop_index("erasures_by_request", table_name="erasures")
    op.drop_table("erasures")
    op.drop_index("deletion_requests_by_tenant", table_name="deletion_requests")
    op.drop_index("deletion_requests_by_state", table_name="deletion_requests")
    op.drop_table("deletion_requests")
    op.drop_table("datasets")
    op.drop_table("certificates")
    op.drop_table("blocks")
    op.drop_table("backbones")
    op.drop_table("audit_tree")
    op.drop_index("audit_entries_by_object", table_name="audit_entries")
    op.drop_index("audit_entries_by_action", table_name="audit_entries")
    op.drop_table("audit_entries")
    op.drop_table("audit_checkpoints")
    op.drop_index("api_keys_tenant", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("aliases")
