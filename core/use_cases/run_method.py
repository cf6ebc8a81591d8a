"""Make a checkpoint forget, top to bottom: plan, run, judge, keep, and fall back when the judge refuses. Runs in a subprocess.

    claimed job ─▶ plan ─▶ ┌ method ─▶ judge ┐ ─▶ accepted: new version live ─▶ concluded as deletions are
                           └─── next one ◀───┘ ─▶ none accepted: needs_attention, candidates kept for a waiver

Every attempt is committed under the job's fence with what the judge said. kill -9 anywhere leaves the old version live or
the new one, and whoever takes over goes on from the last saved epoch to the same bits.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.audit.entry import Actor, ActorKind
from core.domain.errors import KeyDestroyed, ModelNotServed
from core.faults import reach
from core.persistence import checkpoints, jobs
from core.use_cases.doors import Doors
from core.use_cases.plan_method import MethodRun, plan_method
from core.use_cases.settle_method import keep_attempt, publish_waived, refuse, settle_nothing, waived_candidate
from core.use_cases.workbench import Workbench

PROOF_SECONDS = 1.0
"""How long a job waits before it looks again whether its checkpoint was proved to load."""


def run_method(job: Row[Any], *, doors: Doors, bench: Workbench) -> None:
    """Do one claimed job of the kind `run_method`.

    Raises:
        StaleFence: another worker took the job over.
        OvertakenByVersion: another version went live meanwhile; the job is tried again from that.
    """
    from core.modelling.determinism import pinned

    bench.clear()
    pinned(doors.settings.trainer_threads)
    try:
        run = plan_method(job, doors)
    except ModelNotServed:
        _wait_for_the_proof(job, doors)
        return
    if run is None:
        settle_nothing(job, doors)
        return
    candidate = waived_candidate(doors, run)
    if candidate is not None:
        publish_waived(doors, run, candidate)
        return
    doors.keys.get_or_create(run.row.data_key_id)  # its name was committed before
    reach("after_run_begun")
    if not _tried(doors, run):
        refuse(doors, run)


def _wait_for_the_proof(job: Row[Any], doors: Doors) -> None:
    """Let the job wait for the one that proves the checkpoint; no attempt is spent on that."""
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        jobs.hand_back(session, jobs.hold(session, job.id, job.fence), seconds=PROOF_SECONDS)


def _tried(doors: Doors, run: MethodRun) -> bool:
    """Go through the plan's steps that were not tried yet; say whether one was accepted."""
    from core.use_cases.attempt_method import attempt_method
    from core.use_cases.open_desk import open_desk

    with doors.database.transaction() as session:
        done = len(checkpoints.attempts_of_run(session, run.job.id)) - run.first
    if done >= len(run.steps):
        return False
    try:
        desk = open_desk(doors, run)
    except KeyDestroyed:
        # Another request erased rows between the two looks; the plan is right, the next look finds what is left.
        desk = open_desk(doors, run)
    for number, step in enumerate(run.steps[done:], start=run.first + done):
        attempt = attempt_method(doors, run, desk, number, step)
        keep_attempt(doors, run, attempt)
        if attempt.verdict.accepted:
            return True
    return False
