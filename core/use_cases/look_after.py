"""What workers do between jobs: free the jobs of dead workers, finish off their drafts, certify repairs, sign the log's head."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Connection, Row
from sqlalchemy.exc import OperationalError

from core.audit.entry import Actor, ActorKind
from core.domain.deletion import RequestEvent, RequestState, WaitReason
from core.domain.errors import OvertakenByDeletion
from core.domain.job import JobEvent, JobKind, Lane
from core.domain.model import Guarantee, ModelState
from core.faults import reach
from core.persistence import audit, budgets, drafts, jobs, models, nodes, requests, versions
from core.persistence.versions import served_versions
from core.use_cases.doors import Doors
from core.use_cases.draft_keys import destroy_draft
from core.use_cases.issue_certificate import issue_certificate, sign_head
from core.use_cases.keep_ledger import publish_checkpoint
from core.use_cases.shard_jobs import is_at_rest, publish_shards, resume, shard_of
from core.use_cases.shard_members import SliceTrees

log = structlog.get_logger()


def free_expired_jobs(doors: Doors) -> int:
    """Put jobs whose worker fell silent back into their lane, or end them after too many attempts; return how many.

    Raises:
        Exception: the first that a job could not be freed for, after all the others were.
    """
    freed, last, trouble = 0, "", None
    while True:
        # One transaction each, and past what went wrong: a job that cannot be freed must not keep the others from it.
        try:
            with doors.database.transaction() as session:
                job = jobs.next_expired(session, after=last)
                if job is None:
                    break
                last = job.id
                give_back(session, job, JobEvent.LEASE_LOST, "lease_lost")
            freed += 1
        except OperationalError:
            raise  # the database is away: for all of them
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one of them
            log.error("reaper.trouble", job_id=last, kind=type(error).__name__)
            trouble = trouble or error
    if trouble is not None:
        raise trouble
    return freed


def give_back(
    session: Connection, job: Row[Any], event: JobEvent, error_code: str, *, peak_memory_bytes: int | None = None
) -> None:
    """Let a held job be tried again, or end it: cancelled, attempts used up, or another one waits to do the same.

    Args:
        session: the transaction that holds the job.
        job: its row.
        event: `lease_lost`, `retry` or `cancelled`.
        error_code: what this attempt died of, in one word.
        peak_memory_bytes: the most that its process held, if known.
    """
    if job.lane == Lane.COMPUTE:
        # Whoever adds jobs for this model holds it, too: no successor turns up between the question and the move.
        models.lock_model(session, job.model_id)
    if event is JobEvent.CANCELLED or job.cancel_requested:
        end_badly(session, job, JobEvent.CANCELLED, jobs.CANCELLED, peak_memory_bytes=peak_memory_bytes)
    elif jobs.has_successor(session, job):
        jobs.move(session, job, JobEvent.CONCLUDED, error_code=jobs.SUPERSEDED)
    elif job.attempt < job.max_attempts:
        # The second try comes at once, later ones wait: whatever broke may need a moment.
        later = jobs.soon(0.2 * (2 ** (job.attempt - 1) - 1))
        jobs.move(session, job, event, error_code=error_code, run_after=later, peak_memory_bytes=peak_memory_bytes)
    else:
        end_badly(session, job, JobEvent.GAVE_UP, error_code, peak_memory_bytes=peak_memory_bytes)


def end_badly(
    session: Connection, job: Row[Any], event: JobEvent, error_code: str, *, peak_memory_bytes: int | None = None
) -> None:
    """End a held job that will not be tried again, and say so where people look: at its request, or at its model."""
    jobs.move(session, job, event, error_code=error_code, peak_memory_bytes=peak_memory_bytes)
    if job.request_id is not None:
        request = requests.lock_request(session, job.request_id)
        if request.state in (RequestState.SCHEDULED, RequestState.RUNNING, RequestState.VERIFYING):
            requests.move_request(session, request, RequestEvent.TROUBLED, wait_reason=WaitReason.JOB_DEAD)
    if job.lane == Lane.COMPUTE:
        model = models.lock_model(session, job.model_id)
        if model.state == ModelState.REGISTERED:
            models.set_model_state(session, model, ModelState.FAILED)
        if job.kind == JobKind.TRAIN_NODE and is_at_rest(session, model, shard_of(job)):
            # Its neighbours left it to the last of them to publish what they made, and the last one is this.
            publish_shards(session, model, job)


def destroy_abandoned_drafts(doors: Doors) -> int:
    """Destroy the keys of nodes and blocks whose maker died between sealing and committing them; return how many."""
    with doors.database.transaction() as session:
        found = nodes.abandoned_drafts(session)
    doors.keys.destroy([row.data_key_id for row in found])
    if found:
        reach("after_drafts_destroyed")
    with doors.database.transaction() as session:
        for row in found:
            nodes.drop_draft(session, row.data_key_id)
        abandoned = drafts.abandoned_drafts(session)
    for draft in abandoned:
        destroy_draft(doors, draft.id)
    return len(found) + len(abandoned)


def resume_repairs(doors: Doors) -> int:
    """Plan every shard whose wish its model's budget meets by now, as time credits it; return how many."""
    with doors.database.transaction() as session:
        waiting = budgets.models_in_want(session)
    resumed = 0
    for model_id in waiting:
        with doors.database.transaction() as session:
            resumed += resume(session, doors, models.lock_model(session, model_id))
    return resumed


