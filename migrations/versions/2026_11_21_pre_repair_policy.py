"""Repair policies: a budget beside the old switch, its account, and a row version for If-Match. Old code keeps working."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_21_pre_repair_policy"
down_revision = "2026_11_21_pre_append"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("repair_budget", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("models", sa.Column("repair_once", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("models", sa.Column("row_version", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.create_table(
        "repair_budgets",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("balance", sa.Float(), nullable=False),
        sa.Column(
            "accrued_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("repair_budgets_pkey")),
    )
    op.create_table(
        "repair_shards",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("slice_epochs", sa.Float(), nullable=False, comment="taken by its repairs ever since"),
        sa.Column("seconds", sa.Float(), nullable=False, comment="that training them took"),
        sa.Column("wanted", sa.Float(), nullable=True, comment="cost of the node that the budget did not pay for"),
        sa.Column(
            "restores", sa.Boolean(), nullable=True, comment="whether that node brings the shard back to full depth"
        ),
        sa.PrimaryKeyConstraint("model_id", "shard", name=op.f("repair_shards_pkey")),
    )
    op.create_index(
        "repair_shards_wanting", "repair_shards", ["model_id"], postgresql_where=sa.text("wanted IS NOT NULL")
    )
    op.create_table(
        "repair_reservations",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("repair_reservations_pkey")),
    )
    op.create_index("repair_reservations_by_model", "repair_reservations", ["model_id"])


def downgrade() -> None:
    op.drop_table("repair_reservations")
    op.drop_table("repair_shards")
    op.drop_table("repair_budgets")
    op.drop_column("models", "row_version")
    op.drop_column("models", "repair_once")
    op.drop_column("models", "repair_budget")
