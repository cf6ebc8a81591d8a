"""Plan one shard: find out which nodes it lacks, and ask for those that can be trained now. Loads no torch.

After a deletion the first nodes bring the shard back to full depth (provisional), the rest back to what a fresh build
on the retained records gives (canonical, DESIGN §4.7). Each is a job of its own, taken by whichever worker is free.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.domain.errors import NoBackboneYet
from core.domain.job import JobEvent
from core.faults import reach
from core.persistence import jobs, models
from core.use_cases.doors import Doors
from core.use_cases.shard_jobs import (
    REPAIR_OFF,
    add_ready_jobs,
    add_shard_job,
    forget_once,
    publish_shards,
    resume,
    shard_of,
    wants_training,
)
from core.use_cases.shard_plan import ShardPlan
from core.use_cases.workbench import Workbench

OVERTAKEN_SECONDS = 0.5
"""How long a shard that was overtaken waits before it is planned anew."""
OVERTAKEN = "overtaken"
"""Error code of a job whose work a deletion made void; another plan follows."""


def train_shard(job: Row[Any], *, doors: Doors, bench: Workbench) -> None:
    """Ask for the shard's missing nodes, or publish when there is none; a deletion that comes in between is planned for.

    Raises:
        StaleFence: another worker took the job over.
    """
    try:
        plan = bench.plan(doors, job.model_id, shard_of(job))
    except NoBackboneYet:
        # Whoever builds the backbone has every shard planned when it is there.
        with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
            jobs.move(session, jobs.hold(session, job.id, job.fence), JobEvent.CONCLUDED, error_code=jobs.SUPERSEDED)
        return
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        model = models.lock_model(session, job.model_id)
        if not wants_training(doors, model):
            jobs.move(session, held, JobEvent.CONCLUDED, error_code=REPAIR_OFF)
            return
        present = plan.refreshed(session)
        if present is not None:
            missing = _ask(session, doors, present, held)
            jobs.move(session, held, JobEvent.CONCLUDED, progress={"stage": "planned", "missing": missing})
            resume(session, doors, present.model)
            forget_once(session, present.model)
            reach("after_plan")
            return
        # A deletion came in while it was being read.
        jobs.move(session, held, JobEvent.CONCLUDED, error_code=OVERTAKEN)
        add_shard_job(session, doors, model, plan.shard)


def _ask(session: Connection, doors: Doors, plan: ShardPlan, job: Row[Any]) -> int:
    first, rest = plan.steps()
    if not first and not rest:
        publish_shards(session, plan.model, job)
    add_ready_jobs(session, doors, plan)
    return len(first) + len(rest)


def give_way(job: Row[Any], doors: Doors) -> None:
    """End a job that a deletion overtook, and have the shard planned anew from what is left.

    Raises:
        StaleFence: another worker took the job over.
    """
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        model = models.lock_model(session, job.model_id)
        jobs.move(session, held, JobEvent.CONCLUDED, error_code=OVERTAKEN)
        if wants_training(doors, model):
            add_shard_job(session, doors, model, shard_of(job), after=OVERTAKEN_SECONDS)
