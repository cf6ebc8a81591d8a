"""Export: plain `peft` loads what was written and answers what the predictor answers, and only what is clean is written."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text, update
from typer.testing import CliRunner

from cli.main import app
from cli.serve import environment
from core.datasets.image_schema import ImageSchema
from core.domain.errors import BadInput, Impossible, ModelNotFound, ModelNotServed, OvertakenByDeletion, SealBroken
from core.domain.model import BackboneRecipe, NodeRecipe, Recipe
from core.modelling.images import as_tensor
from core.modelling.tensors import from_bytes, to_bytes
from core.persistence.nodes import nodes
from core.use_cases import export_model as page
from core.use_cases.doors import Doors
from core.use_cases.export_model import CODE, export_model
from core.use_cases.follow_manifest import Follower, ServedModel
from core.use_cases.resolve_subjects import DeletionOrder, Identity
from core.use_cases.trace_subject import trace_subject
from tests.integration import table_world
from tests.integration.world import (
    ADMIN,
    add_dataset,
    add_model,
    address,
    ask,
    built,
    drain,
    image,
    make_recipe,
    serving,
)

IMAGES = np.stack([image(seed) for seed in range(40)])
needs_peft = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("peft", "transformers")),
    reason="peft and transformers are not installed",
)


def served_logits(doors: Doors, model: str) -> np.ndarray[Any, Any]:
    follower = Follower(doors, "test")
    follower.catch_up()
    served = follower.find(ADMIN.tenant_id, model)
    assert isinstance(served, ServedModel)
    schema = served.schema
    assert isinstance(schema, ImageSchema)
    pixels = as_tensor(IMAGES, pixel_minimum=schema.pixel_minimum, pixel_maximum=schema.pixel_maximum)
    logits: np.ndarray[Any, Any] = served.ensemble.logits(pixels).numpy()
    return logits


def as_readers_do(directory: Path, tmp_path: Path) -> np.ndarray[Any, Any]:
    """Run the very lines of the export's README, in a process that knows nothing of Lethe."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (directory / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    np.save(tmp_path / "images.npy", IMAGES)
    program = f"{code}\nlogits = answer({str(directory)!r}, numpy.load({str(tmp_path / 'images.npy')!r}))\n"
    program += f"numpy.save({str(tmp_path / 'logits.npy')!r}, logits.numpy())\n"
    program += "import sys\nassert not [name for name in sys.modules if name.split('.')[0] in ('core', 'cli')]\n"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "newly initialized" not in done.stderr
    assert "MISSING" not in done.stderr, done.stderr[-2000:]
    loaded: np.ndarray[Any, Any] = np.load(tmp_path / "logits.npy")
    return loaded


def deep_recipe() -> Recipe:
    """Twelve layers: a pattern that means layer 1 would also take layers 10 and 11."""
    backbone = BackboneRecipe(width=8, layers=12, heads=2, patch=2, epochs=1, batch_size=8)
    node = NodeRecipe(rank=2, alpha=4.0, epochs=3, batch_size=4, learning_rate=0.05)
    return Recipe(shards=2, slices=3, backbone=backbone, node=node)


@needs_peft
@pytest.mark.parametrize("recipe", [make_recipe(), deep_recipe()], ids=["3 layers", "12 layers"])
def test_plain_peft_answers_what_the_predictor_answers(doors: Doors, tmp_path: Path, recipe: Recipe) -> None:
    model = built(doors, recipe=recipe)
    export_model(doors, model, tmp_path / "out")
    ours, theirs = served_logits(doors, model), as_readers_do(tmp_path / "out", tmp_path)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    assert (theirs.argmax(axis=1) == ours.argmax(axis=1)).all()


@needs_peft
def test_shards_of_unequal_depth_and_tied_chains_vote_as_the_predictor_lets_them(doors: Doors, tmp_path: Path) -> None:
    model = built(doors, repair=False)
    ask(doors, 5)
    drain(doors)
    done = export_model(doors, model, tmp_path / "out")
    assert sorted(serving(doors, model)["manifest"]["content"]["served"]) != []
    assert len(done.chains) >= 2
    assert sum(one["weight"] for one in done.chains) == pytest.approx(1.0)
    np.testing.assert_allclose(
        as_readers_do(tmp_path / "out", tmp_path), served_logits(doors, model), rtol=1e-4, atol=1e-5
    )


