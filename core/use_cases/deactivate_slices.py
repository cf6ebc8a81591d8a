"""Switch off every node that saw the deleted records, and make what is left the live version: one transaction, no torch.

    claimed job ─▶ tombstones ─▶ slice epochs +1 ─▶ nodes dead ─▶ manifest ─▶ alias ─▶ ledger of keys ─▶ log ─▶ commit

After the commit nothing that the model serves is a function of the deleted records (E1, DESIGN §4.4). Killed anywhere
before it, nothing has happened. `conclude_deletion` then destroys the keys and certifies.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.domain.deletion import RequestEvent, RequestState
from core.domain.job import JobEvent
from core.faults import reach
from core.lattice.placement import Place
from core.lattice.survival import switched_off
from core.persistence import audit, datasets, job_questions, jobs, models, nodes, requests, versions
from core.persistence.requests import ErasureKind
from core.use_cases.doors import Doors
from core.use_cases.keep_remainders import keep_remainders
from core.use_cases.publish_version import publish_version
from core.use_cases.resolve_subjects import placed
from core.use_cases.shard_jobs import add_shard_job, wants_training
from core.use_cases.spend_budget import earn


def deactivate_slices(job: Row[Any], *, doors: Doors) -> None:
    """Bring one claimed job from running to verifying.

    Raises:
        StaleFence: another worker took the job over; nothing was changed.
    """
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        request = requests.lock_request(session, job.request_id)
        if request.state == RequestState.SCHEDULED:
            requests.move_request(session, request, RequestEvent.STARTED)
        if job.model_id:
            _forget_in_model(session, doors, held, request)
        jobs.move(session, held, JobEvent.UNLEARNED)
        request = requests.lock_request(session, job.request_id)
        # With several models, the request waits for the last of them.
        others = [row for row in job_questions.work_of_request(session, request.id) if row.id != job.id]
        if all(row.state in ("verifying", "done") for row in others) and request.state == RequestState.RUNNING:
            requests.move_request(session, request, RequestEvent.INFLUENCE_FREE)
        audit.flush(session)
        reach("after_log_append")
    reach("after_influence_free")


def _forget_in_model(session: Connection, doors: Doors, job: Row[Any], request: Row[Any]) -> None:
    model = models.lock_model(session, job.model_id)
    rows = requests.records_of_request(session, request.id, model.dataset_id)
    dead = placed(doors, model, rows)
    fresh = set(models.bury(session, tenant_id=model.tenant_id, model_id=model.id, request_id=request.id, dead=dead))
    reach("after_tombstones")
    # What came with a later version than the model learns from is buried as well, so that it never will be learned.
    beyond = datasets.added_after(session, model.dataset_id, fresh, model.dataset_version)
    struck = {Place(one.shard, one.slice) for one in dead if one.record in fresh - beyond}
    models.raise_epochs(session, model.id, {(where.shard, where.slice) for where in struck})
    reach("after_epochs")
    live = nodes.live_nodes(session, model.id)
    lost = nodes.switch_off(
        session,
        model.id,
        [node.key for node in switched_off([nodes.as_entry(row) for row in live], struck)],
        request.id,
    )
    doomed = [(node.data_key_id, node.object_digest) for node in lost]
    doomed += [(row.data_key_id, None) for row in switched_off(nodes.drafts_of(session, model.id), struck)]
    common = {"tenant_id": model.tenant_id, "kind": ErasureKind.NODE, "request_id": request.id}
    requests.order_erasures(
        session, ({**common, "key_id": key_id, "object_digest": digest} for key_id, digest in doomed)
    )
    gone = {one.record for one in dead}
    renewed = keep_remainders(session, doors, job=job, model=model, lost=lost, gone=gone)
    if struck:
        earn(session, model)
    if struck and wants_training(doors, model):
        for shard in sorted({where.shard for where in struck}):
            add_shard_job(session, doors, model, shard)
    if struck and versions.live_version(session, model.id) is not None:
        provenance = {"reason": "deletion", "request": request.id, "job": job.id, "fence": job.fence}
        publish_version(session, model, provenance=provenance, struck=struck, renewed=renewed)
