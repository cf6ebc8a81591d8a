"""Register a model in approximate mode: a checkpoint that was trained elsewhere, on a data set that is registered here.

    directory ─▶ adopted (torch-free) ─▶ sealed under a key of its own ─▶ model + build job: one commit ─▶ 201

The build job then proves that the network loads and answers; until that, nothing is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from core.datasets.image_schema import ImageSchema
from core.datasets.schema import Schema, TabularSchema, TextSchema, schema_from_json
from core.domain.access import Caller, Scope
from core.domain.checkpoint import Architecture, ArchitectureKind, CheckpointRecipe, Mode, Stage, Training
from core.domain.errors import CheckpointRefused, DatasetNotFound, NameTaken
from core.domain.identifiers import new_identifier
from core.domain.model import ModelState
from core.domain.task import Classification, LanguageModelling, Modality
from core.methods.policy import UnlearningPolicy, default_policy, policy_from_json
from core.persistence import checkpoints, datasets, drafts, models
from core.persistence.checkpoints import CheckpointState
from core.use_cases.adopt_checkpoint import Adopted, check_shapes, read_checkpoint
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.check_needs import check_policy
from core.use_cases.doors import Doors
from core.use_cases.draft_keys import add_draft, destroy_draft
from core.use_cases.ingest_lock import share_ingest_lock
from core.use_cases.read_models import describe_model
from core.use_cases.register_model import add_build_job

TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class CheckpointOrder:
    """What a caller wants registered."""

    name: str
    dataset: str
    directory: str
    kind: ArchitectureKind
    evaluation: str | None = None
    modality: Modality | None = None
    """None: what the data set's task is."""
    channels: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    tokens: int | None = None
    training: Training | None = None
    stages: tuple[Stage, ...] = ()
    policy: Mapping[str, Any] | None = None
    approval_required: bool = False


@dataclass(frozen=True)
class _Sealed:
    """Names of what is about to exist."""

    weights_key: str
    tokenizer_key: str


