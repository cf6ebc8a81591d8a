"""Models, the epochs of their slices, and the tombstones of what they forgot; also the backbones they stand on.

A slice's epoch rises with every deletion that touches it. Whoever trains notes the epochs at the start and may commit
only while they still hold: that is how a deletion fences off training that raced it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.domain.checkpoint import Mode
from core.domain.deletion import DeletedRecord
from core.domain.model import ModelState
from core.domain.repair import RepairBudget, RepairPolicy
from core.persistence import audit
from core.persistence.datasets import records
from core.persistence.round_trips import Question, together
from core.persistence.tables import (
    among,
    json_column,
    metadata,
    one_of,
    page_of,
    reference_column,
    tenant_column,
    time_column,
)
from core.persistence.wire import array

models = Table(
    "models",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("dataset_id", Text, nullable=False),
    Column("dataset_version", Integer, nullable=False, server_default=text("1")),
    Column("mode", Text, nullable=False, server_default=text("'exact'")),
    json_column("recipe"),
    Column("placement_key_id", Text, nullable=False, comment="empty in approximate mode"),
    Column("state", Text, nullable=False),
    Column("approval_required", Boolean, nullable=False),
    Column("repair", Boolean, nullable=False),
    json_column("repair_budget", nullable=True),
    Column("repair_once", Boolean, nullable=False, server_default=false()),
    Column("backbone_key", Text, nullable=False, comment="empty in approximate mode"),
    json_column("unlearning_policy", nullable=True),
    json_column("occupancy"),
    time_column("created_at"),
    Column("row_version", Integer, nullable=False, server_default=text("1")),
    UniqueConstraint("tenant_id", "name", name="models_name_unique"),
    one_of("state", ModelState),
    one_of("mode", Mode),
)

slices = Table(
    "slices",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("slice", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False, default=0),
)

tombstones = Table(
    "tombstones",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    reference_column("record", primary_key=True),
    reference_column("owner"),
    Column("shard", Integer, nullable=False),
    Column("slice", Integer, nullable=False),
    Column("request_id", Text, nullable=False),
    time_column("buried_at"),
    Index("tombstones_by_request", "request_id", "model_id"),
)

backbones = Table(
    "backbones",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("object_digest", Text, nullable=False),
    Column("data_key_id", Text, nullable=False),
    json_column("training"),
    time_column("created_at"),
)

LEARNED_FROM = """
    SELECT * FROM models WHERE tenant_id = %(tenant)s AND dataset_id = ANY (%(datasets)s::text[]) ORDER BY id"""

LEARNED_FROM_OWNED = """
    SELECT * FROM models WHERE tenant_id = %(tenant)s AND dataset_id = ANY (ARRAY(
      SELECT dataset_id FROM records WHERE tenant_id = %(tenant)s AND owner = ANY (%(owners)s::bytea[]) AND erased_at IS NULL))
    ORDER BY id"""


def add_model(session: Connection, *, shards: int, slice_count: int, **values: Any) -> None:
    """Keep a model with its slices; one in approximate mode has none."""
    session.execute(insert(models).values(**values))
    places = [
        {"tenant_id": values["tenant_id"], "model_id": values["id"], "shard": shard, "slice": number, "epoch": 0}
        for shard in range(shards)
        for number in range(slice_count)
    ]
    if places:
        session.execute(insert(slices), places)
    audit.note(
        session, Action.MODEL_REGISTERED, tenant=values["tenant_id"], object=values["id"], dataset=values["dataset_id"]
    )


def find_model(session: Connection, tenant_id: str, model_id: str) -> Row[Any] | None:
    """Return the model by id or by name."""
    named = (models.c.id == model_id) | (models.c.name == model_id)
    # An id wins over a name, or somebody could name a model like another one's id.
    query = select(models).where(models.c.tenant_id == tenant_id, named).order_by((models.c.id == model_id).desc())
    return session.execute(query).first()


def find_anywhere(session: Connection, model_id: str) -> Row[Any] | None:
    """Return a model by id or by name whosever it is, for an operator's command; the oldest of several of one name."""
    query = select(models).where((models.c.id == model_id) | (models.c.name == model_id))
    return session.execute(query.order_by((models.c.id == model_id).desc(), models.c.created_at)).first()


def get_model(session: Connection, model_id: str) -> Row[Any]:
    return session.execute(select(models).where(models.c.id == model_id)).one()


