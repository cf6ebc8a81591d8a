"""Many workers: nodes are jobs of their own, jobs can be cancelled, attempts say what they died of.

And the database keeps the promises that the code makes: it refuses moves that the tables in `core/domain` do not have,
here in a copy that later releases do not change. Legal moves cost a comparison each; a function runs only to refuse,
and where it has to look at other rows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_21_production_jobs"
down_revision = "2026_11_21_first_schema"
branch_labels = None
depends_on = None

JOB_MOVES = (
    "waiting>running",
    "waiting>dead",
    "running>waiting",
    "running>verifying",
    "running>done",
    "running>failed",
    "running>dead",
    "verifying>done",
    "verifying>dead",
)
REQUEST_MOVES = (
    "received>pending_approval",
    "received>scheduled",
    "received>completed",
    "received>cancelled",
    "received>needs_attention",
    "pending_approval>scheduled",
    "pending_approval>denied",
    "pending_approval>cancelled",
    "scheduled>running",
    "scheduled>cancelled",
    "scheduled>needs_attention",
    "running>verifying",
    "running>needs_attention",
    "verifying>completed",
    "verifying>needs_attention",
    "needs_attention>scheduled",
)

# Without a percent sign: printed as SQL for a reviewer, it would come out twice.
FUNCTIONS = {
    "refuse_move": """
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = 'a ' || TG_ARGV[0] || ' cannot go from ' || OLD.state || ' to ' || NEW.state;
    """,
    "refuse_change": """
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[0];
    """,
    "refuse_early_completion": """
        IF NOT EXISTS (SELECT 1 FROM certificates c WHERE c.request_id = NEW.id) THEN
            RAISE EXCEPTION 'a request cannot be completed before it is certified' USING ERRCODE = 'check_violation';
        END IF;
        IF EXISTS (
            SELECT 1 FROM jobs j WHERE j.request_id = NEW.id AND j.state <> 'done' AND NOT EXISTS (
                SELECT 1 FROM jobs n WHERE n.request_id = j.request_id AND n.subject = j.subject AND n.id > j.id)
        ) THEN
            RAISE EXCEPTION 'a request cannot be completed while a job of it is not done'
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    """,
    "refuse_older_version": """
        IF NOT EXISTS (
            SELECT 1 FROM versions n WHERE n.id = NEW.version_id AND n.model_id = NEW.model_id AND n.number >= (
                SELECT coalesce(max(o.number), 0) FROM versions o WHERE o.id = OLD.version_id)
        ) THEN
            RAISE EXCEPTION 'an alias points at a version of its own model, and never at an older one than before'
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    """,
}


def _other_than(moves: tuple[str, ...]) -> str:
    listed = ", ".join(f"'{move}'" for move in moves)
    return f"OLD.state <> NEW.state AND OLD.state || '>' || NEW.state <> ALL (ARRAY[{listed}])"


TRIGGERS = (
    ("jobs", "jobs_moves", "UPDATE OF state", _other_than(JOB_MOVES), "refuse_move('job')"),
    (
        "jobs",
        "jobs_fence",
        "UPDATE OF fence",
        "NEW.fence < OLD.fence",
        "refuse_change('the fence of a job never goes down')",
    ),
    (
        "deletion_requests",
        "deletion_requests_moves",
        "UPDATE OF state",
        _other_than(REQUEST_MOVES),
        "refuse_move('request')",
    ),
    (
        "deletion_requests",
        "deletion_requests_completed",
        "UPDATE OF state",
        "NEW.state = 'completed' AND OLD.state <> 'completed'",
        "refuse_early_completion()",
    ),
    (
        "nodes",
        "nodes_revival",
        "UPDATE OF state",
        """
        OLD.state = 'dead' AND NEW.state = 'live'
        AND (NEW.object_digest = OLD.object_digest OR NEW.data_key_id = OLD.data_key_id)
        """,
        "refuse_change('a dead node comes back only with a new object under a new key')",
    ),
    (
        "slices",
        "slices_epoch",
        "UPDATE OF epoch",
        "NEW.epoch < OLD.epoch",
        "refuse_change('the epoch of a slice never goes down')",
    ),
    ("versions", "versions_immutable", "UPDATE", "true", "refuse_change('a version never changes')"),
    (
        "aliases",
        "aliases_forward",
        "UPDATE OF version_id, model_id",
        "OLD.version_id <> NEW.version_id OR OLD.model_id <> NEW.model_id",
        "refuse_older_version()",
    ),
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.drop_constraint(op.f("jobs_kind_known"), "jobs")
    op.create_check_constraint(
        op.f("jobs_kind_known"), "jobs", "kind IN ('deactivate', 'build', 'train_shard', 'train_node')"
    )
    op.add_column(
        "job_attempts",
        sa.Column("error_code", sa.Text(), nullable=True, comment="why it ended, when it did not end well"),
    )
    op.add_column(
        "job_attempts",
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True, comment="most that its process ever held"),
    )
    for name, body in FUNCTIONS.items():
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    for table, name, event, condition, call in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {call}"
        )


def downgrade() -> None:
    for table, name, *_ in TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON {table}")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    op.drop_column("job_attempts", "peak_memory_bytes")
    op.drop_column("job_attempts", "error_code")
    op.execute("DELETE FROM jobs WHERE kind = 'train_node'")
    op.drop_constraint(op.f("jobs_kind_known"), "jobs")
    op.create_check_constraint(op.f("jobs_kind_known"), "jobs", "kind IN ('deactivate', 'build', 'train_shard')")
    op.drop_column("jobs", "cancel_requested")
