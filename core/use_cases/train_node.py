"""Train one node of one shard, commit it under fence and epochs, and ask for what stands on it. Runs in a subprocess.

    wanted? ─▶ rows and parents from the bench ─▶ train ─▶ draft ─▶ seal ─▶ commit: node, children's jobs, version

The commit checks that no slice the node was fed has been touched since; a deletion that raced it wins. Deletions of
other slices do not matter to the node: it is committed, and the shard is planned anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.domain.errors import KeyDestroyed, LetheError, ObjectMissing, OvertakenByDeletion, StaleFence
from core.domain.identifiers import new_identifier
from core.domain.job import JobEvent
from core.domain.manifest import NodeEntry
from core.faults import reach
from core.persistence import budgets, jobs, models, nodes
from core.unlearning.exact.node_spec import NodeSpec
from core.use_cases.doors import Doors
from core.use_cases.shard_jobs import (
    REPAIR_OFF,
    forget_once,
    go_on,
    is_at_rest,
    publish_shards,
    resume,
    shard_of,
    wants_training,
)
from core.use_cases.shard_plan import ShardPlan
from core.use_cases.spend_budget import OVER_BUDGET, begin, settle
from core.use_cases.train_shard import give_way
from core.use_cases.workbench import Workbench

if TYPE_CHECKING:
    from core.unlearning.exact.training import TrainedNode

REPORT_SECONDS = 0.3
"""How often a training says where it stands, and asks whether it is still wanted."""


def train_node(job: Row[Any], *, doors: Doors, bench: Workbench) -> None:
    """Train the node that the job's subject names, unless it is not missing any more.

    Raises:
        StaleFence: another worker took the job over.
    """
    try:
        found = _look_up(job, doors, bench)
        if found is not None:
            _train(job, doors, bench, *found)
    except (OvertakenByDeletion, KeyDestroyed):
        bench.clear()
        give_way(job, doors)


def _look_up(job: Row[Any], doors: Doors, bench: Workbench) -> tuple[ShardPlan, NodeSpec] | None:
    """Return the node to train; None when nobody needs it: it is live, or a deletion or a shorter way overtook it.

    That is decided under the model's lock: whoever commits the node's parent either saw this job at work, and left the
    node to it, or sees that it ended, and asks again.
    """
    key = job.subject.rpartition("/")[2]
    while True:
        plan = bench.plan(doors, job.model_id, shard_of(job))
        with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
            held = jobs.hold(session, job.id, job.fence)
            model = models.lock_model(session, job.model_id)
            present = plan.refreshed(session)
            if present is None:
                continue  # a deletion came in between the two looks
            spec = _wanted(present, key)
            refused = _refused(session, doors, model, spec, held)
            if spec is not None and refused is None:
                return present, spec
            # It was not begun, so it costs nothing.
            budgets.settle(session, model.id, job.id, 0.0)
            jobs.move(session, held, JobEvent.CONCLUDED, error_code=refused)
            if is_at_rest(session, model, plan.shard):
                publish_shards(session, model, held)
            resume(session, doors, model)
            forget_once(session, model)
            return None


def _wanted(plan: ShardPlan, key: str) -> NodeSpec | None:
    live = {row.key for row in plan.live} | {None}
    first, rest = plan.steps()
    return next((spec for spec in first + rest if spec.key == key and spec.parent_key in live), None)


def _refused(session: Connection, doors: Doors, model: Row[Any], spec: NodeSpec | None, job: Row[Any]) -> str | None:
    """Return why a node is not trained now, in one word; None, with its cost reserved, when it is."""
    if spec is None:
        return jobs.SUPERSEDED
    if not wants_training(doors, model):
        return REPAIR_OFF
    return None if begin(session, model, spec, job) else OVER_BUDGET


def _train(job: Row[Any], doors: Doors, bench: Workbench, plan: ShardPlan, spec: NodeSpec) -> None:
    from core.modelling.determinism import pinned
    from core.use_cases.train_together import train_together

    pinned(doors.settings.trainer_threads)
    try:
        trained = train_together(doors, bench, plan, spec, progress=_reporter(job, doors, plan, spec))
    except ObjectMissing:
        with doors.database.transaction() as session:
            plan.refuse_overtaken(session, spec.slices)
        raise
    reach("after_training")
    _commit(job, doors, plan, spec, trained)
    reach("after_node_commit")
    bench.keep(spec.key, trained.tensors)


def _reporter(job: Row[Any], doors: Doors, plan: ShardPlan, spec: NodeSpec) -> Callable[[int], None]:
    """Return what to call after each epoch: it says how far the node is, and stops what would be for nothing."""
    said = time.monotonic()

    def report(epoch: int) -> None:
        nonlocal said
        if time.monotonic() - said < REPORT_SECONDS:
            return
        said = time.monotonic()
        with doors.database.transaction() as session:
            plan.refuse_overtaken(session, spec.slices)
            progress = {"stage": "node", "done": epoch, "total": plan.recipe.epochs}
            if not jobs.report_progress(session, job.id, job.fence, progress):
                raise StaleFence

    return report


def _commit(job: Row[Any], doors: Doors, plan: ShardPlan, spec: NodeSpec, trained: TrainedNode) -> None:
    from core.modelling.tensors import to_bytes

    data_key_id, object_digest = new_identifier("nod"), None
    with doors.database.transaction() as session:
        # Before the key exists: whatever becomes of this worker, somebody knows its name and destroys it.
        jobs.hold(session, job.id, job.fence)
        models.lock_model(session, plan.model.id)
        plan.refuse_overtaken(session, spec.slices)
        nodes.add_draft(
            session,
            tenant_id=plan.model.tenant_id,
            data_key_id=data_key_id,
            model_id=plan.model.id,
            shard=spec.shard,
            slices=list(spec.slices),
            job_id=job.id,
            fence=job.fence,
        )
    reach("after_draft")
    try:
        with doors.database.transaction() as session:
            # Under the model's lock: no deletion orders the key dead before there is one.
            models.lock_model(session, plan.model.id)
            plan.refuse_overtaken(session, spec.slices)
            doors.make_key(data_key_id)
        object_digest = doors.put_under(data_key_id, to_bytes(trained.tensors))
        reach("after_seal")
        sealed = {"data_key_id": data_key_id, "object_digest": object_digest}
        _keep(job, doors, plan, spec, trained, sealed)
    except LetheError:
        # Refused, so surely not committed. After any other error it may have been; then the draft's row decides.
        doors.keys.destroy([data_key_id])
        if object_digest is not None:
            doors.store.delete(object_digest)
        raise


def _keep(  # noqa: PLR0913, PLR0917 - everything that one commit says
    job: Row[Any], doors: Doors, plan: ShardPlan, spec: NodeSpec, trained: TrainedNode, sealed: dict[str, str]
) -> None:
    from core.modelling.determinism import device_of, environment

    entry = NodeEntry(
        key=spec.key,
        shard=spec.shard,
        slices=spec.slices,
        slice_roots=spec.slice_roots,
        parent=spec.parent_key,
        canonical=spec.canonical,
        data_digest=trained.data_digest,
        tensor_digest=trained.tensor_digest,
    )
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        model = models.lock_model(session, plan.model.id)
        plan.refuse_overtaken(session, spec.slices)
        nodes.add_node(
            session,
            entry,
            **sealed,
            tenant_id=model.tenant_id,
            model_id=model.id,
            dataset_version=plan.model.dataset_version,
            job_id=job.id,
            fence=job.fence,
            records=trained.records,
            epochs=trained.epochs,
            seconds=trained.seconds,
            environment=environment(device_of(doors.settings.trainer_device)),
        )
        nodes.drop_draft(session, sealed["data_key_id"])
        settle(session, model, spec, job, trained.seconds)
        total = plan.recipe.epochs
        progress = {"stage": "node", "done": total, "total": total}
        jobs.move(session, held, JobEvent.CONCLUDED, progress=progress, peak_memory_bytes=jobs.peak_memory_bytes())
        go_on(session, doors, model, plan, spec, held)
