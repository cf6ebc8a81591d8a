"""Checkpoints: models in approximate mode, runs of methods with their attempts, waivers, qualifications, kinds of request.

Old code keeps working: it never writes the new words, and new columns have defaults.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_21_pre_checkpoints"
down_revision = "2026_11_21_pre_dataset_versions"
branch_labels = None
depends_on = None

WORDS = {
    ("jobs", "kind"): (
        "'deactivate', 'build', 'train_shard', 'train_node'",
        "'deactivate', 'build', 'train_shard', 'train_node', 'run_method', 'qualify'",
    ),
    ("versions", "guarantee"): (
        "'influence_free', 'retrain_equivalent'",
        "'influence_free', 'retrain_equivalent', 'as_registered', 'judged', 'retrained', 'waived'",
    ),
    ("deletion_requests", "wait_reason"): (
        "'approval', 'owner_in_backbone', 'job_dead'",
        "'approval', 'owner_in_backbone', 'job_dead', 'judgement_refused'",
    ),
    ("deletion_requests", "result"): ("'unlearned', 'never_trained'", "'unlearned', 'never_trained', 'suppressed'"),
}
"""Closed lists before and after."""
EVENTS = (
    "deletion_request.received",
    "deletion_request.approval_required",
    "deletion_request.approved",
    "deletion_request.scheduled",
    "deletion_request.started",
    "deletion_request.influence_free",
    "deletion_request.needs_attention",
    "deletion_request.recovered",
    "deletion_request.completed",
    "deletion_request.denied",
    "deletion_request.cancelled",
    "certificate.issued",
    "job.dead",
    "webhook_endpoint.disabled",
)
"""What endpoints could subscribe to before."""
REPLACED = "deletion_request.replaced"


def tenant() -> sa.Column[Any]:
    return sa.Column("tenant_id", sa.Text(), nullable=False)


def time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def words(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def document(name: str) -> sa.Column[Any]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), nullable=False)


def tell_of(events: tuple[str, ...]) -> None:
    """Let endpoints subscribe to these events, and no others be told."""
    listed = ", ".join(f"'{event}'" for event in events)
    op.drop_constraint(op.f("webhook_endpoints_types_known"), "webhook_endpoints")
    op.create_check_constraint(op.f("webhook_endpoints_types_known"), "webhook_endpoints", f"types <@ ARRAY[{listed}]")
    op.drop_constraint(op.f("webhook_events_type_known"), "webhook_events")
    op.create_check_constraint(
        op.f("webhook_events_type_known"), "webhook_events", f"type IN ({listed}, 'webhook_endpoint.test')"
    )


def upgrade() -> None:
    tell_of((*EVENTS, REPLACED))
    for (table, column), (_, after) in WORDS.items():
        op.drop_constraint(op.f(f"{table}_{column}_known"), table)
        op.create_check_constraint(op.f(f"{table}_{column}_known"), table, f"{column} IN ({after})")
    op.add_column("models", sa.Column("mode", sa.Text(), server_default=sa.text("'exact'"), nullable=False))
    op.create_check_constraint(op.f("models_mode_known"), "models", "mode IN ('exact', 'approximate')")
    op.add_column("models", sa.Column("unlearning_policy", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    kind = sa.Column("kind", sa.Text(), server_default=sa.text("'data_deletion'"), nullable=False)
    op.add_column("deletion_requests", kind)
    op.create_check_constraint(
        op.f("deletion_requests_kind_known"), "deletion_requests", "kind IN ('data_deletion', 'concept_suppression')"
    )
    op.add_column("deletion_requests", sa.Column("unlearning", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_index(
        "jobs_one_method_per_model",
        "jobs",
        ["model_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'run_method' AND state = 'running'"),
    )
    for column in ("placement_key_id", "backbone_key"):
        op.alter_column("models", column, comment="empty in approximate mode")
    create_tables()


def create_tables() -> None:
    op.create_table(
        "checkpoints",
        tenant(),
        words("id"),
        words("model_id"),
        words("state"),
        words("data_key_id"),
        sa.Column(
            "object_digest", sa.Text(), nullable=True, comment="null until it is sealed; its key may exist before"
        ),
        words("tensor_digest", nullable=True),
        words("job_id", nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("drift", sa.Float(), server_default=sa.text("0"), nullable=False),
        time("created_at"),
        time("died_at", nullable=True),
        sa.CheckConstraint("state IN ('candidate', 'live', 'dead')", name=op.f("checkpoints_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("checkpoints_pkey")),
    )
    op.create_index("checkpoints_by_model", "checkpoints", ["model_id", "state"])
    op.create_index("checkpoints_by_job", "checkpoints", ["job_id"])
    op.create_table(
        "method_runs",
        tenant(),
        words("job_id"),
        words("model_id"),
        words("request_id"),
        words("base_version"),
        sa.Column("data_key_id", sa.Text(), nullable=False, comment="seals the state between epochs"),
        sa.Column("state_digest", sa.Text(), nullable=True, comment="object from which the present attempt goes on"),
        document("plan"),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        time("created_at"),
        time("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("job_id", name=op.f("method_runs_pkey")),
    )
    op.create_index("method_runs_by_request", "method_runs", ["request_id", "model_id"])
    op.create_table(
        "method_attempts",
        tenant(),
        words("job_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        words("model_id"),
        words("request_id"),
        words("method"),
        words("checkpoint_id", nullable=True),
        document("account"),
        time("ended_at"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("method_attempts_pkey")),
    )
    op.create_index("method_attempts_by_request", "method_attempts", ["request_id", "model_id"])
    op.create_table(
        "waivers",
        tenant(),
        words("digest"),
        words("request_id"),
        words("model_id"),
        words("job_id"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        document("waiver"),
        time("created_at"),
        sa.PrimaryKeyConstraint("digest", name=op.f("waivers_pkey")),
    )
    op.create_index("waivers_by_request", "waivers", ["request_id", "model_id"])
    op.create_table(
        "qualifications",
        tenant(),
        words("id"),
        words("model_id"),
        words("job_id"),
        sa.Column("recipe", sa.Text(), nullable=False, comment="digest of the recipe that was put to the test"),
        words("standing"),
        document("account"),
        time("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("qualifications_pkey")),
    )
    op.create_index("qualifications_by_model", "qualifications", ["model_id", "created_at"])
    op.create_table(
        "version_flags",
        tenant(),
        words("model_id"),
        words("request_id"),
        time("flagged_at"),
        time("cleared_at", nullable=True),
        sa.PrimaryKeyConstraint("model_id", "request_id", name=op.f("version_flags_pkey")),
    )
    op.create_index("version_flags_open", "version_flags", ["model_id"], postgresql_where=sa.text("cleared_at IS NULL"))


def downgrade() -> None:
    op.execute(f"DELETE FROM webhook_events WHERE type = '{REPLACED}'")  # noqa: S608
    op.execute(f"UPDATE webhook_endpoints SET types = array_remove(types, '{REPLACED}')")  # noqa: S608
    tell_of(EVENTS)
    for table in ("version_flags", "qualifications", "waivers", "method_attempts", "method_runs", "checkpoints"):
        op.drop_table(table)
    for column in ("placement_key_id", "backbone_key"):
        op.alter_column("models", column, comment=None, existing_comment="empty in approximate mode")
    op.execute("DELETE FROM jobs WHERE kind IN ('run_method', 'qualify')")
    op.drop_index("jobs_one_method_per_model", "jobs")
    op.drop_column("deletion_requests", "unlearning")
    op.drop_column("deletion_requests", "kind")
    op.drop_column("models", "unlearning_policy")
    op.drop_column("models", "mode")
    for (table, column), (before, _) in WORDS.items():
        op.drop_constraint(op.f(f"{table}_{column}_known"), table)
        op.create_check_constraint(op.f(f"{table}_{column}_known"), table, f"{column} IN ({before})")
