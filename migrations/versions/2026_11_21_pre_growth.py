"""Indexes for questions that are asked all the time and whose answer must not take longer as deletions pile up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_21_pre_growth"
down_revision = "2026_11_21_open_requests"
branch_labels = None
depends_on = None

OPEN = "'waiting', 'running', 'verifying'"


def upgrade() -> None:
    op.create_index("certificates_in_order", "certificates", ["model_id", "guarantee", "log_index"])
    op.create_index("jobs_open_of_model", "jobs", ["model_id"], postgresql_where=sa.text(f"state IN ({OPEN})"))
    op.create_index("nodes_by_state", "nodes", ["model_id", "state"])


def downgrade() -> None:
    op.drop_index("nodes_by_state", "nodes")
    op.drop_index("jobs_open_of_model", "jobs")
    op.drop_index("certificates_in_order", "certificates")
