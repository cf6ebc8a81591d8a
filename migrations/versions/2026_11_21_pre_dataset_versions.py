"""Versions of data sets: which version brought a record and a block, which one a model learns from and a node learned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_21_pre_dataset_versions"
down_revision = "2026_11_21_pre_intake"
branch_labels = None
depends_on = None

VERSIONED = {
    "datasets": "version",
    "blocks": "version",
    "records": "version",
    "models": "dataset_version",
    "nodes": "dataset_version",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for table, column in VERSIONED.items():
        # A constant default: the rows that are there are not rewritten, and old code goes on writing first versions.
        op.add_column(table, sa.Column(column, sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.drop_constraint("blocks_pkey", "blocks", type_="primary")
    op.create_primary_key("blocks_pkey", "blocks", ["dataset_id", "owner", "public", "version"])
    op.create_table(
        "dataset_versions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("owners", sa.Integer(), nullable=False),
        sa.Column("new_owners", sa.Integer(), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("dataset_id", "number", name=op.f("dataset_versions_pkey")),
    )
    op.execute(
        "INSERT INTO dataset_versions (tenant_id, dataset_id, number, records, owners, new_owners, copies, created_at) "
        "SELECT tenant_id, id, 1, records, owners, owners, copies, created_at FROM datasets"
    )


def downgrade() -> None:
    op.drop_table("dataset_versions")
    # What came with later versions has no place in the schema before.
    op.execute("DELETE FROM blocks WHERE version > 1")
    op.execute("DELETE FROM records WHERE version > 1")
    op.drop_constraint("blocks_pkey", "blocks", type_="primary")
    op.create_primary_key("blocks_pkey", "blocks", ["dataset_id", "owner", "public"])
    for table, column in VERSIONED.items():
        op.drop_column(table, column)
