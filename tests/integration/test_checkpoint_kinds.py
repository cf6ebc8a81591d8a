"""What is particular to some checkpoints: a regressor whose method nobody judges, and a concept that a backup forgot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.datasets.schema import TextSchema
from core.domain.checkpoint import ArchitectureKind, Training
from core.domain.task import Modality
from core.use_cases.doors import Doors
from core.use_cases.register_dataset import register_dataset
from core.use_cases.replay_ledger import replay_ledger
from tests.integration import checkpoint_world, world
from tests.integration.callers import client, once
from tests.integration.hugging_directories import LLAMA, TOKENS, random_words, table_of, write_directory
from tests.integration.test_checkpoints import attempts, forget, verified


@pytest.fixture
def allowed(doors: Doors, tmp_path: Path) -> Doors:
    object.__setattr__(doors.settings, "data_roots", str(tmp_path))
    return doors


def test_a_regressor_is_registered_served_and_retrained(allowed: Doors, tmp_path: Path) -> None:
    checkpoint_world.add_datasets(allowed, "number")
    directory = checkpoint_world.write(tmp_path / "regressor", checkpoint_world.trained("number"))
    checkpoint_world.add_checkpoint(allowed, directory)
    with client(allowed) as caller:
        model = caller.get("/v1/models/checkpoint").json()
        assert (model["state"], model["recipe"]["modality"]) == ("live", "regressor")
        asked = {"method": "gaussian_amnesiac", "settings": {"epochs": 2}}
        done = forget(caller, allowed, 3, unlearning=asked)
        assert done["state"] == "completed", attempts(caller, done)
        assert [one["method"] for one in attempts(caller, done)] == ["retrain"]
        assert verified(caller, done["certificates"][0]["id"]).failures == []


def add_texts(doors: Doors, *, prefix: str = "", count: int = 40) -> None:
    schema = TextSchema(labels=("note", "other"), owner_identity_type="email")
    for name, owners, seed in (("visits", "person", 1), ("unseen", "stranger", 2), ("hazards", "hazard", 3)):
        files = {"file": table_of(random_words(seed, count), owners)}
        register_dataset(prefix + name, schema, files, caller=world.ADMIN, once=world.NOTHING, doors=doors)


def add_language_model(doors: Doors, directory: Path, **said: Any) -> None:
    checkpoint_world.add_checkpoint(
        doors,
        directory,
        kind=ArchitectureKind.HUGGING_FACE,
        modality=Modality.CAUSAL_LANGUAGE_MODEL,
        hidden=(),
        tokens=TOKENS,
        training=Training(epochs=3, learning_rate=0.01, batch_size=16),
        **said,
    )


def test_a_restored_database_hears_of_a_concept_again_and_of_the_method_that_was_named(
    allowed: Doors, tmp_path: Path
) -> None:
    add_texts(allowed)
    add_language_model(allowed, write_directory(tmp_path / "llama", LLAMA))
    steered = {"method": "representation_misdirection", "settings": {"epochs": 1}}
    body = {"kind": "concept_suppression", "concept": {"dataset": "hazards"}, "scope": {"models": ["checkpoint"]}}
    with client(allowed) as caller:
        asked = caller.post("/v1/deletion-requests", json=body | {"unlearning": steered}, headers=once()).json()["id"]
        before = caller.get(f"/v1/deletion-requests/{asked}").json()
        with allowed.database.transaction() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))  # a database of before the request
            session.execute(text("DELETE FROM jobs WHERE request_id = :request"), {"request": asked})
            session.execute(text("DELETE FROM deletion_requests WHERE id = :request"), {"request": asked})
        assert replay_ledger(allowed).requests_written_again == 1
        again = caller.get(f"/v1/deletion-requests/{asked}").json()
    kept = ("kind", "state", "unlearning", "received_at")
    assert {name: again[name] for name in kept} == {name: before[name] for name in kept}
    assert [one["model"] for one in again["jobs"]] == [one["model"] for one in before["jobs"]] != []