@needs_peft
def test_a_degraded_model_is_exported_as_its_public_head(doors: Doors, tmp_path: Path) -> None:
    model = built(doors, repair=False)
    ask(doors, *range(24))
    drain(doors)
    done = export_model(doors, model, tmp_path / "out")
    assert [one["directory"] for one in done.chains] == ["backbone"]
    np.testing.assert_allclose(
        as_readers_do(tmp_path / "out", tmp_path), served_logits(doors, model), rtol=1e-4, atol=1e-5
    )


def test_a_directory_says_what_it_is_and_the_log_who_made_it(doors: Doors, tmp_path: Path) -> None:
    model = built(doors)
    done = export_model(doors, "classifier", tmp_path / "deep" / "out")
    directory = tmp_path / "deep" / "out"
    assert sorted(one.name for one in directory.iterdir()) == [
        "README.md",
        "backbone",
        "lethe.json",
        "shard-0",
        "shard-1",
    ]
    about = json.loads((directory / "lethe.json").read_text())
    assert about["manifest_digest"] == done.manifest_digest == serving(doors, model)["manifest_digest"]
    readme = (directory / "README.md").read_text()
    assert CODE in readme
    assert "Replace this copy after every deletion" in readme
    adapter = json.loads((directory / "shard-0" / "adapter_config.json").read_text())
    assert all(re.fullmatch(r"vit\.layers\.\d+\.attention\.[qv]_proj", name) for name in adapter["target_modules"])
    with doors.database.transaction() as session:
        query = "SELECT object FROM audit_entries WHERE action = 'model.exported'"
        assert session.execute(text(query)).scalars().all() == [model]


def traced(doors: Doors) -> dict[str, Any]:
    order = DeletionOrder(identities=(Identity("email", address(5)),))
    return trace_subject(order, caller=ADMIN, doors=doors)


def test_an_export_that_saw_somebody_stays_named_after_their_deletion(doors: Doors, tmp_path: Path) -> None:
    model = built(doors)
    export_model(doors, model, tmp_path / "before")
    version = serving(doors, model)["id"]
    ask(doors, 5)
    drain(doors)
    export_model(doors, model, tmp_path / "after")
    found = traced(doors)
    assert found["live"] == []
    assert [(one["kind"], one["version"]) for one in found["exported"]] == [("export", version)]


def test_a_deletion_that_comes_in_between_leaves_no_export(
    doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(doors)
    honest = page._write

    def meanwhile(*arguments: Any) -> Any:
        chains = honest(*arguments)
        ask(doors, 5)
        drain(doors)
        return chains

    monkeypatch.setattr(page, "_write", meanwhile)
    with pytest.raises(OvertakenByDeletion):
        export_model(doors, model, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
    assert list(tmp_path.glob(".*out*")) == []


def test_what_was_tampered_with_or_is_not_there_is_not_exported(doors: Doors, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        export_model(doors, "nobody", tmp_path / "out")
    add_dataset(doors)
    model = add_model(doors)
    with pytest.raises(ModelNotServed):
        export_model(doors, model, tmp_path / "out")
    drain(doors)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(BadInput, match="in use"):
        export_model(doors, model, tmp_path / "used")
    with pytest.raises(BadInput, match="cannot be written"):
        export_model(doors, model, tmp_path / "used" / "file" / "out")
    served = serving(doors, model)["manifest"]["content"]["nodes"][0]["key"]
    with doors.database.transaction() as session:
        row = session.execute(nodes.select().where(nodes.c.key == served)).one()
        tensors = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
        tensors["head.bias"] += 1e-6
        digest = doors.put_under(row.data_key_id, to_bytes(tensors))
        session.execute(update(nodes).where(nodes.c.key == row.key).values(object_digest=digest))
    with pytest.raises(SealBroken):
        export_model(doors, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_tables_is_refused_in_one_sentence_and_leaves_nothing(doors: Doors, tmp_path: Path) -> None:
    table_world.add_dataset(doors)
    add_model(doors, dataset="patients")
    drain(doors)
    with pytest.raises(Impossible, match="a model of tables"):
        export_model(doors, "classifier", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_and_says_where(doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(doors)
    for name, value in environment(doors.settings).items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(app, ["export", model, str(tmp_path / "out"), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["model"] == model
    again = CliRunner().invoke(app, ["export", model, str(tmp_path / "out")])
    assert (again.exit_code, again.stderr.strip().count("\n")) == (2, 0)
    drawn = CliRunner().invoke(app, ["export", model, str(tmp_path / "more")])
    assert "replace it after each" in drawn.stderr
