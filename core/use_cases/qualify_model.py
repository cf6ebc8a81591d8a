"""Put the judge to the test on a checkpoint's recipe: planted canaries, oracles, controls, and every method of its policy.

    rows ─▶ canaries planted ─▶ original · K oracles · controls · witness ─▶ qualify ─▶ each method judged by the oracles

Runs in a subprocess, and costs as many trainings as it says. The witness is a model that saw neither what will be asked to
be forgotten nor what is held out: it was trained on the test half of the evaluation rows, and serves every later request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from core.audit.entry import Actor, ActorKind
from core.domain.checkpoint import CheckpointRecipe
from core.domain.deletion import RequestKind
from core.domain.errors import CheckpointRefused, MethodFailed, MethodNeedsUnmet, ModelNotServed, StaleFence
from core.domain.identifiers import new_identifier
from core.domain.job import JobEvent
from core.methods.menu import find
from core.methods.policy import UnlearningPolicy, policy_from_json
from core.persistence import checkpoints, drafts, jobs, models
from core.use_cases.check_needs import check_verification, require_training
from core.use_cases.doors import Doors
from core.use_cases.draft_keys import add_draft, destroy_draft
from core.use_cases.workbench import Workbench
from core.verification.oracles import judge_against_oracles
from core.verification.policy import Policy
from core.verification.qualification import qualify

if TYPE_CHECKING:
    from torch import nn

    from core.use_cases.plant_canaries import Nursery

FEWEST_CANARIES = 10
"""Of each half: with fewer nothing could be told."""


def qualify_model(job: Row[Any], *, doors: Doors, bench: Workbench) -> None:
    """Do one claimed job of the kind `qualify`.

    Raises:
        StaleFence: another worker took the job over.
        CheckpointRefused: nobody knows how it was trained, or there are too few rows.
    """
    from core.modelling.determinism import pinned

    bench.clear()
    pinned(doors.settings.trainer_threads)
    began = time.perf_counter()
    with doors.database.transaction() as session:
        model = models.get_model(session, job.model_id)
        served = checkpoints.live_checkpoint(session, model.id)
        buried = {bytes(record) for record in models.buried_in(session, model.id)}
    if served is None:
        raise ModelNotServed
    recipe = CheckpointRecipe.from_json(model.recipe)
    require_training(recipe)
    policy = policy_from_json(model.unlearning_policy, recipe.modality)
    account, witness = _put_to_the_test(job, doors, model, served, recipe, policy, buried)
    account["seconds"] = round(time.perf_counter() - began, 3)
    _keep(job, doors, model, recipe, account, witness)


def _put_to_the_test(  # noqa: PLR0913, PLR0917
    job: Row[Any],
    doors: Doors,
    model: Row[Any],
    served: Row[Any],
    recipe: CheckpointRecipe,
    policy: UnlearningPolicy,
    buried: set[bytes],
) -> tuple[dict[str, Any], bytes]:
    from core.use_cases.judge_candidate import Questions, typical_error
    from core.use_cases.open_checkpoint import halves, open_checkpoint, packed_network
    from core.use_cases.plant_canaries import Nursery, plant

    assert recipe.training is not None  # noqa: S101 - `require_training` saw to it
    opened = open_checkpoint(doors, model, served)
    rows = opened.samples(doors, model.dataset_id, version=model.dataset_version, drop=buried)
    _, test = halves(opened.samples(doors, recipe.evaluation or ""))
    planted = plant(rows, policy.canaries, recipe, seed=int(recipe.digest()[:7], 16))
    if min(len(planted.forget), len(test)) < FEWEST_CANARIES:
        raise CheckpointRefused("there are too few rows to plant canaries among, or too few that no training saw")
    wanted = check_verification(policy, recipe.modality)
    used = laxer(wanted, policy.oracles)
    told = _reporter(job, doors, total=policy.oracles + len(policy.methods) + 5)
    nursery = Nursery(recipe, recipe.training, opened.network, planted, told)
    original = nursery.original()
    scale = typical_error(original, test)
    questions = Questions(recipe.modality, planted.forget, planted.retain, test, planted.holdout, scale)
    oracles = [questions.evidence(one) for one in nursery.oracles(policy.oracles)]
    controls = {name: questions.evidence(one) for name, one in nursery.controls(original).items()}
    before = questions.evidence(original)
    found = qualify(before, oracles=oracles, controls=controls, policy=used)
    judgements = {}
    for name, made in _methods(nursery, original, policy):
        judgements[name] = (
            {"ending": made}
            if isinstance(made, str)
            else judge_against_oracles(
                questions.evidence(made), original=before, oracles=oracles, policy=used
            ).as_json()
        )
        told("method")
    witness = nursery.trained(test, 200, "witness")
    account = {
        "policy": used.as_json(),
        "asked_policy": wanted.digest(),
        "fewer_oracles": used is not wanted,
        "oracles": policy.oracles,
        "rows": {
            name: len(part) for name, part in vars(questions).items() if name in {"forget", "retain", "test", "holdout"}
        },
        "standing": found.standing,
        "digest": found.digest(),
        "qualification": found.as_json(),
        "methods": {name: str(one["ending"]) for name, one in judgements.items()},
        "judgements": judgements,
    }
    return account, packed_network(dict(witness.state_dict()))


def laxer(policy: Policy, oracles: int) -> Policy:
    """Return the policy itself, or with fewer oracles than it asks for the strictest one that they can bear."""
    if oracles >= policy.minimum_oracles:
        return policy
    level = max(policy.significance, 1 / (oracles + 1))
    return replace(policy, name=f"{policy.name}_fewer", minimum_oracles=oracles, significance=level)


def _methods(nursery: Nursery, original: nn.Module, policy: UnlearningPolicy) -> Any:
    """Yield each method of the policy with what it made of the planted original, or the word for why it made nothing."""
    from core.unlearning.approximate import artefacts
    from core.unlearning.approximate.kitchen import Task
    from core.unlearning.approximate.unlearn import order_for, unlearn
    from core.use_cases.attempt_method import read_into

    planted = nursery.planted
    for one in policy.methods:
        if find(one.method).kind is not RequestKind.DATA_DELETION:
            continue
        task = Task(
            model=original,
            modality=nursery.recipe.modality,
            forget=planted.forget,
            retain=planted.retain,
            holdout=planted.holdout,
            training_epochs=nursery.training.epochs,
        )
        try:
            if names := find(one.method).artefacts:
                task = artefacts.given(task, artefacts.make(task, names).tensors)
            outcome = unlearn(order_for(one.method, one.settings, seed=6), task)
        except (MethodFailed, MethodNeedsUnmet) as failed:
            yield one.method, failed.code
        else:
            yield one.method, read_into(original, outcome.tensors)


def _reporter(job: Row[Any], doors: Doors, *, total: int) -> Callable[[str], None]:
    done = 0

    def told(stage: str) -> None:
        nonlocal done
        done += 1
        progress = {"stage": stage, "done": done, "total": max(total, done)}
        with doors.database.transaction() as session:
            if not jobs.report_progress(session, job.id, job.fence, progress):
                raise StaleFence

    return told


def _keep(  # noqa: PLR0913, PLR0917
    job: Row[Any],
    doors: Doors,
    model: Row[Any],
    recipe: CheckpointRecipe,
    account: Mapping[str, Any],
    witness: bytes,
) -> None:
    key = new_identifier("ckk")
    draft = add_draft(doors, model.tenant_id, [key])
    try:
        sealed = doors.put_sealed(key, witness)
        with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
            held = jobs.hold(session, job.id, job.fence)
            models.lock_model(session, model.id)
            checkpoints.add_qualification(
                session,
                tenant_id=model.tenant_id,
                id=new_identifier("qua"),
                model_id=model.id,
                job_id=job.id,
                recipe=recipe.digest(),
                standing=account["standing"],
                account={**account, "witness": {"key_id": key, "object_digest": sealed}},
            )
            drafts.drop_draft(session, draft)
            jobs.move(session, held, JobEvent.CONCLUDED, peak_memory_bytes=jobs.peak_memory_bytes())
    finally:
        destroy_draft(doors, draft)
