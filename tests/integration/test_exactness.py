"""E2 for real: through the whole product, a repaired model serves bit for bit what a fresh build without the owner gives."""

from __future__ import annotations

import pytest

from core.domain.manifest import Manifest
from core.domain.model import FamilyName
from core.use_cases.accept_deletion import accept_deletion
from core.use_cases.doors import Doors
from core.use_cases.resolve_subjects import DeletionOrder, RecordSubject
from tests.integration import table_world
from tests.integration.world import (
    ADMIN,
    NOTHING,
    add_dataset,
    add_model,
    ask,
    ask_records,
    drain,
    make_recipe,
    serving,
)


@pytest.mark.parametrize("family", FamilyName)
def test_two_histories_with_one_retained_set_end_in_one_content_digest(
    doors: Doors, elsewhere: Doors, family: FamilyName
) -> None:
    recipe = make_recipe(family)
    add_dataset(doors)
    model = add_model(doors, recipe=recipe)
    drain(doors)
    first = serving(doors, model)
    ask(doors, 5)
    ask(doors, 9)
    drain(doors)
    ask_records(doors, "row-11-0", "row-11-1")
    drain(doors)
    repaired = serving(doors, model)

    add_dataset(elsewhere, without=(5, 9, 11))
    fresh_model = add_model(elsewhere, recipe=recipe)
    drain(elsewhere)
    fresh = serving(elsewhere, fresh_model)

    assert repaired["guarantee"] == fresh["guarantee"] == "retrain_equivalent"
    assert repaired["manifest_digest"] == fresh["manifest_digest"] != first["manifest_digest"]
    untouched = {node.key for node in Manifest.from_json(first["manifest"]["content"]).nodes}
    kept = {node.key for node in Manifest.from_json(fresh["manifest"]["content"]).nodes}
    assert kept != untouched


@pytest.mark.parametrize("public", [True, False], ids=["public rows", "no public row"])
@pytest.mark.parametrize("target", table_world.TARGETS)
def test_a_repaired_model_of_a_table_is_bit_for_bit_a_fresh_one(
    doors: Doors, elsewhere: Doors, target: str, *, public: bool
) -> None:
    table_world.add_dataset(doors, target, public=public)
    model = add_model(doors, dataset="patients")
    drain(doors)
    first = serving(doors, model)
    ask(doors, 5)
    drain(doors)
    order = DeletionOrder(records=(RecordSubject("patients", ("row-11-0", "row-11-1")),))
    accept_deletion(order, caller=ADMIN, once=NOTHING, doors=doors)
    drain(doors)
    repaired = serving(doors, model)

    table_world.add_dataset(elsewhere, target, public=public, without=(5, 11))
    fresh_model = add_model(elsewhere, dataset="patients")
    drain(elsewhere)
    fresh = serving(elsewhere, fresh_model)

    assert repaired["guarantee"] == fresh["guarantee"] == "retrain_equivalent"
    assert repaired["manifest_digest"] == fresh["manifest_digest"] != first["manifest_digest"]
