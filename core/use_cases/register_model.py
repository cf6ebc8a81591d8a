"""Register a model in exact mode: check that the lattice can be filled, keep its placement key, ask for the build.

The answer reports how many owners each slice holds. With fewer than three owners per slice on average the model is
refused and a lattice that would do is proposed (DESIGN §4.5). It also warns, when the lattice is not expected to bear what
the caller says it will have to.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from core.audit.sorted_tree import commit
from core.datasets.schema import schema_from_json
from core.domain.access import Caller, Scope
from core.domain.canonical import canonical
from core.domain.errors import (
    DatasetNotFound,
    DatasetVersionNotFound,
    NameTaken,
    NoPublicPart,
    TooFewLayers,
    TooFewOwners,
)
from core.domain.identifiers import new_identifier
from core.domain.job import JobKind
from core.domain.model import MINIMUM_OWNERS_PER_SLICE, TRAINER_PROTOCOL, ModelState, Recipe
from core.domain.repair import RepairBudget
from core.lattice.occupancy import Occupancy, occupancy, propose
from core.lattice.placement import place
from core.lattice.planner.effort import limited
from core.lattice.planner.question import PlanQuestion
from core.lattice.planner.target import Target, shortfalls, without_repair
from core.persistence import datasets, jobs, models
from core.use_cases.adopt_encoder import adopt_encoder
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.ingest_lock import share_ingest_lock
from core.use_cases.plan_lattice import MOST_STEPS
from core.use_cases.read_models import describe_model


@dataclass(frozen=True, kw_only=True)
class ModelOrder:
    """What a caller wants registered."""

    name: str
    dataset: str
    recipe: Recipe
    dataset_version: int | None = None
    """None: the newest."""
    placement_key: bytes | None = None
    """32 bytes, or None for a fresh one. Written to the key store; no answer ever shows it."""
    approval_required: bool = False
    repair: bool = True
    repair_budget: RepairBudget | None = None
    target: Target | None = None
    """What is expected of the lattice: checked at registration, with warnings in the answer, and not kept."""


def register_model(order: ModelOrder, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Register a model and ask for its first version to be built.

    Raises:
        DatasetNotFound, DatasetVersionNotFound: the tenant has no such data set, or version of it.
        Impossible, PathNotAllowed: the encoder's directory will not do.
        NoPublicPart, TooFewLayers, TooFewOwners: the lattice cannot be built on it.
        NameTaken: the tenant has a model of that name.
        PlanTooLarge: to hold the target against the lattice would take too much work.
    """
    caller.require(Scope.MODELS_WRITE)
    order = _adopted(order, caller, doors)
    # Before the transaction: a simulation takes as long as it takes, and an upload may be waiting for the lock.
    asked = None if order.recipe.ridge is not None else order.target  # no deletion costs a ridge model a slice
    with limited(MOST_STEPS):
        warned = [] if asked is None else shortfalls(_question(order.recipe), asked)
    try:
        return answer_once(doors, caller, once, lambda session: _register(session, order, warned, caller, doors))
    except IntegrityError as error:
        if "models_name_unique" not in str(error.orig):
            raise
        raise NameTaken("a model of that name exists already") from None


def _adopted(order: ModelOrder, caller: Caller, doors: Doors) -> ModelOrder:
    """Return the order with what its encoder's directory says; reading that takes its time and needs no lock."""
    with doors.database.transaction() as session:
        dataset = datasets.find_dataset(session, caller.tenant_id, order.dataset)
    if dataset is None:
        return order
    recipe = adopt_encoder(order.recipe, schema_from_json(dataset.schema), doors.settings)
    return order if recipe is order.recipe else replace(order, recipe=recipe)


