"""Other kinds of checkpoints: a regressor, a causal language model, one with low-rank factors; and a concept to suppress."""

from __future__ import annotations

import csv
import io
import json
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
from tests.integration.test_checkpoints import attempts, forget, verified

WORDS = ("the", "patient", "was", "seen", "on", "monday", "friday", "with", "fever", "cough", "and", "sent", "home")
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
ADAPTER = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}


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


def texts(owners: str, seed: int, count: int = 40) -> bytes:
    import random

    chance = random.Random(seed)
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(["texts", "labels", "owners", "record_ids"])
    for at in range(count):
        said = " ".join(chance.choice(WORDS) for _ in range(6))
        writer.writerow([said, "note", f"{owners}-{at // 2}@example.org", f"{owners}-{at}"])
    return written.getvalue().encode()


def add_texts(doors: Doors, *, prefix: str = "", count: int = 40) -> None:
    schema = TextSchema(labels=("note", "other"), owner_identity_type="email")
    for name, owners, seed in (("visits", "person", 1), ("unseen", "stranger", 2), ("hazards", "hazard", 3)):
        files = {"file": texts(owners, seed, count)}
        register_dataset(prefix + name, schema, files, caller=world.ADMIN, once=world.NOTHING, doors=doors)


def language_model(directory: Path, *, adapter: bool = False) -> Path:
    """Write a Hugging Face directory of a tiny Llama, with a tokenizer of whole words and perhaps low-rank factors."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    directory.mkdir()
    torch.manual_seed(0)
    made: Any = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k != "model_type"}))
    save_file({name: one.contiguous() for name, one in made.state_dict().items()}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(CONFIG))
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2} | {word: at + 3 for at, word in enumerate(WORDS)}
    splitter = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    splitter.pre_tokenizer = pre_tokenizers.Whitespace()
    splitter.save(str(directory / "tokenizer.json"))
    if adapter:
        import peft

        wrapped: Any = peft.get_peft_model(
            made, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
        )
        factors = peft.get_peft_model_state_dict(wrapped)
        save_file({name: one.contiguous() for name, one in factors.items()}, directory / "adapter_model.safetensors")
        (directory / "adapter_config.json").write_text(json.dumps(ADAPTER))
    return directory


def add_language_model(doors: Doors, directory: Path, **said: Any) -> None:
    checkpoint_world.add_checkpoint(
        doors,
        directory,
        kind=ArchitectureKind.HUGGING_FACE,
        modality=Modality.CAUSAL_LANGUAGE_MODEL,
        hidden=(),
        tokens=8,
        training=Training(epochs=3, learning_rate=0.01, batch_size=16),
        **said,
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, from inside peft
@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "low-rank"])
def test_a_causal_language_model_forgets_by_a_method_that_falls_back_to_a_retrain(
    allowed: Doors, tmp_path: Path, *, adapter: bool
) -> None:
    add_texts(allowed)
    policy = {"try_unqualified": True, "methods": [{"method": "npo", "settings": {"epochs": 1}}]}
    add_language_model(allowed, language_model(tmp_path / "llama", adapter=adapter), policy=policy)
    with client(allowed) as caller:
        model = caller.get("/v1/models/checkpoint").json()
        assert model["state"] == "live", caller.get("/v1/jobs").json()
        done = forget(caller, allowed, 3)
        tried = attempts(caller, done)
        assert [one["method"] for one in tried] == ["negative_preference", "retrain"], tried
        assert tried[0]["ending"] == "underpowered", tried[0]
        if adapter:
            assert all(one["integrity"] == [] for one in tried), "frozen weights keep their bits"
        assert done["state"] == "completed", tried[-1]
        assert verified(caller, done["certificates"][0]["id"]).failures == []


def test_a_concept_is_asked_for_apart_and_judged_apart(allowed: Doors, tmp_path: Path) -> None:
    add_texts(allowed)
    add_language_model(allowed, language_model(tmp_path / "llama"))
    body = {"kind": "concept_suppression", "concept": {"dataset": "hazards"}, "scope": {"models": ["checkpoint"]}}
    with client(allowed) as caller:
        wrong = caller.post("/v1/deletion-requests", json=body | {"unlearning": {"method": "npo"}}, headers=once())
        assert (wrong.status_code, wrong.json()["code"]) == (422, "method_needs_unmet")
        steered = {"method": "representation_misdirection", "settings": {"epochs": 1}}
        asked = caller.post("/v1/deletion-requests", json=body | {"unlearning": steered}, headers=once())
        assert asked.status_code == 202, asked.text
        world.drain(allowed)
        done = caller.get(f"/v1/deletion-requests/{asked.json()['id']}").json()
        assert done["kind"] == "concept_suppression"
        [tried] = attempts(caller, done)
        assert tried["method"] == "representation_misdirection"
        assert done["state"] in {"completed", "needs_attention"}
        assert caller.get("/v1/models/checkpoint").json()["deleted_records"] == 0
        if done["state"] == "completed":
            assert done["result"] == "suppressed"


def test_a_restored_database_hears_of_a_concept_again_and_of_the_method_that_was_named(
    allowed: Doors, tmp_path: Path
) -> None:
    add_texts(allowed)
    add_language_model(allowed, language_model(tmp_path / "llama"))
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
