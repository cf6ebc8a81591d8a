"""Webhooks: endpoints, events and deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_21_webhooks"
down_revision = "2026_11_21_production_jobs"
branch_labels = None
depends_on = None

TYPES = (
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
TROUBLES = (
    "status",
    "redirect",
    "gone",
    "timed_out",
    "unreachable",
    "certificate",
    "broken_answer",
    "name_unresolved",
    "address_refused",
    "secret_missing",
)


def listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False)


def later(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False, comment="empty once it is deleted: it may hold a token"),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("types", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("secret_key_id", sa.Text(), nullable=False),
        sa.Column("previous_key_id", sa.Text(), nullable=True),
        later("previous_until"),
        later("failing_since"),
        now("free_at"),
        sa.Column("row_version", sa.Integer(), nullable=False),
        now("created_at"),
        now("updated_at"),
        sa.CheckConstraint("state IN ('enabled', 'disabled', 'deleted')", name=op.f("webhook_endpoints_state_known")),
        sa.CheckConstraint(
            "disabled_reason IN ('gone', 'failing', 'by_hand')", name=op.f("webhook_endpoints_disabled_reason_known")
        ),
        sa.CheckConstraint(f"types <@ ARRAY[{listed(TYPES)}]", name=op.f("webhook_endpoints_types_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_endpoints_pkey")),
    )
    op.create_index("webhook_endpoints_by_tenant", "webhook_endpoints", ["tenant_id", "id"])
    op.create_table(
        "webhook_events",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        now("happened_at"),
        sa.CheckConstraint(
            f"type IN ({listed((*TYPES, 'webhook_endpoint.test'))})", name=op.f("webhook_events_type_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_events_pkey")),
    )
    op.create_index("webhook_events_by_age", "webhook_events", ["happened_at"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        now("next_at"),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_trouble", sa.Text(), nullable=True),
        now("created_at"),
        later("last_attempt_at"),
        later("ended_at"),
        sa.CheckConstraint("state IN ('waiting', 'succeeded', 'failed')", name=op.f("webhook_deliveries_state_known")),
        sa.CheckConstraint(f"last_trouble IN ({listed(TROUBLES)})", name=op.f("webhook_deliveries_last_trouble_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_deliveries_pkey")),
        sa.UniqueConstraint("event_id", "endpoint_id", name="webhook_deliveries_one_per_endpoint"),
    )
    op.create_index(
        "webhook_deliveries_due",
        "webhook_deliveries",
        ["endpoint_id", "next_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("webhook_deliveries_by_endpoint", "webhook_deliveries", ["endpoint_id", "id"])
    op.create_index("webhook_deliveries_by_age", "webhook_deliveries", ["created_at"])


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_events")
    op.drop_table("webhook_endpoints")