def certify_repaired(doors: Doors, worker: str) -> int:
    """Issue the second certificate (E2) wherever everything served is canonical again; return how many were issued."""
    with doors.database.transaction() as session:
        live = [row for row in served_versions(session) if row.guarantee == Guarantee.RETRAIN_EQUIVALENT]
    issued = sum(_certify_model(doors, row.model_id, worker) for row in live)
    if issued:
        reach("after_second_certificate")
        publish_checkpoint(doors)
    return issued


def _certify_model(doors: Doors, model_id: str, worker: str) -> int:
    with doors.database.transaction() as session:
        if requests.next_awaiting_retrain_equivalence(session, model_id) is None:
            return 0
        trees = SliceTrees.read(session, doors, models.get_model(session, model_id))
    issued = 0
    # One transaction each: the log's lock is not held for long.
    while _certify_next(doors, model_id, worker, trees):
        issued += 1
    return issued


def _certify_next(doors: Doors, model_id: str, worker: str, trees: SliceTrees) -> bool:
    try:
        with doors.database.transaction(Actor(ActorKind.WORKER, worker)) as session:
            first = requests.next_awaiting_retrain_equivalence(session, model_id)
            if first is None:
                return False
            # The request before the model, and both before the log: the order in which a deletion takes them.
            request = requests.lock_request(session, first.request_id)
            model = models.lock_model(session, model_id)
            version = _retrain_equivalent_version(session, model_id)
            if version is None:
                return False
            issue_certificate(
                session,
                doors,
                request=request,
                model=model,
                version=version,
                guarantee=Guarantee.RETRAIN_EQUIVALENT,
                trees=trees,
            )
            reach("before_second_certificate")
            return True
    except OvertakenByDeletion:
        return False


def _retrain_equivalent_version(session: Connection, model_id: str) -> Row[Any] | None:
    version = versions.live_version(session, model_id)
    return version if version is not None and version.guarantee == Guarantee.RETRAIN_EQUIVALENT else None


def sign_checkpoint_if_grown(doors: Doors) -> bool:
    """Sign the log's head when entries were added since the last checkpoint."""
    with doors.database.transaction() as session:
        newest = audit.latest_checkpoint(session)
        if audit.size(session) == (newest.size if newest is not None else 0):
            return False
        audit.lock(session)
        sign_head(session, doors)
    reach("after_head_signed")
    publish_checkpoint(doors)
    return True