def lock_model(session: Connection, model_id: str) -> Row[Any]:
    """Hold the model until the transaction ends: whoever changes what it serves takes turns here."""
    return session.execute(select(models).where(models.c.id == model_id).with_for_update()).one()


def list_models(session: Connection, tenant_id: str) -> list[Row[Any]]:
    query = select(models).where(models.c.tenant_id == tenant_id)
    return list(session.execute(query.order_by(models.c.created_at)))


def page_of_models(session: Connection, tenant_id: str, *, limit: int, before: str | None) -> list[Row[Any]]:
    """Return models, newest first; `before` is the id that the last page ended with."""
    return page_of(session, models, tenant_id, limit=limit, before=before)


def models_on(session: Connection, tenant_id: str, dataset_ids: Iterable[str]) -> list[Row[Any]]:
    [rows] = together(session, learned_from(tenant_id, dataset_ids))
    return rows


def learned_from(tenant_id: str, dataset_ids: Iterable[str]) -> Question:
    """Ask for the models on these data sets."""
    return LEARNED_FROM, {"tenant": tenant_id, "datasets": array(dataset_ids)}


def learned_from_owned(tenant_id: str, owners: Iterable[bytes]) -> Question:
    """Ask for the models on the data sets that hold a record of one of the owners."""
    return LEARNED_FROM_OWNED, {"tenant": tenant_id, "owners": array(owners)}


def set_model_state(session: Connection, model: Row[Any], state: ModelState) -> None:
    session.execute(update(models).where(models.c.id == model.id).values(state=state))
    action = Action.MODEL_LIVE if state is ModelState.LIVE else Action.MODEL_FAILED
    audit.note(session, action, tenant=model.tenant_id, object=model.id, before=model.state, after=state)


def set_unlearning_policy(
    session: Connection, model: Row[Any], policy: dict[str, Any], *, before: str, after: str
) -> None:
    """Write down another policy of a locked model in approximate mode; the log gets both digests."""
    changed = {"unlearning_policy": policy, "row_version": models.c.row_version + 1}
    session.execute(update(models).where(models.c.id == model.id).values(**changed))
    audit.note(
        session, Action.MODEL_POLICY_CHANGED, tenant=model.tenant_id, object=model.id, before=before, after=after
    )


def repair_policy(model: Row[Any]) -> RepairPolicy:
    """Return what a model's row says about repairs; the switch is older than the budget, and old code still reads it."""
    budget = RepairBudget.from_json(model.repair_budget) if model.repair and model.repair_budget else None
    return RepairPolicy(wanted=model.repair, budget=budget)


def set_repair_policy(session: Connection, model: Row[Any], policy: RepairPolicy) -> None:
    """Write down another policy of a locked model."""
    budget = policy.budget.as_json() if policy.budget is not None else None
    values = {"repair": policy.wanted, "repair_budget": budget, "row_version": models.c.row_version + 1}
    session.execute(update(models).where(models.c.id == model.id).values(**values, repair_once=False))
    audit.note(
        session,
        Action.MODEL_REPAIR_CHANGED,
        tenant=model.tenant_id,
        object=model.id,
        before=repair_policy(model).mode,
        after=policy.mode,
    )


def repair_once(session: Connection, model_id: str, *, wanted: bool) -> None:
    """Say whether a model whose repair is off is being repaired this once, because somebody asked."""
    session.execute(update(models).where(models.c.id == model_id).values(repair_once=wanted))


def slice_epochs(session: Connection, model_id: str, shard: int) -> dict[int, int]:
    query = select(slices.c.slice, slices.c.epoch).where(slices.c.model_id == model_id, slices.c.shard == shard)
    return {row.slice: row.epoch for row in session.execute(query)}


def raise_epochs(session: Connection, model_id: str, places: Iterable[tuple[int, int]]) -> None:
    for shard, number in sorted(places):
        session.execute(
            update(slices)
            .where(slices.c.model_id == model_id, slices.c.shard == shard, slices.c.slice == number)
            .values(epoch=slices.c.epoch + 1)
        )


