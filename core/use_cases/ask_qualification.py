"""Ask for a checkpoint's judge to be put to the test, and read what came of it. Torch-free."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from core.domain.access import Caller, Scope
from core.domain.checkpoint import CheckpointRecipe, Mode
from core.domain.errors import ModelNotFound, QualificationNotFound, WrongMode
from core.domain.identifiers import new_identifier
from core.domain.job import JobKind
from core.persistence import checkpoints, jobs, models
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.check_needs import require_training
from core.use_cases.describe_checkpoint import describe_checkpoint, describe_qualification
from core.use_cases.doors import Doors


def ask_qualification(model: str, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Ask for a qualification by the model's present policy; one that waits already is enough.

    Raises:
        ModelNotFound: the tenant has none such.
        WrongMode: it was trained in slices, and needs no judge.
        CheckpointRefused: nobody knows how it was trained, or no rows are known that no training saw.
    """
    caller.require(Scope.MODELS_WRITE)

    def ask(session: Connection) -> Answer:
        found = models.find_model(session, caller.tenant_id, model)
        if found is None:
            raise ModelNotFound
        if found.mode != Mode.APPROXIMATE:
            raise WrongMode("a model that was trained in slices is proved, not judged")
        require_training(CheckpointRecipe.from_json(found.recipe))
        jobs.add_job(
            session,
            tenant_id=found.tenant_id,
            id=new_identifier("job"),
            kind=JobKind.QUALIFY,
            subject=f"{found.id}/qualify",
            model_id=found.id,
            max_attempts=doors.settings.max_attempts,
        )
        return Answer(status=202, body=describe_checkpoint(session, found))

    return answer_once(doors, caller, once, ask)


def read_qualification(model: str, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return the newest qualification of a model, whole.

    Raises:
        ModelNotFound, QualificationNotFound: there is none such.
    """
    caller.require(Scope.MODELS_READ)
    with doors.database.transaction() as session:
        found = models.find_model(session, caller.tenant_id, model)
        if found is None:
            raise ModelNotFound
        row = checkpoints.latest_qualification(session, found.id)
    if row is None or found.mode != Mode.APPROXIMATE:
        raise QualificationNotFound
    shown = {name: value for name, value in row.account.items() if name != "witness"}
    return {
        "object": "qualification",
        **describe_qualification(row, CheckpointRecipe.from_json(found.recipe)),
        "account": shown,
    }
