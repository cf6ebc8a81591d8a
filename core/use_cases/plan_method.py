"""Begin a run of methods on a checkpoint: what is to be forgotten, what may be tried, and where an earlier worker stopped.

Torch-free. A run belongs to its job; a worker that takes the job over finds the plan, the attempts that were made and the
state of the present one. It goes by the policy that it was planned under, whatever the model's policy became since. When
another version went live meanwhile, it is planned anew from that, under the policy that holds then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.domain.checkpoint import CheckpointRecipe
from core.domain.deletion import RequestEvent, RequestKind, RequestState
from core.domain.errors import ModelNotServed
from core.domain.identifiers import new_identifier
from core.domain.model import ModelState
from core.methods.policy import Choice, UnlearningPolicy, policy_from_json
from core.methods.routing import Plan, Situation, Step, Why, route
from core.persistence import checkpoints, datasets, jobs, models, requests, versions
from core.use_cases.check_needs import artefacts, check_verification, offered, retrain_choice
from core.use_cases.count_rows import count_rows
from core.use_cases.doors import Doors
from core.verification.policy import Policy
from core.verification.policy import policy_from_json as verification_from_json
from core.verification.qualification import Standing

KEPT_POLICY = "rules"
"""Where a run's plan keeps the whole policy, beside its digest."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """By which policy a request is judged, and whether that judge was seen to be fit."""

    policy: Policy
    qualification: Row[Any] | None
    """The newest one that holds for this recipe and found the judge fit."""

    @property
    def account(self) -> dict[str, Any]:
        """What the qualification found; empty without one."""
        return {} if self.qualification is None else dict(self.qualification.account)


@dataclass(frozen=True, kw_only=True)
class MethodRun:
    """A request on one checkpoint, as far as it is known before anything runs."""

    job: Row[Any]
    request: Row[Any]
    model: Row[Any]
    recipe: CheckpointRecipe
    policy: UnlearningPolicy
    judge: Judge
    base: Row[Any]
    """The version that is served."""
    checkpoint: Row[Any]
    """Its tensors."""
    forget: frozenset[bytes]
    """References of the records that are to be forgotten and were not before."""
    formerly: frozenset[bytes]
    """Of those that were forgotten before."""
    steps: tuple[Step, ...]
    first: int
    """Number of the first step's attempt."""
    row: Row[Any]
    """Of the run."""

    @property
    def concept(self) -> str | None:
        """Identifier of the data set that shows a concept; None for a deletion."""
        return None if self.request.kind == RequestKind.DATA_DELETION else str(self.request.unlearning["concept"])


def plan_method(job: Row[Any], doors: Doors) -> MethodRun | None:
    """Return the run of a claimed job; None when the request asks for nothing that was not done before, or the model is none.

    Raises:
        StaleFence: another worker took the job over.
        ModelNotServed: the checkpoint was not yet proved to load.
    """
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        request = requests.lock_request(session, job.request_id)
        if request.state == RequestState.SCHEDULED:
            requests.move_request(session, request, RequestEvent.STARTED)
            request = requests.lock_request(session, job.request_id)
        model = models.lock_model(session, job.model_id)
        base = versions.live_version(session, model.id)
        served = checkpoints.live_checkpoint(session, model.id)
        if base is None or served is None:
            if model.state == ModelState.FAILED:
                return None  # it never loaded, so nobody was ever served by it; its weights die as the job is settled
            raise ModelNotServed
        named = {bytes(row.record) for row in requests.records_of_request(session, request.id, model.dataset_id)}
        graves = {bytes(row.record) for row in models.graves(session, model.id, named)}
        formerly = {bytes(record) for record in models.buried_in(session, model.id)}
        # What came with a later version of the data set than the checkpoint learned was never in it.
        forget = named - graves - datasets.added_after(session, model.dataset_id, named, model.dataset_version)
        if request.kind == RequestKind.DATA_DELETION and not forget:
            return None
        recipe = CheckpointRecipe.from_json(model.recipe)
        row = checkpoints.find_run(session, job.id)
        planned = row is not None and row.base_version == base.id
        policy = _policy(model, recipe, row if planned else None)
        judge = _judge(session, model, recipe, policy)
        if row is None or not planned:
            rows = count_rows(session, model, drop=formerly | named)
            wanted = len(forget) or count_rows(session, model, dataset_id=_concept(request))
            plan = _plan(session, model, request, recipe, policy, judge, served, forget=wanted, retain=rows)
            row = _begin(session, held, request, base, plan, policy, row)
        return MethodRun(
            job=held,
            request=request,
            model=model,
            recipe=recipe,
            policy=policy,
            judge=judge,
            base=base,
            checkpoint=served,
            forget=frozenset(forget),
            formerly=frozenset(formerly),
            steps=tuple(_step(one) for one in row.plan["steps"]),
            first=row.plan["first"],
            row=row,
        )


