"""Lethe without one of its guards, to show that the proof fails then; and a clock that is wrong.

A guard is taken out of this process with `take_out(name, patch)`, where `patch` is a monkeypatch's `setattr`, or out of
a process that a stack starts and of its children, by naming it in FAULTS_UNGUARDED (`site/sitecustomize.py`).
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

Patch = Callable[[Any, str, Any], None]


def take_out(name: str, patch: Patch) -> None:
    """Take one guard out."""
    GUARDS[name](patch)


def install() -> None:
    """Do to this process what its environment says."""
    ahead = float(os.environ.get("FAULTS_CLOCK_SECONDS") or 0)
    if ahead:
        _set_clock(ahead)
    for name in filter(None, os.environ.get("FAULTS_UNGUARDED", "").split(",")):
        take_out(name, setattr)


def _set_clock(ahead: float) -> None:
    """Let Python's wall clock run ahead; timers go by the monotonic clock, which nobody sets."""
    seconds, nanoseconds, true = time.time, time.time_ns, dt.datetime

    class Ahead(true):  # type: ignore[valid-type, misc]
        """What our modules find under the name of datetime; what it returns are true ones."""

        __slots__ = ()

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return true.fromtimestamp(seconds() + ahead, tz)

    time.time = lambda: seconds() + ahead
    time.time_ns = lambda: nanoseconds() + int(ahead * 1e9)
    # Libraries first: theirs stays the true class, which they compare types with.
    import cryptography.x509  # noqa: F401
    import pydantic_settings  # noqa: F401
    import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
    import structlog  # noqa: F401

    dt.datetime = Ahead  # type: ignore[misc]


def _fence(patch: Patch) -> None:
    """A worker that lost its job may write all the same."""
    from sqlalchemy import select

    from core.persistence import jobs

    def hold(session: Any, job_id: str, fence: int) -> Any:  # noqa: ARG001
        return session.execute(select(jobs.jobs).where(jobs.jobs.c.id == job_id).with_for_update()).one()

    patch(jobs, "hold", hold)


def _epochs(patch: Patch) -> None:
    """A node is committed whatever was deleted since its training began."""
    from core.use_cases.shard_plan import ShardPlan

    patch(ShardPlan, "refuse_overtaken", lambda *_: None)


def _reaper(patch: Patch) -> None:
    """Nobody frees the jobs of workers that fell silent."""
    from core.persistence import jobs

    patch(jobs, "next_expired", lambda *_, **__: None)


def _drafts(patch: Patch) -> None:
    """A node's key is made without anybody's knowing of it."""
    from core.persistence import nodes

    patch(nodes, "add_draft", lambda *_, **__: None)


def _claim(patch: Patch) -> None:
    """A worker does what the bell names, whoever else may be at it."""
    from sqlalchemy import update

    from core.persistence import jobs

    def take(session: Any, *, lane: Any, worker: str, lease: float, job_id: str | None = None, **_: Any) -> Any:  # noqa: ARG001
        job = session.execute(
            update(jobs.jobs)
            .where(jobs.jobs.c.id == job_id)
            .values(state="running", fence=jobs.jobs.c.fence + 1, worker=worker, lease_until=jobs.soon(lease))
            .returning(jobs.jobs)
        ).one()
        started = {"tenant_id": job.tenant_id, "job_id": job.id, "fence": job.fence, "worker": worker}
        session.execute(jobs.job_attempts.insert().values(**started))
        return job

    patch(jobs, "claim", take)


def _once(patch: Patch) -> None:
    """A request that is repeated under one Idempotency-Key is another request."""
    from core.persistence import tenants
    from core.persistence.round_trips import together

    patch(tenants, "claim_idempotency_key", lambda session, *others, **_: (None, together(session, *others)))
    patch(tenants, "keep_answer", lambda *_, **__: None)


def _delivery_lease(patch: Patch) -> None:
    """An event counts as delivered once somebody has set out to deliver it."""
    from core.persistence import deliveries, webhooks

    claim = deliveries.claim_due

    def claim_due(session: Any, *, lease: float) -> Any:
        claimed = claim(session, lease=lease)
        if claimed is not None:
            mine = webhooks.webhook_deliveries.c.id == claimed.id
            session.execute(webhooks.webhook_deliveries.update().where(mine).values(state="succeeded"))
        return claimed

    patch(deliveries, "claim_due", claim_due)


def _reading_again(patch: Patch) -> None:
    """What an object store answers is taken for what was asked of it."""
    from core.object_store.s3 import S3ObjectStore
    from core.use_cases import erase_blocks

    def get_range(store: Any, digest: str, offset: int, length: int) -> Any:
        return store._bucket.read_part(store._name(digest), offset, length)

    patch(S3ObjectStore, "_intact", lambda *_: True)
    patch(S3ObjectStore, "get_range", get_range)
    patch(erase_blocks, "_from_the_whole", lambda *_: b"")


def _head_after_put(patch: Patch) -> None:
    """An object store is believed that says it has kept something."""
    from core.object_store.s3 import S3ObjectStore

    patch(S3ObjectStore, "_arrived", lambda *_: True)


def _head_after_delete(patch: Patch) -> None:
    """An object store is believed that says it has deleted something."""
    from core.object_store.s3 import S3ObjectStore

    patch(S3ObjectStore, "_gone", lambda *_: True)


def _poll(patch: Patch) -> None:
    """A worker waits for the broker's messages, and for nothing else."""
    from worker.hand import Hand

    patch(Hand, "poll", lambda *_: None)


def _sweeper(patch: Patch) -> None:
    """The dispatcher rings once for each job, and never again."""
    from worker.dispatcher import Ringer

    ring = Ringer.ring
    patch(Ringer, "ring", lambda ringer, lane, **_: ring(ringer, lane))


def _lease_kill(patch: Patch) -> None:
    """A training process goes on, whoever has its job by now."""
    from core.persistence.jobs import RenewalAnswer
    from worker.slot import ComputeSlot

    patch(ComputeSlot, "_renew", lambda *_: RenewalAnswer.KEPT)


def _database_clock(patch: Patch) -> None:
    """Leases are held against the clock of whoever looks."""
    from sqlalchemy import literal, select

    from core.persistence import jobs

    def next_expired(session: Any, after: str = "") -> Any:
        now = literal(dt.datetime.fromtimestamp(time.time(), dt.UTC))
        running = select(jobs.jobs).where(jobs.jobs.c.state == "running", jobs.jobs.c.lease_until < now)
        query = running.where(jobs.jobs.c.id > after).order_by(jobs.jobs.c.id).limit(1)
        return session.execute(query.with_for_update(skip_locked=True)).first()

    patch(jobs, "next_expired", next_expired)


GUARDS: Mapping[str, Callable[[Patch], None]] = {
    "fence": _fence,
    "epochs": _epochs,
    "reaper": _reaper,
    "drafts": _drafts,
    "claim": _claim,
    "once": _once,
    "delivery_lease": _delivery_lease,
    "reading_again": _reading_again,
    "head_after_put": _head_after_put,
    "head_after_delete": _head_after_delete,
    "poll": _poll,
    "sweeper": _sweeper,
    "lease_kill": _lease_kill,
    "database_clock": _database_clock,
}
