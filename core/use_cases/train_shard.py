"""Train or repair one shard until it has every node that a fresh build has. Runs in a fresh subprocess.

    what is missing? ─▶ rows of the shard ─▶ node by node: train, seal, commit under fence and epochs ─▶ publish

After a deletion the first nodes bring the shard back to full depth (provisional), the rest back to what a fresh build
on the retained records gives (canonical, DESIGN §4.7). Every commit checks that no slice it was fed has been touched
since; a deletion that raced it wins, and the shard's next job starts from what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.datasets.schema import ImageSchema
from core.domain.errors import KeyDestroyed, LetheError, OvertakenByDeletion
from core.domain.identifiers import new_identifier
from core.domain.job import JobEvent
from core.domain.manifest import NodeEntry
from core.domain.model import ModelState, Recipe
from core.lattice.families import Family, build_family
from core.lattice.placement import Place
from core.persistence import datasets, jobs, models, nodes, versions
from core.unlearning.exact.node_spec import NodeSpec, ShardGround
from core.unlearning.exact.repair import missing_nodes, provisional_extension
from core.use_cases.deactivate_slices import add_shard_job
from core.use_cases.doors import Doors
from core.use_cases.publish_version import publish_version
from core.use_cases.read_rows import PlainRows, read_rows
from core.use_cases.shard_members import slice_leaves

if TYPE_CHECKING:
    from core.unlearning.exact.activations import SliceActivations
    from core.unlearning.exact.nodes import NodeTensors
    from core.unlearning.exact.training import TrainedNode

OVERTAKEN_SECONDS = 0.5
"""How long a shard that was overtaken waits before it is planned anew."""


@dataclass(frozen=True)
class ShardPlan:
    """What a job saw when it started; `epochs` fence off every deletion since."""

    model: Row[Any]
    recipe: Recipe
    shard: int
    schema: ImageSchema
    epochs: dict[int, int]
    ground: ShardGround
    live: list[Row[Any]]
    blocks: list[tuple[int, list[Row[Any]]]]
    """Per slice the blocks of its owners."""
    members: frozenset[bytes]

    @property
    def family(self) -> Family:
        return build_family(self.recipe.family, self.recipe.slices, budget=self.recipe.family_budget)

    def steps(self) -> tuple[list[NodeSpec], list[NodeSpec]]:
        """Return the nodes that restore full depth, and the canonical ones that are missing then."""
        entries = [nodes.as_entry(row) for row in self.live]
        # A model that never answered has no depth to restore: it is built as a fresh build is.
        first = provisional_extension(self.family, self.ground, entries) if self.model.state == ModelState.LIVE else []
        done = {spec.key for spec in first}
        return first, [spec for spec in missing_nodes(self.family, self.ground, entries) if spec.key not in done]


def train_shard(job: Row[Any], *, doors: Doors) -> None:
    """Bring one shard up to date, or leave it to the next job when a deletion overtakes this one.

    Raises:
        StaleFence: another worker took the job over.
    """
    overtaken = False
    try:
        _train(job, doors)
    except (OvertakenByDeletion, KeyDestroyed):
        overtaken = True
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        held = jobs.hold(session, job.id, job.fence)
        model = models.get_model(session, job.model_id)
        # A first build goes on without the rows that went; a repair does where repairs are wanted.
        if overtaken and (model.state != ModelState.LIVE or (model.repair and doors.settings.repair)):
            add_shard_job(session, doors, model, int(job.subject.rpartition("/")[2]), after=OVERTAKEN_SECONDS)
        jobs.move(session, held, JobEvent.CONCLUDED)


def read_plan(session: Connection, doors: Doors, model_id: str, shard: int) -> ShardPlan:
    """Note everything that training one shard depends on, in one transaction.

    Raises:
        OvertakenByDeletion: the model has no backbone yet.
    """
    model = models.lock_model(session, model_id)
    recipe = Recipe.from_json(model.recipe)
    backbone = models.find_backbone(session, model.tenant_id, model.backbone_key)
    dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
    if backbone is None or dataset is None:
        raise OvertakenByDeletion("the model has no backbone yet")
    leaves, places = slice_leaves(session, doors, model)
    from core.audit.sorted_tree import commit

    mine = [leaves[Place(shard, number)] for number in range(recipe.slices)]
    blocks: dict[int, list[Row[Any]]] = {number: [] for number in range(recipe.slices)}
    for block in datasets.live_blocks(session, model.dataset_id, public=False):
        where = places.get(bytes(block.owner))
        if where is not None and where.shard == shard:
            blocks[where.slice].append(block)
    return ShardPlan(
        model=model,
        recipe=recipe,
        shard=shard,
        schema=ImageSchema.from_json(dataset.schema),
        epochs=models.slice_epochs(session, model_id, shard),
        ground=ShardGround(
            backbone=backbone.digest,
            recipe=recipe.digest(),
            shard=shard,
            slice_roots=[commit(part) for part in mine],
        ),
        live=nodes.live_nodes(session, model_id, shard),
        blocks=list(blocks.items()),
        members=frozenset(leaf[:32] for part in mine for leaf in part),
    )


def _train(job: Row[Any], doors: Doors) -> None:
    from core.modelling.determinism import pinned
    from core.unlearning.exact.training import train_node

    pinned(doors.settings.trainer_threads)
    shard = int(job.subject.rpartition("/")[2])
    with doors.database.transaction() as session:
        plan = read_plan(session, doors, job.model_id, shard)
    first, rest = plan.steps()
    if not first and not rest:
        _publish(job, doors, "build")
        return
    activations = open_activations(doors, plan)
    tensors: dict[str, NodeTensors] = {}
    total = len(first) + len(rest)
    parents = {row.key: row for row in plan.live}
    lineage = {row.key: row.parent for row in plan.live} | {spec.key: spec.parent_key for spec in first + rest}
    for done, spec in enumerate(first + rest, start=1):
        trained = train_node(
            spec,
            activations=activations,
            parents=_chain(doors, spec.parent_key, lineage, tensors, parents),
            recipe=plan.recipe,
            progress=lambda _: _refuse_overtaken(doors, plan, spec),  # noqa: B023 - called before the loop moves on
        )
        tensors[spec.key] = trained.tensors
        _commit(job, doors, plan, spec, trained, {"stage": "nodes", "done": done, "total": total})
        if done == len(first):
            _publish(job, doors, "repair")
    _publish(job, doors, "repair" if plan.model.state == ModelState.LIVE else "build")


def open_activations(doors: Doors, plan: ShardPlan) -> SliceActivations:
    """Open the shard's rows and its backbone.

    Raises:
        KeyDestroyed: rows were erased since the plan was read.
    """
    import torch

    from core.modelling.images import as_tensor
    from core.unlearning.exact.activations import SliceActivations
    from core.unlearning.exact.slice_records import SliceRecords

    schema = plan.schema

    def opened(number: int, rows: PlainRows) -> SliceRecords:
        images = as_tensor(rows.images, pixel_minimum=schema.pixel_minimum, pixel_maximum=schema.pixel_maximum)
        labels = torch.from_numpy(rows.labels)
        return SliceRecords.sorted_by_reference(number, rows.records, rows.contents, images=images, labels=labels)

    slices = {
        number: opened(number, read_rows(doors, blocks, image_shape=schema.image_shape, keep=plan.members))
        for number, blocks in plan.blocks
    }
    return SliceActivations(open_backbone(doors, plan.model, plan.recipe, schema), slices)


def open_backbone(doors: Doors, model: Row[Any], recipe: Recipe, schema: ImageSchema) -> Any:
    """Return the model's backbone, opened from the store."""
    from core.modelling.images import tensor_shape
    from core.modelling.tensors import from_bytes
    from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape

    with doors.database.transaction() as session:
        row = models.find_backbone(session, model.tenant_id, model.backbone_key)
    if row is None:
        raise OvertakenByDeletion("the model has no backbone yet")
    shape = VisionTransformerShape.from_recipe(
        recipe.backbone, image_shape=tensor_shape(schema.image_shape), classes=len(schema.labels)
    )
    return VisionTransformer(shape, from_bytes(doors.get_sealed(row.data_key_id, row.object_digest)))


