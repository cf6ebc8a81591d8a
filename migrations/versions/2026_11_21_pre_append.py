"""The database appends to the log itself, and finds the other requests about an owner by an index.

One call takes the log's turn, gives the entries their time and their indexes, and adds the subtrees that they complete:
whoever appends holds up the others for this and the commit, and for no round trip in between. The tree is that of
`core/audit/log.py`, which `lethe fsck` computes anew. An entry comes as the bytes before and behind its time.
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_21_pre_append"
down_revision = "2026_11_21_pre_growth"
branch_labels = None
depends_on = None

# Each statement here sees what was committed before the lock was granted, because isolation is READ COMMITTED.
# Without a percent sign: printed as SQL for a reviewer, it would come out twice.
APPEND = r"""
CREATE FUNCTION append_to_log(
    actor text, tenants text[], actions text[], objects text[], heads bytea[], tails bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    entries bigint;
    place bigint;
    depth integer;
    subtree bytea;
    entry bytea;
    moment timestamptz;
    written bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('lethe audit log'));
    SELECT coalesce(max(e.index) + 1, 0), clock_timestamp() INTO entries, moment FROM audit_entries e;
    written := convert_to(to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8');
    FOR number IN 1 .. cardinality(heads) LOOP
        entry := heads[number] || written || tails[number];
        place := entries + number - 1;
        INSERT INTO audit_entries (tenant_id, index, at, action, actor, object, body)
            VALUES (tenants[number], place, moment, actions[number], append_to_log.actor, objects[number], entry);
        depth := 0;
        subtree := sha256('\x00'::bytea || entry);
        LOOP
            INSERT INTO audit_tree (tenant_id, level, index, hash) VALUES ('ten_system', depth, place, subtree);
            EXIT WHEN place & 1 = 0;
            SELECT sha256('\x01'::bytea || t.hash || subtree) INTO STRICT subtree
                FROM audit_tree t WHERE t.level = depth AND t.index = place - 1;
            depth := depth + 1;
            place := place >> 1;
        END LOOP;
    END LOOP;
    RETURN entries;
END $$
"""


def upgrade() -> None:
    op.execute(APPEND)
    op.create_index("request_owners_by_owner", "request_owners", ["tenant_id", "owner", "request_id"])


def downgrade() -> None:
    op.drop_index("request_owners_by_owner", "request_owners")
    op.execute("DROP FUNCTION append_to_log(text, text[], text[], text[], bytea[], bytea[])")
