"""An index over the requests that have not ended: they are few, and are counted whenever somebody looks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_21_open_requests"
down_revision = "2026_11_21_webhooks"
branch_labels = None
depends_on = None

OPEN = "'received', 'pending_approval', 'on_hold', 'scheduled', 'running', 'verifying', 'needs_attention'"


def upgrade() -> None:
    op.create_index(
        "deletion_requests_open",
        "deletion_requests",
        ["state", "received_at"],
        postgresql_where=sa.text(f"state IN ({OPEN})"),
    )


def downgrade() -> None:
    op.drop_index("deletion_requests_open", "deletion_requests")
