"""Do one claimed job of the compute lane, whichever kind it is. Runs in the runner's subprocess."""

from __future__ import annotations

import structlog

from core.domain.errors import Impossible, StaleFence
from core.domain.job import JobEvent, JobKind
from core.persistence import jobs
from core.use_cases.build_model import build_model
from core.use_cases.doors import Doors
from core.use_cases.look_after import end_badly
from core.use_cases.qualify_model import qualify_model
from core.use_cases.run_method import run_method
from core.use_cases.train_node import train_node
from core.use_cases.train_shard import train_shard
from core.use_cases.workbench import Workbench

log = structlog.get_logger()
WORK = {
    JobKind.BUILD: build_model,
    JobKind.TRAIN_SHARD: train_shard,
    JobKind.TRAIN_NODE: train_node,
    JobKind.RUN_METHOD: run_method,
    JobKind.QUALIFY: qualify_model,
}


def run_computation(job_id: str, fence: int, *, doors: Doors, bench: Workbench | None = None) -> None:
    """Run a job to its end. What cannot be done fails the job at once; any other error lets it be tried again.

    Args:
        job_id: the job, claimed by whoever started this process.
        fence: under which fence it was claimed.
        doors: the outside.
        bench: what this process kept of its last job; hand the same one in again for the next job.

    Raises:
        StaleFence: the job was taken over before it began.
        SystemExit: the attempt died; this process should end, and its worker gives the job back.
    """
    with doors.database.transaction() as session:
        job = jobs.hold(session, job_id, fence)
    try:
        WORK[JobKind(job.kind)](job, doors=doors, bench=bench or Workbench())
    except StaleFence:
        log.warning("compute.stale", job_id=job_id)
    except Impossible as error:
        log.error("compute.impossible", job_id=job_id, kind=error.code)
        with doors.database.transaction() as session:
            held = jobs.hold(session, job_id, fence)
            end_badly(session, held, JobEvent.FAILED, error.code, peak_memory_bytes=jobs.peak_memory_bytes())
    except Exception as error:  # noqa: BLE001 - whatever it is, the job is tried again, and only its kind is logged
        with doors.database.transaction() as session:
            jobs.confess(session, job_id, fence, type(error).__name__[:100], jobs.peak_memory_bytes())
        log.error("compute.trouble", job_id=job_id, kind=type(error).__name__)
        raise SystemExit(1) from None
