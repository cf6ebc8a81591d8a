"""Finish what `deactivate_slices` began: erase rows, destroy keys, wait until nobody serves the old version, certify, complete.

Every step may be repeated: destroying a dead key again does nothing, a certificate is issued once per promise, and a
worker that takes over a half-finished job starts at the top.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.domain.checkpoint import Mode
from core.domain.deletion import RequestEvent, RequestKind, RequestState, Result, WaitReason
from core.domain.errors import OvertakenByDeletion
from core.domain.job import JobEvent, JobKind
from core.domain.model import Guarantee, ModelState
from core.faults import reach
from core.persistence import job_questions, jobs, models, requests, versions
from core.use_cases.accept_deletion import add_deactivation
from core.use_cases.activation_files import ActivationFiles
from core.use_cases.certify_unlearning import certify_unlearning
from core.use_cases.doors import Doors
from core.use_cases.erase_blocks import erase_rows, rewrite_shared_blocks
from core.use_cases.ingest_lock import take_ingest_lock
from core.use_cases.issue_certificate import issue_certificate
from core.use_cases.keep_ledger import note_keys, publish_checkpoint

ERASED = {"stage": "erased"}
"""Where a job stands that only waits to be certified; it need not destroy everything again."""
READY = ("verifying", "done")
METHOD_SECONDS = 2.0
"""How long to leave a job alone while a method still needs the rows that it would erase."""


def conclude_deletion(job: Row[Any], *, doors: Doors) -> bool:
    """Bring one job from verifying to done; False when a predictor may still answer from an older version.

    Raises:
        StaleFence: another worker took the job over.
    """
    if job.progress != ERASED:
        if not _erase(job, doors):
            return False
        reach("after_rows_erased")
        rewrite_shared_blocks(job, doors=doors)
        _destroy_keys(job, doors)
    reach("after_key_destruction")
    with doors.database.transaction(_actor(job)) as session:
        held = jobs.hold(session, job.id, job.fence)
        jobs.report_progress(session, job.id, job.fence, ERASED)
        if not _nobody_serves_older(session, held):
            jobs.postpone(session, held, seconds=0.05)
            return False
        if _is_being_built(session, held):
            jobs.postpone(session, held, seconds=0.5)
            return False
        reach("before_certificate")
        _conclude(session, doors, held)
    reach("after_completion")
    publish_checkpoint(doors)
    return True


def _actor(job: Row[Any]) -> Actor:
    return Actor(ActorKind.WORKER, job.worker)


def _erase(job: Row[Any], doors: Doors) -> bool:
    """Erase the rows, and send the request to models that were registered since it was accepted.

    Both in one transaction: a model that is registered later finds no rows, one that was before gets a job here. While a
    method still needs the rows, to forget them or to be judged by them, nothing is erased and the answer is False.
    """
    with doors.database.transaction(_actor(job)) as session:
        held = jobs.hold(session, job.id, job.fence)
        request = requests.lock_request(session, job.request_id)
        if request.scope_models is not None:
            return True
        take_ingest_lock(session, request.tenant_id)
        rows = requests.records_of_request(session, request.id)
        served = {work.model_id for work in job_questions.jobs_of_request(session, request.id)}
        for model in models.models_on(session, request.tenant_id, {row.dataset_id for row in rows}):
            if model.id not in served:
                add_deactivation(session, request, model.id, attempts=doors.settings.max_attempts)
        if any(work.kind == JobKind.RUN_METHOD and work.state not in READY for work in _work(session, request)):
            jobs.postpone(session, held, seconds=METHOD_SECONDS)
            return False
        erase_rows(session, request)
        return True


def _work(session: Connection, request: Row[Any]) -> list[Row[Any]]:
    return job_questions.work_of_request(session, request.id)


def _destroy_keys(job: Row[Any], doors: Doors) -> None:
    """Destroy every key that the request ordered dead, then the objects that only those keys opened."""
    with doors.database.transaction(_actor(job)) as session:
        jobs.hold(session, job.id, job.fence)
        ordered = requests.open_erasures(session, job.request_id)
    note_keys(doors, job, ordered)
    reach("after_ledger")
    doors.keys.destroy([row.key_id for row in ordered])
    ActivationFiles(doors.settings).forget(row.key_id for row in ordered)
    for row in ordered:
        if row.object_digest is not None:
            doors.store.delete(row.object_digest)
    if ordered:
        with doors.database.transaction(_actor(job)) as session:
            jobs.hold(session, job.id, job.fence)
            requests.close_erasures(session, [row.key_id for row in ordered])


def _version_of(session: Connection, job: Row[Any]) -> Row[Any] | None:
    """Return the version that this job made, or the live one when it found nothing left to switch off."""
    if job.model_id is None:
        return None
    return versions.version_of_job(session, job.model_id, job.id) or versions.live_version(session, job.model_id)


def _nobody_serves_older(session: Connection, job: Row[Any]) -> bool:
    version = _version_of(session, job)
    if version is None:
        return True
    return all(row.version_number >= version.number for row in versions.servings_of(session, job.model_id))


def _is_being_built(session: Connection, job: Row[Any]) -> bool:
    """Whether nodes of a first build died for the request: what to certify is the version that is on its way."""
    if job.model_id is None or models.get_model(session, job.model_id).state != ModelState.REGISTERED:
        return False
    return bool(models.tombstones_of(session, job.model_id, job.request_id))


def _conclude(session: Connection, doors: Doors, job: Row[Any]) -> None:
    request = requests.lock_request(session, job.request_id)
    version = _version_of(session, job)
    jobs.move(session, job, JobEvent.CONCLUDED)
    others_done = all(
        row.state == "done" for row in job_questions.work_of_request(session, request.id) if row.id != job.id
    )
    model = models.get_model(session, job.model_id) if job.model_id else None
    rows = requests.records_of_request(session, request.id, model.dataset_id) if model is not None else []
    if any(row.public for row in rows) and model is not None and model.mode == Mode.EXACT:
        # The backbone learned from this owner: no node's death changes that, so nothing may be certified.
        requests.mark_in_backbone(session, request)
    elif model is not None or not any(work.model_id for work in job_questions.jobs_of_request(session, request.id)):
        # "Nobody ever trained on it" is said only when no model turned up since the request was accepted.
        _certify(session, doors, request, model, version)
    if not others_done or request.state != RequestState.VERIFYING:
        return
    if requests.lock_request(session, request.id).in_backbone:
        requests.move_request(session, request, RequestEvent.TROUBLED, wait_reason=WaitReason.OWNER_IN_BACKBONE)
        return
    issued = requests.certificates_of(session, request.id)
    result = Result.UNLEARNED if any(row.guarantee for row in issued) else Result.NEVER_TRAINED
    if request.kind == RequestKind.CONCEPT_SUPPRESSION:
        result = Result.SUPPRESSED
    requests.move_request(session, request, RequestEvent.COMPLETED, result=result)


def _certify(
    session: Connection, doors: Doors, request: Row[Any], model: Row[Any] | None, version: Row[Any] | None
) -> None:
    if model is not None and version is not None and model.mode == Mode.APPROXIMATE:
        if version.guarantee != Guarantee.AS_REGISTERED:
            certify_unlearning(session, doors, request=request, model=model, version=version)
            return
        version = None  # nothing that it names was ever in what the checkpoint learned
    guarantee = Guarantee.INFLUENCE_FREE if version is not None else None
    try:
        issue_certificate(session, doors, request=request, model=model, version=version, guarantee=guarantee)
    except OvertakenByDeletion:
        if model is None:
            raise
        # A slice that this version learned again was struck since: what is live now holds no such slice.
        models.lock_model(session, model.id)
        version = versions.live_version(session, model.id)
        issue_certificate(session, doors, request=request, model=model, version=version, guarantee=guarantee)
