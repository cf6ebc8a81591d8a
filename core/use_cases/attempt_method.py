"""Make one attempt: run a method on the opened checkpoint, from wherever an earlier worker stopped, and have it judged.

    rows ─▶ what the method needs computed before (kept, sealed) ─▶ unlearn (saved after epochs, sealed) ─▶ what every model answers ─▶ judge ─▶ accepted, or why not

Loads torch.
"""

from __future__ import annotations

import copy
import hashlib
import time
from dataclasses import dataclass
from typing import Any

import structlog
from torch import nn

from core.domain.errors import BadInput, MethodFailed, MethodNeedsUnmet, ObjectMissing, StaleFence
from core.faults import reach
from core.methods.policy import RETRAIN
from core.methods.routing import Step
from core.modelling.tensors import NamedTensors
from core.persistence import checkpoints, jobs
from core.unlearning.approximate.engine import Hooks, Outcome
from core.unlearning.approximate.kitchen import Live, Task
from core.unlearning.approximate.order import Order
from core.unlearning.approximate.unlearn import order_for, unlearn
from core.use_cases.doors import Doors
from core.use_cases.judge_attempt import Verdict, judge_attempt
from core.use_cases.keep_attribution import with_artefacts
from core.use_cases.open_desk import Desk
from core.use_cases.plan_method import MethodRun

log = structlog.get_logger()
SAVE_SECONDS = 1.0
"""How often a run's state is sealed and kept, at most."""
REPORT_SECONDS = 0.3


@dataclass(frozen=True)
class Attempt:
    """What came of one method."""

    number: int
    step: Step
    seed: int
    tensors: NamedTensors | None
    account: dict[str, Any]
    verdict: Verdict


def attempt_method(doors: Doors, run: MethodRun, desk: Desk, number: int, step: Step) -> Attempt:
    """Run one step of the plan and have it judged; a method that fails is an attempt that was not accepted.

    Raises:
        StaleFence: another worker took the job over.
    """
    seed = seed_of(run, number)
    order = order_for(step.choice.method, step.choice.settings, seed=seed)
    total = int(step.choice.settings.get("epochs", 1))
    hooks = _Reporter(doors, run, number, step.choice.method, total)
    base = {"number": number, **step.as_json(), "seed": seed}
    try:
        task, attribution = with_artefacts(doors, run, desk.task(), step.choice.method)
        outcome = _unlearned(order, task, _state(doors, run), hooks.hooks())
    except (MethodFailed, MethodNeedsUnmet) as failed:
        return Attempt(number, step, seed, None, base, Verdict.failed(failed.code))
    reach("after_method")
    made = read_into(desk.opened.network, outcome.tensors)
    verdict = judge_attempt(run, desk, made, outcome, retrained=step.choice.method == RETRAIN)
    return Attempt(number, step, seed, outcome.tensors, base | _account(outcome, desk, attribution), verdict)


def _unlearned(order: Order, task: Task, state: bytes | None, hooks: Hooks) -> Outcome:
    if state is not None:
        try:
            return unlearn(order, task, resume=state, hooks=hooks)
        except BadInput:
            log.info("method.begun_anew")  # rows were erased since the state was saved, so it is another run's
    return unlearn(order, task, hooks=hooks)


def seed_of(run: MethodRun, number: int) -> int:
    """Return the seed of an attempt: the same for whoever takes the job over."""
    name = f"{run.request.id}/{run.model.id}/{run.job.id}/{number}"
    return int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)


def read_into(like: nn.Module, tensors: NamedTensors) -> nn.Module:
    """Return a network of the same shape with these tensors."""
    network = copy.deepcopy(like)
    network.load_state_dict(tensors)
    return network.eval()


def _account(outcome: Outcome, desk: Desk, attribution: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "run": outcome.manifest["run"],
        "result": outcome.manifest["result"],
        "environment": outcome.manifest["environment"],
        "rows": outcome.manifest["rows"],
        "ended": outcome.ended,
        "pruned": len(outcome.pruned),
        "cost": {**outcome.cost.as_json(), "attribution": attribution},
        "metrics": outcome.history[-1].as_json() if outcome.history else None,
        "audited": {
            "records": len(desk.audited),
            "formerly_forgotten": len(desk.audited) - len(desk.forget),
            "formerly_forgotten_unreadable": desk.unreadable,
        },
    }


def _state(doors: Doors, run: MethodRun) -> bytes | None:
    with doors.database.transaction() as session:
        row = checkpoints.find_run(session, run.job.id)
    if row is None or row.state_digest is None:
        return None
    try:
        return doors.get_sealed(row.data_key_id, row.state_digest)
    except ObjectMissing:
        return None


class _Reporter:
    """Says where a run stands, keeps its state sealed, and stops what another worker does now."""

    def __init__(self, doors: Doors, run: MethodRun, number: int, method: str, total: int) -> None:
        self.doors, self.run, self.number, self.method, self.total = doors, run, number, method, total
        self.said = self.saved = time.monotonic()

    def hooks(self) -> Hooks:
        return Hooks(progress=self.report, save=self.save)

    def report(self, live: Live) -> None:
        if time.monotonic() - self.said < REPORT_SECONDS:
            return
        self.said = time.monotonic()
        told = {"stage": "method", "method": self.method, "attempt": self.number, "done": live.epochs_done}
        numbers = {name: value for name, value in live.as_json().items() if name.endswith(("_loss", "_score"))}
        progress = {**told, "total": max(self.total, live.epochs_done), "metrics": numbers}
        with self.doors.database.transaction() as session:
            if not jobs.report_progress(session, self.run.job.id, self.run.job.fence, progress):
                raise StaleFence

    def save(self, state: bytes) -> None:
        if time.monotonic() - self.saved < SAVE_SECONDS:
            return
        self.saved = time.monotonic()
        digest = self.doors.put_under(self.run.row.data_key_id, state)
        with self.doors.database.transaction() as session:
            jobs.hold(session, self.run.job.id, self.run.job.fence)
            row = checkpoints.find_run(session, self.run.job.id)
            checkpoints.save_state(session, self.run.job.id, self.run.job.fence, digest)
        if row is not None and row.state_digest not in {None, digest}:
            self.doors.store.delete(row.state_digest)
        reach("after_state_saved")