def _chain(
    doors: Doors,
    key: str | None,
    lineage: Mapping[str, str | None],
    tensors: dict[str, NodeTensors],
    stored: Mapping[str, Row[Any]],
) -> Sequence[NodeTensors]:
    """Return the tensors of a node's ancestors and its own, from depth 1 downwards."""
    from core.modelling.tensors import from_bytes

    chain: list[NodeTensors] = []
    while key is not None:
        if key not in tensors:
            row = stored[key]
            tensors[key] = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
        chain.append(tensors[key])
        key = lineage[key]
    return chain[::-1]


def _refuse_overtaken(doors: Doors, plan: ShardPlan, spec: NodeSpec) -> None:
    """Stop between two epochs when a deletion touched a slice, rather than finish for nothing."""
    with doors.database.transaction() as session:
        _check_epochs(session, plan, spec.slices)


def _check_epochs(session: Connection, plan: ShardPlan, slices: Sequence[int]) -> None:
    now = models.slice_epochs(session, plan.model.id, plan.shard)
    if any(now[number] != plan.epochs[number] for number in slices):
        raise OvertakenByDeletion


def _commit(  # noqa: PLR0913, PLR0917
    job: Row[Any], doors: Doors, plan: ShardPlan, spec: NodeSpec, trained: TrainedNode, progress: dict[str, Any]
) -> None:
    from core.modelling.tensors import to_bytes

    data_key_id, object_digest = new_identifier("nod"), None
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
    with doors.database.transaction() as session:
        # Before the key exists: a deletion that strikes these slices orders it dead, whether or not this worker lives.
        jobs.hold(session, job.id, job.fence)
        models.lock_model(session, plan.model.id)
        _check_epochs(session, plan, spec.slices)
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
    try:
        object_digest = doors.put_sealed(data_key_id, to_bytes(trained.tensors))
        with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
            jobs.hold(session, job.id, job.fence)
            models.lock_model(session, plan.model.id)
            _check_epochs(session, plan, spec.slices)
            nodes.add_node(
                session,
                entry,
                tenant_id=plan.model.tenant_id,
                model_id=plan.model.id,
                object_digest=object_digest,
                data_key_id=data_key_id,
                job_id=job.id,
                fence=job.fence,
                records=trained.records,
                epochs=trained.epochs,
                seconds=trained.seconds,
            )
            nodes.drop_draft(session, data_key_id)
            jobs.report_progress(session, job.id, job.fence, progress)
    except LetheError:
        # Refused, so surely not committed. After any other error it may have been; then the draft's row decides.
        doors.keys.destroy([data_key_id])
        if object_digest is not None:
            doors.store.delete(object_digest)
        raise


def _publish(job: Row[Any], doors: Doors, reason: str) -> None:
    """Let the model serve what is there now; a first version waits until every shard has its deepest node."""
    with doors.database.transaction(Actor(ActorKind.WORKER, job.worker)) as session:
        jobs.hold(session, job.id, job.fence)
        model = models.lock_model(session, job.model_id)
        if versions.live_version(session, model.id) is None and not _every_shard_is_built(session, model):
            return
        provenance = {"reason": reason, "request": None, "job": job.id, "fence": job.fence}
        publish_version(session, model, provenance=provenance)


def _every_shard_is_built(session: Connection, model: Row[Any]) -> bool:
    recipe = Recipe.from_json(model.recipe)
    full = {row.shard for row in nodes.live_nodes(session, model.id) if len(row.slices) == recipe.slices}
    return len(full) == recipe.shards
