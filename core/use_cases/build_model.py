"""Pre-train the backbone on the public rows, or draw one, unless it is cached; ask for every shard. Runs in a subprocess."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, update

from core.audit.entry import Actor, ActorKind
from core.datasets.schema import LanguageSchema, Schema, schema_from_json
from core.domain.checkpoint import Mode
from core.domain.errors import NoPublicPart
from core.domain.identifiers import new_identifier
from core.domain.job import JobEvent
from core.domain.model import Recipe
from core.persistence import datasets, jobs, models
from core.use_cases.doors import Doors
from core.use_cases.prove_checkpoint import prove_checkpoint
from core.use_cases.read_rows import PlainRows, read_rows
from core.use_cases.register_model import backbone_key, backbone_seed
from core.use_cases.shard_jobs import add_shard_job
from core.use_cases.workbench import Workbench


def build_model(job: Row[Any], *, doors: Doors, bench: Workbench) -> None:
    """Make sure that the model's backbone exists, then have every shard planned.

    Raises:
        StaleFence: another worker took the job over.
        NoPublicPart: every public row was erased since the model was registered.
        CheckpointRefused: a model in approximate mode is not what its architecture promises.
    """
    bench.clear()
    with doors.database.transaction() as session:
        model = models.get_model(session, job.model_id)
    if model.mode == Mode.APPROXIMATE:
        prove_checkpoint(job, doors=doors)
        return
    with doors.database.transaction() as session:
        key = present_backbone_key(session, model)
        cached = models.find_backbone(session, model.tenant_id, key) is not None
        blocks = [] if cached else datasets.live_blocks(session, model.dataset_id, public=True, version=1)
        dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
    made = None
    if not cached:
        schema = schema_from_json(dataset.schema if dataset is not None else {})
        rows = read_rows(doors, blocks, schema=schema)
        ready = Recipe.from_json(model.recipe).backbone.directory is not None
        if len(rows) == 0 and schema.needs_public_rows and not ready:
            raise NoPublicPart
        made = _pretrain(job, doors, model, key, (schema, rows))
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        models.lock_model(session, model.id)
        if made is not None:
            models.add_backbone(session, tenant_id=model.tenant_id, key=key, **made)
        session.execute(update(models.models).where(models.models.c.id == model.id).values(backbone_key=key))
        for shard in range(Recipe.from_json(model.recipe).shards):
            add_shard_job(session, doors, model, shard)
        jobs.move(session, held, JobEvent.CONCLUDED)


def present_backbone_key(session: Connection, model: Row[Any]) -> str:
    """Return the key of the backbone that the public rows of now give."""
    dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
    if dataset is None:
        raise NoPublicPart
    leaves = datasets.public_leaves(session, model.dataset_id)
    return backbone_key(Recipe.from_json(model.recipe), dataset, leaves)


def _pretrain(job: Row[Any], doors: Doors, model: Row[Any], key: str, rows: tuple[Schema, PlainRows]) -> dict[str, Any]:
    from core.modelling.determinism import environment, pinned
    from core.modelling.tensors import to_bytes
    from core.unlearning.exact.backbone import backbone_digest
    from core.use_cases.make_backbone import make_backbone

    pinned(doors.settings.trainer_threads)
    recipe = Recipe.from_json(model.recipe).backbone
    schema, public = rows

    def report(epoch: int) -> None:
        with doors.database.transaction() as session:
            progress = {"stage": "backbone", "done": epoch, "total": recipe.epochs}
            jobs.report_progress(session, job.id, job.fence, progress)

    tensors = make_backbone(public, schema, recipe, seed=backbone_seed(key), settings=doors.settings, progress=report)
    # Public rows teach a head, and a language model has none.
    records = 0 if isinstance(schema, LanguageSchema) else len(public)
    learned: dict[str, Any] = {"records": records, "epochs": recipe.epochs if records else 0}
    if recipe.directory_digest is not None:
        learned["directory_digest"] = recipe.directory_digest
    data_key_id = new_identifier("bbk")
    return {
        "digest": backbone_digest(tensors),
        "object_digest": doors.put_sealed(data_key_id, to_bytes(tensors)),
        "data_key_id": data_key_id,
        "training": {"environment": environment(), **learned},
    }
