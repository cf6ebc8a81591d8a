"""Compute what a method needs computed before it runs, keep it sealed with the run, and find it again. Loads torch.

    inputs' digest ─▶ kept by a run on this model? ─▶ opened
                   └▶ computed ─▶ sealed under a key of its own ─▶ committed under fence and lock, if the version still is served

An attribution says what rows contributed, those to be forgotten among them: it is no less personal than the weights. It is found by
the digest of model and rows, so no other training set's is ever used, and it dies with the version that it was computed from:
whoever replaces that orders its key dead in the same commit (`publish_checkpoint`).
"""

from __future__ import annotations

from typing import Any

from core.audit.entry import Actor, ActorKind
from core.domain.errors import KeyDestroyed, ObjectMissing, OvertakenByVersion, StaleFence
from core.domain.identifiers import new_identifier
from core.faults import reach
from core.methods.menu import find
from core.modelling.tensors import NamedTensors, from_bytes, to_bytes
from core.persistence import checkpoints, drafts, jobs, models, versions
from core.unlearning.approximate import artefacts
from core.unlearning.approximate.artefacts import Artefacts
from core.unlearning.approximate.kitchen import Task
from core.use_cases.doors import Doors
from core.use_cases.draft_keys import add_draft, destroy_draft
from core.use_cases.plan_method import MethodRun
from core.use_cases.publish_checkpoint import doom_attributions

Account = dict[str, Any]


def with_artefacts(doors: Doors, run: MethodRun, task: Task, method: str) -> tuple[Task, Account | None]:
    """Return the task with what the method needs computed before, and what that cost; None where it needs nothing.

    Raises:
        Diverged: what was computed is not finite.
        StaleFence, OvertakenByVersion: it comes too late, and nothing is kept.
    """
    names = find(method).artefacts
    if not names:
        return task, None
    inputs = artefacts.inputs_digest(task, names)
    kept = _kept(doors, run, inputs)
    if kept is not None:
        tensors, account = kept
        return artefacts.given(task, tensors), {**account, "reused": True}
    _report(doors, run, method)
    made = artefacts.make(task, names)
    account = {"inputs": inputs, **made.cost.as_json()}
    _keep(doors, run, made, account)
    return artefacts.given(task, made.tensors), {**account, "reused": False}


def _report(doors: Doors, run: MethodRun, method: str) -> None:
    with doors.database.transaction() as session:
        if not jobs.report_progress(session, run.job.id, run.job.fence, {"stage": "attribution", "method": method}):
            raise StaleFence


def _kept(doors: Doors, run: MethodRun, inputs: str) -> tuple[NamedTensors, Account] | None:
    with doors.database.transaction() as session:
        rows = checkpoints.attributions_of(session, run.model.id)
    for row in rows:
        if row.attribution["account"]["inputs"] != inputs:
            continue
        try:
            content = doors.get_sealed(row.attribution["key_id"], row.attribution["object_digest"])
        except (KeyDestroyed, ObjectMissing):
            continue  # another request's commit ordered it dead since the rows were read
        return from_bytes(content), row.attribution["account"]
    return None


def _keep(doors: Doors, run: MethodRun, made: Artefacts, account: Account) -> None:
    key = new_identifier("ckk")
    draft = add_draft(doors, run.model.tenant_id, [key])
    sealed = None
    try:
        sealed = doors.put_sealed(key, to_bytes(made.tensors))
        reach("after_attribution_sealed")
        _commit(doors, run, draft, {"key_id": key, "object_digest": sealed, "account": account})
    except (StaleFence, OvertakenByVersion):
        if sealed is not None:
            doors.store.delete(sealed)
        raise
    finally:
        destroy_draft(doors, draft)
    reach("after_attribution_kept")


def _commit(doors: Doors, run: MethodRun, draft: str, attribution: dict[str, Any]) -> None:
    with doors.database.transaction(Actor(ActorKind.WORKER, run.job.worker)) as session:
        jobs.hold(session, run.job.id, run.job.fence)
        model = models.lock_model(session, run.model.id)
        live = versions.live_version(session, model.id)
        if live is None or live.id != run.base.id:
            raise OvertakenByVersion
        # A run keeps one: where rows were erased between two looks, the one before is of rows that are gone.
        doom_attributions(session, model, run.request.id, job_id=run.job.id)
        checkpoints.keep_attribution(session, run.job.id, attribution)
        drafts.drop_draft(session, draft)
