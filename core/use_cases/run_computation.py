"""Do one claimed job of the compute lane, whichever kind it is. Runs in the runner's subprocess."""

from __future__ import annotations

import structlog
from sqlalchemy import update

from core.domain.errors import Impossible, StaleFence
from core.domain.job import JobEvent, JobKind
from core.domain.model import ModelState
from core.persistence import jobs, models
from core.use_cases.build_model import build_model
from core.use_cases.doors import Doors
from core.use_cases.train_shard import train_shard

log = structlog.get_logger()
WORK = {JobKind.BUILD: build_model, JobKind.TRAIN_SHARD: train_shard}


def run_computation(job_id: str, fence: int, *, doors: Doors) -> None:
    """Run a job to its end. What cannot be done fails the job at once; any other error lets it be tried again."""
    with doors.database.transaction() as session:
        job = jobs.hold(session, job_id, fence)
    try:
        WORK[JobKind(job.kind)](job, doors=doors)
    except StaleFence:
        log.warning("compute.stale", job_id=job_id)
    except Impossible as error:
        log.error("compute.impossible", job_id=job_id, kind=error.code)
        with doors.database.transaction() as session:
            held = jobs.hold(session, job_id, fence)
            jobs.move(session, held, JobEvent.FAILED, error_code=error.code)
            model = models.lock_model(session, held.model_id)
            if model.state == ModelState.REGISTERED:
                models.set_model_state(session, model, ModelState.FAILED)
    except Exception as error:  # noqa: BLE001 - whatever it is, the job is tried again, and only its kind is logged
        with doors.database.transaction() as session:
            session.execute(
                update(jobs.jobs).where(jobs.jobs.c.id == job_id).values(error_code=type(error).__name__[:100])
            )
        log.error("compute.trouble", job_id=job_id, kind=type(error).__name__)
        raise SystemExit(1) from None
