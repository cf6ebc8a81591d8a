"""Try again what was given up or cancelled: have every shard of a model planned, or its backbone built, anew."""

from __future__ import annotations

from sqlalchemy import Connection

from core.domain.access import Caller, Scope
from core.domain.checkpoint import Mode
from core.domain.errors import ModelNotFound, WrongMode
from core.domain.model import Recipe
from core.persistence import models
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.read_models import describe_model
from core.use_cases.register_model import add_build_job
from core.use_cases.shard_jobs import add_shard_job, wants_training


def repair_model(model: str, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Ask for whatever the model lacks, and answer with the model; what waits already is enough.

    Args:
        model: id or name.
        caller: whoever asks.
        once: makes a repeat safe.
        doors: the outside.

    Raises:
        ModelNotFound: the tenant has none such.
        IdempotencyKeyReused: the key was used for another model.
    """
    caller.require(Scope.MODELS_WRITE)

    def repair(session: Connection) -> Answer:
        found = models.find_model(session, caller.tenant_id, model)
        if found is None:
            raise ModelNotFound
        if found.mode != Mode.EXACT:
            raise WrongMode("only models that were trained in slices are repaired")
        held = models.lock_model(session, found.id)
        if models.find_backbone(session, held.tenant_id, held.backbone_key) is None:
            add_build_job(session, doors, held.tenant_id, held.id)
        else:
            if not wants_training(doors, held):
                # Its policy stays as it is; asking is enough for this once.
                models.repair_once(session, held.id, wanted=True)
            for shard in range(Recipe.from_json(held.recipe).shards):
                add_shard_job(session, doors, held, shard)
        return Answer(status=202, body=describe_model(session, held))

    return answer_once(doors, caller, once, repair)