def _register(session: Connection, order: ModelOrder, warned: list[str], caller: Caller, doors: Doors) -> Answer:
    share_ingest_lock(session, caller.tenant_id)
    dataset = datasets.find_dataset(session, caller.tenant_id, order.dataset)
    if dataset is None:
        raise DatasetNotFound
    version = dataset.version if order.dataset_version is None else order.dataset_version
    if not 1 <= version <= dataset.version:
        raise DatasetVersionNotFound
    recipe = order.recipe
    if recipe.backbone.layers < recipe.slices:
        raise TooFewLayers(f"{recipe.slices} slices need at least as many layers, got {recipe.backbone.layers}")
    learns = recipe.backbone.directory is None and schema_from_json(dataset.schema).needs_public_rows
    if dataset.public_records == 0 and learns:
        raise NoPublicPart("declare public rows (public_column in the schema): the backbone is pre-trained on them")
    placement_key = order.placement_key or secrets.token_bytes(32)
    key = backbone_key(recipe, dataset, datasets.public_leaves(session, dataset.id))
    seats = count_occupancy(session, dataset.id, version, recipe, placement_key)
    _refuse_too_few(seats, recipe)
    model_id = new_identifier("mdl")
    # The key is durable before the row that names it; an unused key is garbage and no more.
    doors.keys.put(f"placement_{model_id}", placement_key)
    models.add_model(
        session,
        shards=recipe.shards,
        slice_count=recipe.slices,
        tenant_id=caller.tenant_id,
        id=model_id,
        name=order.name,
        dataset_id=dataset.id,
        dataset_version=version,
        recipe=recipe.as_json(),
        placement_key_id=f"placement_{model_id}",
        state=ModelState.REGISTERED,
        approval_required=order.approval_required,
        repair=order.repair,
        repair_budget=order.repair_budget.as_json() if order.repair_budget is not None else None,
        backbone_key=key,
        occupancy=describe_occupancy(seats),
    )
    add_build_job(session, doors, caller.tenant_id, model_id)
    model = models.get_model(session, model_id)
    owners = sum(count for shard in seats.owners for count in shard)
    unwarned = order.repair or order.target or recipe.ridge is not None
    warnings = warned if unwarned else without_repair(_question(recipe), owners)
    return Answer(status=201, body=describe_model(session, model) | {"warnings": warnings})


def _question(recipe: Recipe) -> PlanQuestion:
    layers = max(recipe.backbone.layers, recipe.slices)  # too few are refused elsewhere, and in other words
    return PlanQuestion(shards=recipe.shards, family=recipe.family_choice, layers=layers)


def add_build_job(session: Connection, doors: Doors, tenant_id: str, model_id: str) -> None:
    """Ask for the model's backbone, after which its shards are planned; a job that waits already is enough."""
    jobs.add_job(
        session,
        tenant_id=tenant_id,
        id=new_identifier("job"),
        kind=JobKind.BUILD,
        subject=f"{model_id}/build",
        model_id=model_id,
        max_attempts=doors.settings.max_attempts,
    )


def count_occupancy(
    session: Connection, dataset_id: str, version: int, recipe: Recipe, placement_key: bytes
) -> Occupancy:
    """Return how many owners and records each slice holds of a version of a data set."""
    owners = datasets.private_owners(session, dataset_id, version)
    places = [place(placement_key, bytes(row.owner), shards=recipe.shards, slices=recipe.slices) for row in owners]
    return occupancy(places, recipe.shards, recipe.slices, records=[row.records for row in owners])


def describe_occupancy(seats: Occupancy) -> dict[str, Any]:
    """Return it as the model's row keeps it."""
    return {
        "owners": seats.owners,
        "records": seats.records,
        "mean_owners_per_slice": round(seats.mean_owners, 2),
        "empty_slices": len(seats.empty_slices),
    }


def _refuse_too_few(seats: Occupancy, recipe: Recipe) -> None:
    if not seats.sufficient:
        owners = sum(map(sum, seats.owners))
        shards, slices = propose(owners, recipe.slices)
        raise TooFewOwners(
            f"{owners} owners fill {recipe.shards * recipe.slices} slices with {seats.mean_owners:.1f} each on "
            f"average, and at least {MINIMUM_OWNERS_PER_SLICE} are needed; "
            f"{shards} shards of {slices} slices would do"
        )


def backbone_key(recipe: Recipe, dataset: Row[Any], public_leaves: list[bytes]) -> str:
    """Return the name under which a backbone is cached: a digest of the recipe and of the public rows it learns."""
    inputs = {
        "trainer_protocol": TRAINER_PROTOCOL,
        "recipe": recipe.backbone.key_inputs(),
        "rows": commit(public_leaves),
        "schema": dataset.schema,
    }
    return hashlib.sha256(b"lethe backbone\x00" + canonical(inputs)).hexdigest()


def backbone_seed(key: str) -> int:
    """Return the seed of a backbone's training: a function of its key, so that one key has one backbone."""
    return int(key[:15], 16)
