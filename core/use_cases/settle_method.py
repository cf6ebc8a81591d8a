"""Commit what came of an attempt: a candidate, a new live version, or nothing that anybody accepted. Under fence and lock."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.domain.checkpoint import CheckpointManifest
from core.domain.deletion import DeletedRecord, RequestEvent, RequestKind, RequestState, WaitReason
from core.domain.errors import LetheError, StoreUnavailable
from core.domain.identifiers import new_identifier
from core.domain.job import JobEvent, Lane
from core.domain.model import Guarantee, ModelState
from core.faults import reach
from core.persistence import checkpoints, job_questions, jobs, models, requests
from core.persistence.checkpoints import CheckpointState
from core.persistence.requests import ErasureKind
from core.use_cases.doors import Doors
from core.use_cases.plan_method import MethodRun
from core.use_cases.publish_checkpoint import doom_checkpoints, publish_checkpoint_version

if TYPE_CHECKING:
    from core.use_cases.attempt_method import Attempt

REFUSED = "judgement_refused"


def keep_attempt(doors: Doors, run: MethodRun, attempt: Attempt) -> None:
    """Seal what an attempt left, and commit it: served at once when it was accepted, a candidate otherwise.

    Raises:
        StaleFence, OvertakenByVersion: it comes too late, and nothing is kept.
    """
    candidate = None if attempt.tensors is None else _draft(doors, run, attempt.number)
    sealed = None
    try:
        if candidate is not None and attempt.tensors is not None:
            from core.use_cases.open_checkpoint import packed_network

            sealed = doors.put_under(candidate["data_key_id"], packed_network(attempt.tensors))
            reach("after_candidate_sealed")
        saved = _commit(doors, run, attempt, candidate, sealed)
    except LetheError:
        if candidate is not None:
            doors.keys.destroy([candidate["data_key_id"]])
        if sealed is not None:
            doors.store.delete(sealed)
        raise
    reach("after_attempt_commit")
    if saved is not None:
        # The attempt is committed: a store that is away now must not fail its job. What stays is an orphan, and is swept.
        with suppress(StoreUnavailable):
            doors.store.delete(saved)


def _draft(doors: Doors, run: MethodRun, number: int) -> dict[str, str]:
    """Write the candidate's row before its key exists, so that somebody knows of the key whatever becomes of this worker."""
    named = {"id": new_identifier("ckp"), "data_key_id": new_identifier("ckk")}
    with doors.database.transaction() as session:
        jobs.hold(session, run.job.id, run.job.fence)
        checkpoints.add_checkpoint(
            session,
            tenant_id=run.model.tenant_id,
            model_id=run.model.id,
            state=CheckpointState.CANDIDATE,
            job_id=run.job.id,
            attempt=number,
            **named,
        )
    doors.make_key(named["data_key_id"])
    return named


def _commit(
    doors: Doors, run: MethodRun, attempt: Attempt, candidate: dict[str, str] | None, sealed: str | None
) -> str | None:
    """Commit an attempt; return the state that it had saved, which nobody needs any more."""
    verdict = attempt.verdict
    account = attempt.account | verdict.as_json()
    with doors.database.transaction(_actor(run.job)) as session:
        held = jobs.hold(session, run.job.id, run.job.fence)
        request = requests.lock_request(session, run.request.id)
        model = models.lock_model(session, run.model.id)
        checkpoints.add_attempt(
            session,
            tenant_id=model.tenant_id,
            job_id=held.id,
            number=attempt.number,
            model_id=model.id,
            request_id=request.id,
            method=attempt.step.choice.method,
            checkpoint_id=None if candidate is None else candidate["id"],
            account=account,
            log={"judgement": account["judgement_digest"], "reason": verdict.why, "policy": run.policy.digest()},
        )
        begun = checkpoints.find_run(session, held.id)
        checkpoints.save_state(session, held.id, held.fence, None)
        if candidate is not None:
            spent = 0.0 if verdict.guarantee is Guarantee.RETRAINED else run.checkpoint.drift + verdict.drift
            result = attempt.account["result"]
            checkpoints.seal_checkpoint(
                session, candidate["id"], object_digest=sealed, tensor_digest=result, drift=spent
            )
        if verdict.accepted and candidate is not None and verdict.guarantee is not None:
            served = checkpoints.find_checkpoint(session, candidate["id"])
            assert served is not None  # noqa: S101 - it was sealed just now
            _publish(session, held, request, model, run, served, attempt.account | {"guarantee": verdict.guarantee})
    return None if begun is None else begun.state_digest


