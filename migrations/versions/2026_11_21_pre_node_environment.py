"""Where each node was trained: a replay must know whether it may promise equality bit for bit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_21_pre_node_environment"
down_revision = "2026_11_21_pre_repair_policy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("nodes", sa.Column("environment", postgresql.JSONB(astext_type=sa.Text()), nullable=True))


def downgrade() -> None:
    op.drop_column("nodes", "environment")