def register_checkpoint(order: CheckpointOrder, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Register a checkpoint and ask for the proof that it loads.

    Raises:
        DatasetNotFound: the tenant has no such data set, to train on or to evaluate on.
        CheckpointRefused, UnsafeFile, TooLarge, PathNotAllowed: the directory will not do.
        PolicyRefused, MethodNeedsUnmet: the policy names what does not exist, or what this model cannot give.
        NameTaken: the tenant has a model of that name.
    """
    caller.require(Scope.MODELS_WRITE)
    with doors.database.transaction() as session:
        dataset, evaluation = _datasets(session, order, caller)
    adopted = read_checkpoint(order.directory, order.kind, doors.settings)
    recipe = _recipe(order, dataset, evaluation, adopted)
    policy = _policy(order, recipe)
    sealed = _Sealed(new_identifier("ckk"), new_identifier("ckk"))
    draft = add_draft(doors, caller.tenant_id, [sealed.weights_key, sealed.tokenizer_key])
    try:
        return answer_once(
            doors,
            caller,
            once,
            lambda session: _register(session, order, recipe, policy, adopted, sealed, draft, caller, doors),
        )
    except IntegrityError as error:
        if "models_name_unique" not in str(error.orig):
            raise
        raise NameTaken("a model of that name exists already") from None
    finally:
        destroy_draft(doors, draft)


def _datasets(session: Connection, order: CheckpointOrder, caller: Caller) -> tuple[Row[Any], Row[Any] | None]:
    dataset = datasets.find_dataset(session, caller.tenant_id, order.dataset)
    if dataset is None:
        raise DatasetNotFound
    if order.evaluation is None:
        return dataset, None
    evaluation = datasets.find_dataset(session, caller.tenant_id, order.evaluation)
    if evaluation is None:
        raise DatasetNotFound
    if evaluation.id == dataset.id:
        raise CheckpointRefused("the evaluation data set holds rows that no training saw, so it is another one")
    if _comparable(evaluation.schema) != _comparable(dataset.schema):
        raise CheckpointRefused("the evaluation data set keeps another contract")
    return dataset, evaluation


def _comparable(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if not name.endswith("_column")}


def _recipe(
    order: CheckpointOrder, dataset: Row[Any], evaluation: Row[Any] | None, adopted: Adopted
) -> CheckpointRecipe:
    schema = schema_from_json(dataset.schema)
    if isinstance(schema.task, LanguageModelling):
        raise CheckpointRefused(
            "a checkpoint learns from images, tables or texts: a causal language model, from kind text"
        )
    modality = order.modality or _modality(schema)
    try:
        architecture = Architecture(
            kind=order.kind,
            inputs=_inputs(schema, order),
            outputs=schema.task.outputs,
            channels=order.channels,
            hidden=order.hidden,
            config=adopted.config,
            adapter=adopted.adapter,
            tokens=(order.tokens or TOKENS) if isinstance(schema, TextSchema) else None,
        )
    except ValueError as wrong:
        raise CheckpointRefused(str(wrong)) from None
    _check_kind(architecture, schema, modality, adopted)
    check_shapes(architecture, adopted.shapes)
    return CheckpointRecipe(
        modality=modality,
        architecture=architecture,
        training=order.training,
        stages=order.stages,
        file_digest=adopted.digest,
        evaluation=None if evaluation is None else evaluation.id,
    )


def _modality(schema: Schema) -> Modality:
    return Modality.CLASSIFIER if isinstance(schema.task, Classification) else Modality.REGRESSOR


def _inputs(schema: Schema, order: CheckpointOrder) -> tuple[int, ...]:
    if isinstance(schema, ImageSchema):
        height, width, *channels = schema.image_shape
        return (channels[0] if channels else 1, height, width)
    if isinstance(schema, TabularSchema):
        return (len(schema.numeric) + sum(len(column.categories) for column in schema.categorical),)
    return (order.tokens or TOKENS,)


def _check_kind(architecture: Architecture, schema: Schema, modality: Modality, adopted: Adopted) -> None:
    hugging_face = architecture.kind is ArchitectureKind.HUGGING_FACE
    if isinstance(schema, TextSchema):
        if not hugging_face:
            raise CheckpointRefused("a model of text is a Hugging Face directory")
        if adopted.tokenizer is None:
            raise CheckpointRefused("a model of text brings its tokenizer.json")
    elif modality is Modality.CAUSAL_LANGUAGE_MODEL:
        raise CheckpointRefused("a causal language model learns from a data set of texts")
    elif hugging_face and not isinstance(schema, ImageSchema):
        raise CheckpointRefused("a Hugging Face directory is for images or texts; a table takes a perceptron")
    if modality is not _modality(schema) and modality is not Modality.CAUSAL_LANGUAGE_MODEL:
        raise CheckpointRefused(f"the data set asks for a {_modality(schema)}")


def _policy(order: CheckpointOrder, recipe: CheckpointRecipe) -> UnlearningPolicy:
    if order.policy is None:
        return default_policy(recipe.modality)
    policy = policy_from_json(order.policy, recipe.modality)
    check_policy(policy, recipe)
    return policy


def _register(  # noqa: PLR0913, PLR0917 - all that one commit writes
    session: Connection,
    order: CheckpointOrder,
    recipe: CheckpointRecipe,
    policy: UnlearningPolicy,
    adopted: Adopted,
    sealed: _Sealed,
    draft: str,
    caller: Caller,
    doors: Doors,
) -> Answer:
    share_ingest_lock(session, caller.tenant_id)
    dataset, _ = _datasets(session, order, caller)
    model_id = new_identifier("mdl")
    written = recipe.as_json()
    if adopted.tokenizer is not None:
        digest = doors.put_sealed(sealed.tokenizer_key, adopted.tokenizer)
        written["tokenizer"] = {"key_id": sealed.tokenizer_key, "object_digest": digest}
    models.add_model(
        session,
        shards=0,
        slice_count=0,
        tenant_id=caller.tenant_id,
        id=model_id,
        name=order.name,
        dataset_id=dataset.id,
        dataset_version=dataset.version,
        mode=Mode.APPROXIMATE,
        recipe=written,
        placement_key_id="",
        state=ModelState.REGISTERED,
        approval_required=order.approval_required,
        repair=False,
        repair_budget=None,
        backbone_key="",
        unlearning_policy=policy.as_json(),
        occupancy={},
    )
    checkpoints.add_checkpoint(
        session,
        tenant_id=caller.tenant_id,
        id=new_identifier("ckp"),
        model_id=model_id,
        state=CheckpointState.CANDIDATE,
        data_key_id=sealed.weights_key,
        object_digest=doors.put_sealed(sealed.weights_key, _packed(adopted)),
    )
    drafts.drop_draft(session, draft)
    add_build_job(session, doors, caller.tenant_id, model_id)
    return Answer(status=201, body=describe_model(session, models.get_model(session, model_id)))


def _packed(adopted: Adopted) -> bytes:
    """Return both files in one: the first one's length, the first, the second."""
    second = adopted.adapter_weights or b""
    return len(adopted.weights).to_bytes(8, "little") + adopted.weights + second


def unpacked(content: bytes) -> tuple[bytes, bytes]:
    """Return the weights and the adapter's, empty where there is none."""
    length = int.from_bytes(content[:8], "little")
    return content[8 : 8 + length], content[8 + length :]