def bury(
    session: Connection, *, tenant_id: str, model_id: str, request_id: str, dead: Sequence[DeletedRecord]
) -> list[bytes]:
    """Write the tombstones and return the records that had none before; the caller holds the model's lock."""
    known = {bytes(row.record) for row in graves(session, model_id, [one.record for one in dead])}
    fresh = [one for one in dead if one.record not in known]
    rows = [
        {
            "tenant_id": tenant_id,
            "model_id": model_id,
            "record": one.record,
            "owner": one.owner,
            "shard": one.shard,
            "slice": one.slice,
            "request_id": request_id,
        }
        for one in fresh
    ]
    if rows:
        session.execute(insert(tombstones), rows)
    return [one.record for one in fresh]


def tombstones_of(session: Connection, model_id: str, request_id: str) -> list[Row[Any]]:
    """Return what this request made this model forget (also when an earlier request had buried it already)."""
    query = select(tombstones).where(tombstones.c.model_id == model_id, tombstones.c.request_id == request_id)
    return list(session.execute(query.order_by(tombstones.c.shard, tombstones.c.slice, tombstones.c.record)))


def graves(session: Connection, model_id: str, references: Iterable[bytes]) -> list[Row[Any]]:
    """Return the tombstones of these records in this model."""
    query = select(tombstones).where(tombstones.c.model_id == model_id, among(tombstones.c.record, list(references)))
    return list(session.execute(query.order_by(tombstones.c.shard, tombstones.c.slice, tombstones.c.record)))


def buried_in(session: Connection, model_id: str) -> list[bytes]:
    """Return the references of everything that a model was made to forget."""
    query = select(tombstones.c.record).where(tombstones.c.model_id == model_id)
    return list(session.execute(query.order_by(tombstones.c.record)).scalars())


def approximate_among(session: Connection, ids: Iterable[str]) -> set[str]:
    """Return which of these models are in approximate mode."""
    query = select(models.c.id).where(among(models.c.id, list(ids)), models.c.mode == Mode.APPROXIMATE)
    return set(session.execute(query).scalars())


def advance(session: Connection, model: Row[Any], *, version: int, occupancy: Any, outgrown: int) -> None:
    """Let a locked model learn from a later version of its data set."""
    values = {"dataset_version": version, "occupancy": occupancy, "row_version": models.c.row_version + 1}
    session.execute(update(models).where(models.c.id == model.id).values(**values))
    audit.note(
        session,
        Action.MODEL_ADVANCED,
        tenant=model.tenant_id,
        object=model.id,
        before=str(model.dataset_version),
        after=str(version),
        dataset=model.dataset_id,
        node_count=outgrown,
    )


def newcomers(session: Connection, model: Row[Any], version: int) -> list[Row[Any]]:
    """Return those of `members` as of a version that came after the one that the model learns from."""
    younger = _may_learn(model, version).where(records.c.version > model.dataset_version)
    return list(session.execute(younger.order_by(records.c.record)))


def members(session: Connection, model: Row[Any], *, version: int | None = None) -> list[Row[Any]]:
    """Return (record, owner, content, version) of everything private that the model may still learn from.

    Args:
        session: a transaction.
        model: the model's row.
        version: of the data set; None: the one that the model learns from.
    """
    query = _may_learn(model, model.dataset_version if version is None else version)
    return list(session.execute(query.order_by(records.c.record)))


def _may_learn(model: Row[Any], version: int) -> Select[Any]:
    buried = select(1).where(tombstones.c.model_id == model.id, tombstones.c.record == records.c.record).exists()
    return select(records.c.record, records.c.owner, records.c.content, records.c.version).where(
        records.c.dataset_id == model.dataset_id,
        records.c.public.is_(False),
        records.c.version <= version,
        records.c.erased_at.is_(None),
        ~buried,
    )


def find_backbone(session: Connection, tenant_id: str, key: str) -> Row[Any] | None:
    query = select(backbones).where(backbones.c.tenant_id == tenant_id, backbones.c.key == key)
    return session.execute(query).first()


def add_backbone(session: Connection, **values: Any) -> None:
    done = session.execute(insert(backbones).values(**values).on_conflict_do_nothing())
    if done.rowcount == 1:
        audit.note(
            session, Action.BACKBONE_TRAINED, tenant=values["tenant_id"], object=values["key"], digest=values["digest"]
        )


def count_tombstones(session: Connection, model_id: str) -> int:
    return int(session.execute(select(func.count()).where(tombstones.c.model_id == model_id)).scalar_one())
