"""Breakers of exactness that no other test is about (docs/exactness.md): nothing is tuned on rows, one person is one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from core.use_cases.doors import Doors
from core.use_cases.preview_deletion import preview_deletion
from core.use_cases.register_dataset import register_dataset
from core.use_cases.resolve_subjects import DeletionOrder, Identity
from tests.integration.callers import client, problem
from tests.integration.world import (
    ADMIN,
    NOTHING,
    SCHEMA,
    add_dataset,
    add_model,
    address,
    columns,
    drain,
    packed,
    serving,
)
from worker.predictor import Estimate, Prediction, PredictionAnswer


@pytest.fixture
def caller(doors: Doors) -> Iterator[TestClient]:
    with client(doors) as http:
        yield http


@pytest.mark.parametrize("knob", ["early_stopping", "validation_share", "best_epoch", "seed", "learning_rates"])
def test_a_recipe_has_no_knob_that_would_look_at_deletable_rows(caller: TestClient, doors: Doors, knob: str) -> None:
    add_dataset(doors)
    for recipe in ({knob: 1}, {"node": {knob: 1}}, {"backbone": {knob: 1}}):
        order: dict[str, Any] = {"name": "tuned", "dataset": "pictures", "recipe": {"shards": 2, "slices": 3} | recipe}
        problem(caller.post("/v1/models", json=order), 422, "invalid_body")


def test_a_person_with_many_records_strikes_one_slice_of_a_model(doors: Doors) -> None:
    rows = columns()
    mine = np.isin(rows["owners"], [address(number) for number in range(3)])
    rows["owners"][mine] = address(0)  # one person, six rows
    register_dataset("pictures", SCHEMA, {"file": packed(rows)}, caller=ADMIN, once=NOTHING, doors=doors)
    add_model(doors)
    drain(doors)
    order = DeletionOrder(identities=(Identity("email", address(0)),))
    (seen,) = preview_deletion(order, caller=ADMIN, doors=doors)["models"]
    assert len(seen["slices_struck"]) == 1


def test_the_backbone_is_the_same_whatever_the_private_rows_are(doors: Doors) -> None:
    add_dataset(doors)
    add_dataset(doors, "fewer", without=(1, 2, 3))
    one, other = add_model(doors), add_model(doors, "other", "fewer")
    drain(doors)
    backbones = {serving(doors, model)["manifest"]["content"]["backbone"] for model in (one, other)}
    assert len(backbones) == 1


def test_the_predictor_tells_one_label_and_its_chance_and_no_logits() -> None:
    assert set(Prediction.model_fields) == {"label", "probability"}
    assert set(Estimate.model_fields) == {"value"}
    assert set(PredictionAnswer.model_fields) == {"model", "manifest", "degraded", "predictions"}