def _concept(request: Row[Any]) -> str | None:
    return None if request.kind == RequestKind.DATA_DELETION else request.unlearning["concept"]


def preview_plan(session: Connection, model: Row[Any], named: set[bytes], request: Any = None) -> Plan:
    """Return what would be tried if these records were to be forgotten now.

    Args:
        session: any transaction.
        model: in approximate mode.
        named: references of the records.
        request: its kind and what it says of methods; None: a plain deletion.
    """
    recipe = CheckpointRecipe.from_json(model.recipe)
    policy = policy_from_json(model.unlearning_policy, recipe.modality)
    judge = _judge(session, model, recipe, policy)
    served = checkpoints.live_checkpoint(session, model.id)
    formerly = set(map(bytes, models.buried_in(session, model.id)))
    rows = count_rows(session, model, drop=formerly | named)
    asked = request or SimpleNamespace(kind=RequestKind.DATA_DELETION, unlearning=None)
    return _plan(session, model, asked, recipe, policy, judge, served, forget=len(named - formerly), retain=rows)


def judge_of(session: Connection, model: Row[Any], run: Row[Any] | None) -> Judge:
    """Return by which policy a run is judged, and whether that judge is qualified; without a run, a model's next one."""
    recipe = CheckpointRecipe.from_json(model.recipe)
    return _judge(session, model, recipe, _policy(model, recipe, run))


def _policy(model: Row[Any], recipe: CheckpointRecipe, run: Row[Any] | None) -> UnlearningPolicy:
    """Return the policy that a run was planned under, whatever the model's says since; without a run, the model's."""
    # A run that was planned before runs kept their policy has none in its plan.
    kept = None if run is None else run.plan.get(KEPT_POLICY)
    return policy_from_json(kept or model.unlearning_policy, recipe.modality)


def _judge(session: Connection, model: Row[Any], recipe: CheckpointRecipe, policy: UnlearningPolicy) -> Judge:
    wanted = check_verification(policy, recipe.modality)
    found = checkpoints.latest_qualification(session, model.id)
    if found is None or found.recipe != recipe.digest() or found.standing != Standing.QUALIFIED:
        return Judge(policy=wanted, qualification=None)
    if found.account["asked_policy"] != wanted.digest():
        return Judge(policy=wanted, qualification=None)
    # With fewer oracles than the policy asks for, the judge that was put to the test is a laxer one, and that one judges.
    return Judge(policy=verification_from_json(json.dumps(found.account["policy"])), qualification=found)


def _plan(  # noqa: PLR0913, PLR0917
    session: Connection,
    model: Row[Any],
    request: Any,
    recipe: CheckpointRecipe,
    policy: UnlearningPolicy,
    judge: Judge,
    served: Row[Any] | None,
    *,
    forget: int,
    retain: int,
) -> Plan:
    asked = (request.unlearning or {}).get("method")
    situation = Situation(
        modality=recipe.modality,
        kind=RequestKind(request.kind),
        offered=offered(recipe),
        artefacts=artefacts(recipe),
        forget=forget,
        retain=retain,
        training_epochs=None if recipe.training is None else recipe.training.epochs,
        qualified=judge.qualification is not None,
        endings=judge.account.get("methods", {}),
        measured=checkpoints.measured_costs(session, model.id),
        drift=0.0 if served is None else served.drift,
        asked_for=None if asked is None else Choice(**asked),
    )
    return route(policy, situation, retrain_choice(recipe))


def _begin(  # noqa: PLR0913, PLR0917
    session: Connection,
    job: Row[Any],
    request: Row[Any],
    base: Row[Any],
    plan: Plan,
    policy: UnlearningPolicy,
    old: Row[Any] | None,
) -> Row[Any]:
    first = len(checkpoints.attempts_of_run(session, job.id))
    written = {**plan.as_json(), KEPT_POLICY: policy.as_json(), "first": first}
    if old is not None:
        checkpoints.restart_run(session, job.id, base_version=base.id, plan=written)
    else:
        checkpoints.begin_run(
            session,
            tenant_id=job.tenant_id,
            job_id=job.id,
            model_id=job.model_id,
            request_id=request.id,
            base_version=base.id,
            data_key_id=new_identifier("ckk"),
            plan=written,
            fence=job.fence,
        )
    row = checkpoints.find_run(session, job.id)
    assert row is not None  # noqa: S101 - it was written just now
    return row


def _step(value: dict[str, Any]) -> Step:
    choice = Choice(method=value["method"], settings=value["settings"])
    return Step(choice=choice, why=Why(value["why"]), cost_share=value["cost_share"])
