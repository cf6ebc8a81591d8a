"""Which jobs a bell should ring for: those that a worker could claim now. A hint, so it asks a little more simply than a claim."""

from __future__ import annotations

from sqlalchemy import Connection, and_, func, or_, select

from core.domain.job import JobState, Lane
from core.persistence.jobs import jobs


def claimable(session: Connection, lane: Lane, most: int) -> list[tuple[str, int]]:
    """Return (job id, fence) of up to `most` jobs of a lane that wait for a worker, the most urgent first."""
    now = func.clock_timestamp()
    let_go = or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < now)
    waits = or_(jobs.c.state == JobState.WAITING, and_(jobs.c.state == JobState.VERIFYING, let_go))
    busy = jobs.alias()
    same = busy.c.model_id == jobs.c.model_id if lane is Lane.DEACTIVATE else busy.c.subject == jobs.c.subject
    blocked = select(1).where(busy.c.lane == lane, busy.c.state == JobState.RUNNING, same).exists()
    query = (
        select(jobs.c.id, jobs.c.fence)
        .where(jobs.c.lane == lane, jobs.c.run_after <= now, waits, or_(jobs.c.state != JobState.WAITING, ~blocked))
        .order_by(jobs.c.priority.desc(), jobs.c.run_after, jobs.c.id)
        .limit(most)
    )
    return [(row.id, row.fence) for row in session.execute(query)]