def _publish(  # noqa: PLR0913, PLR0917
    session: Connection,
    job: Row[Any],
    request: Row[Any],
    model: Row[Any],
    run: MethodRun,
    candidate: Row[Any],
    made: dict[str, Any],
) -> None:
    """Let a candidate be served, bury the records, order the death of what it replaces, and hand the job on."""
    _bury(session, request, model, run)
    reach("after_tombstones")
    manifest = CheckpointManifest(
        recipe=run.recipe.digest(),
        stage_history=run.recipe.stage_history(),
        tensors=candidate.tensor_digest,
        made_by=made["method"],
        run=made["run"],
    )
    publish_checkpoint_version(
        session,
        model,
        manifest,
        checkpoint_id=candidate.id,
        guarantee=Guarantee(made["guarantee"]),
        provenance={
            "reason": "unlearning",
            "request": request.id,
            "job": job.id,
            "fence": job.fence,
            "attempt": made["number"],
        },
        base=run.base.id,
    )
    left = [row.id for row in checkpoints.candidates_for(session, model.id, request.id)]
    if left:
        doom_checkpoints(session, model, left, request.id)
    for old in checkpoints.runs_for(session, model.id, request.id):
        _end_run(session, old)
    checkpoints.clear_flags(session, request.id, model.id)
    mark_replaced(session, job)


def _bury(session: Connection, request: Row[Any], model: Row[Any], run: MethodRun) -> None:
    if request.kind != RequestKind.DATA_DELETION:
        return
    rows = requests.records_of_request(session, request.id, model.dataset_id)
    dead = [DeletedRecord(bytes(row.record), bytes(row.owner), 0, 0) for row in rows if bytes(row.record) in run.forget]
    models.bury(session, tenant_id=model.tenant_id, model_id=model.id, request_id=request.id, dead=dead)


def _end_run(session: Connection, row: Row[Any]) -> None:
    order = {"tenant_id": row.tenant_id, "kind": ErasureKind.NODE, "request_id": row.request_id}
    requests.order_erasures(session, [{**order, "key_id": row.data_key_id, "object_digest": row.state_digest}])
    checkpoints.end_run(session, row.job_id)


def mark_replaced(session: Connection, job: Row[Any]) -> None:
    """Move a job and, when it is the last one, its request on to be concluded, in the lane that needs no torch."""
    jobs.move(session, job, JobEvent.UNLEARNED)
    request = requests.lock_request(session, job.request_id)
    others = [row for row in job_questions.work_of_request(session, request.id) if row.id != job.id]
    if all(row.state in ("verifying", "done") for row in others) and request.state == RequestState.RUNNING:
        requests.move_request(session, request, RequestEvent.REPLACED)
    jobs.change_lane(session, job, Lane.DEACTIVATE)


def settle_nothing(job: Row[Any], doors: Doors) -> None:
    """Hand a job on whose records the model was made to forget before; weights that never loaded are disposed of with them."""
    with doors.database.transaction(_actor(job)) as session:
        held = jobs.hold(session, job.id, job.fence)
        model = models.lock_model(session, job.model_id)
        if model.state == ModelState.FAILED:
            left = [row.id for row in checkpoints.candidates_of_model(session, model.id)]
            doom_checkpoints(session, model, left, job.request_id)
        checkpoints.clear_flags(session, job.request_id, job.model_id)
        mark_replaced(session, held)


def refuse(doors: Doors, run: MethodRun) -> None:
    """End a job none of whose attempts was accepted, and say so at its request; candidates stay for a waiver."""
    with doors.database.transaction(_actor(run.job)) as session:
        held = jobs.hold(session, run.job.id, run.job.fence)
        request = requests.lock_request(session, run.request.id)
        row = checkpoints.find_run(session, held.id)
        if row is not None:
            _end_run(session, row)
        jobs.move(session, held, JobEvent.FAILED, error_code=REFUSED, peak_memory_bytes=jobs.peak_memory_bytes())
        if request.state in (RequestState.SCHEDULED, RequestState.RUNNING, RequestState.VERIFYING):
            requests.move_request(session, request, RequestEvent.TROUBLED, wait_reason=WaitReason.JUDGEMENT_REFUSED)


def waived_candidate(doors: Doors, run: MethodRun) -> Row[Any] | None:
    """Return the candidate that a person's waiver lets be served, if there is one and it stands on the live version."""
    with doors.database.transaction() as session:
        waiver = checkpoints.waiver_for(session, run.request.id, run.model.id)
        if waiver is None:
            return None
        left = checkpoints.candidates_of(session, waiver.job_id)
        first = checkpoints.find_run(session, waiver.job_id)
    found = [row for row in left if row.attempt == waiver.attempt and row.object_digest is not None]
    return found[0] if found and first is not None and first.base_version == run.base.id else None


def publish_waived(doors: Doors, run: MethodRun, candidate: Row[Any]) -> None:
    """Let a candidate be served that the judge did not pass, because a named person answers for it.

    Raises:
        StaleFence, OvertakenByVersion: it comes too late.
    """
    with doors.database.transaction(_actor(run.job)) as session:
        held = jobs.hold(session, run.job.id, run.job.fence)
        request = requests.lock_request(session, run.request.id)
        model = models.lock_model(session, run.model.id)
        [made] = [
            row.account
            for row in checkpoints.attempts_of_run(session, candidate.job_id)
            if row.number == candidate.attempt
        ]
        _publish(session, held, request, model, run, candidate, {**made, "guarantee": Guarantee.WAIVED})


def _actor(job: Row[Any]) -> Actor:
    return Actor(ActorKind.WORKER, job.worker)
