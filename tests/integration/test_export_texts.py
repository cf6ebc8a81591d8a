"""Exports of texts and of language models: plain `peft` loads them and says what the predictor says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.modelling.ensemble import Ensemble
from core.modelling.language_transformer import LanguageTransformer
from core.modelling.text_transformer import TextTransformer
from core.use_cases.doors import Doors
from core.use_cases.export_model import export_model
from core.use_cases.follow_manifest import Follower, ServedModel
from tests.integration import test_language, test_texts, world
from tests.unit.modelling.tiny_encoder import write_encoder
from tests.unit.modelling.tiny_language import WRITERS

TEXTS = ["the film is good", "a sad play and a very nice film of unheard words to it was not a play is", "awful"]
needs_peft = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("peft", "transformers")),
    reason="peft and transformers are not installed",
)


def served_ensemble(doors: Doors, model: str) -> Ensemble:
    follower = Follower(doors, "test")
    follower.catch_up()
    served = follower.find(world.ADMIN.tenant_id, model)
    assert isinstance(served, ServedModel)
    assert isinstance(served.ensemble, Ensemble)
    return served.ensemble


def as_readers_do(directory: Path, tmp_path: Path) -> list[np.ndarray[Any, Any]]:
    """Run the very lines of the export's README, in a process that knows nothing of Lethe."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (directory / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    saved = tmp_path / "logits.npz"
    program = f"{code}\nimport numpy\nlogits = answer({str(directory)!r}, {TEXTS!r})\n"
    program += f"numpy.savez({str(saved)!r}, *[one.numpy() for one in logits])\n"
    program += "import sys\nassert not [name for name in sys.modules if name.split('.')[0] in ('core', 'cli')]\n"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not re.search("newly initialized|MISSING|UNEXPECTED", done.stderr), done.stderr[-2000:]
    with np.load(saved) as loaded:
        return [loaded[f"arr_{number}"] for number in range(len(TEXTS))]


@needs_peft
def test_an_exported_classifier_of_texts_answers_what_the_predictor_answers(doors: Doors, tmp_path: Path) -> None:
    reading = test_texts.allowed(doors, write_encoder(tmp_path / "encoders" / "tiny"))
    test_texts.add_posts(reading)
    recipe = test_texts.recipe_of(tmp_path / "encoders" / "tiny")
    model = world.add_model(reading, dataset="posts", recipe=replace(recipe, shards=2))
    world.drain(reading)
    export_model(reading, model, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "lethe.json").read_text())
    assert about["labels"] == list(test_texts.SCHEMA.labels)
    assert len(about["chains"]) == 2
    ensemble = served_ensemble(reading, model)
    assert isinstance(ensemble.backbone, TextTransformer)
    expected = ensemble.logits(ensemble.backbone.token_ids(TEXTS))
    np.testing.assert_allclose(as_readers_do(tmp_path / "out", tmp_path), expected.numpy(), rtol=1e-4, atol=2e-5)


@needs_peft
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", WRITERS)
def test_an_exported_language_model_says_what_the_predictor_says_at_every_token(
    doors: Doors, tmp_path: Path, family: str, *, tied: bool
) -> None:
    directory = WRITERS[family](tmp_path / "models" / "tiny", tied=tied)
    reading = test_texts.allowed(doors, directory)
    test_language.add_facts(reading)
    model = world.add_model(reading, dataset="facts", recipe=replace(test_language.recipe_of(directory), shards=2))
    world.drain(reading)
    export_model(reading, model, tmp_path / "out")
    ensemble = served_ensemble(reading, model)
    assert isinstance(ensemble.backbone, LanguageTransformer)
    for text, said in zip(TEXTS, as_readers_do(tmp_path / "out", tmp_path), strict=True):
        ids = ensemble.backbone.token_ids([""], [text])[:, : len(said)]
        np.testing.assert_allclose(said, ensemble.logits(ids)[0].numpy(), rtol=1e-4, atol=5e-5)
    again = {path.name for path in (tmp_path / "out" / "backbone").iterdir()}
    assert again == {"config.json", "model.safetensors", "tokenizer.json"}
