"""A concept to suppress: what really weakens it is published with a certificate of its kind, and what does not is refused.

The language model has learned two sorts of sentences by heart. Those of the concept are of words that no other has, so one
layer can be steered for them alone; the judge is the service's own, with no margin moved.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from core.datasets.schema import TextSchema
from core.use_cases.doors import Doors
from core.use_cases.register_dataset import register_dataset
from tests.integration import world
from tests.integration.callers import client, once, problem
from tests.integration.hugging_directories import (
    HAZARDS,
    LLAMA,
    TOKENS,
    VOCABULARY,
    WORDS,
    in_turn,
    library_model,
    table_of,
    write_directory,
)
from tests.integration.test_checkpoint_kinds import allowed
from tests.integration.test_checkpoints import attempts, logged, verified

__all__ = ["allowed"]

VISITS, CONCEPT = in_turn(WORDS, 1, 80), in_turn(HAZARDS, 3, 40)
UNSEEN = in_turn(WORDS, 2, 400)
"""Enough that the judge can tell whether the model became worse."""
STRONG = {"epochs": 20, "learning_rate": 0.01, "steering": 5.0}
WEAK = {"epochs": 10, "learning_rate": 0.001}


@pytest.fixture(scope="module")
def learned() -> Any:
    """Return a language model that goes on with both sorts of sentences almost surely."""
    import torch

    from core.domain.checkpoint import Training
    from core.domain.task import Modality
    from core.modelling.plain_training import Lesson, taught

    inputs = torch.zeros(len(VISITS) + len(CONCEPT), TOKENS, dtype=torch.int64)
    for row, sentence in enumerate([*VISITS, *CONCEPT]):
        inputs[row, :6] = torch.tensor([VOCABULARY[word] for word in sentence.split()])
    targets = inputs.masked_fill(inputs == 0, -100)
    lesson = Lesson(training=Training(epochs=40, learning_rate=0.01, batch_size=16), seed=0)
    return taught(lambda: library_model(LLAMA), Modality.CAUSAL_LANGUAGE_MODEL, inputs, targets, lesson)


@pytest.fixture
def service(allowed: Doors, tmp_path: Path, learned: Any) -> Doors:
    schema = TextSchema(labels=("note", "other"), owner_identity_type="email")
    for name, owners, said in (("visits", "person", VISITS), ("unseen", "stranger", UNSEEN), ("hazards", "h", CONCEPT)):
        files = {"file": table_of(said, owners)}
        register_dataset(name, schema, files, caller=world.ADMIN, once=world.NOTHING, doors=allowed)
    write_directory(tmp_path / "chat", LLAMA, model=learned)
    return allowed


def registered(caller: Any, doors: Doors, directory: Path) -> None:
    body = {
        "name": "chat",
        "mode": "approximate",
        "dataset": "visits",
        "evaluation": "unseen",
        "directory": str(directory),
        "architecture": {"kind": "hugging_face", "tokens": TOKENS},
        "modality": "causal_language_model",
        "training": {"epochs": 40, "learning_rate": 0.01, "batch_size": 16},
    }
    made = caller.post("/v1/models", json=body)
    assert made.status_code == 201, made.text
    world.drain(doors)


def suppressed(caller: Any, doors: Doors, settings: dict[str, Any]) -> dict[str, Any]:
    """Ask for the concept to be suppressed by representation misdirection; return how the request ended."""
    asked = {
        "kind": "concept_suppression",
        "concept": {"dataset": "hazards"},
        "scope": {"models": ["chat"]},
        "unlearning": {"method": "representation_misdirection", "settings": settings},
    }
    wrong = caller.post("/v1/deletion-requests", json=asked | {"unlearning": {"method": "npo"}}, headers=once())
    problem(wrong, 422, "method_needs_unmet")  # that one promises another kind of request
    answer = caller.post("/v1/deletion-requests", json=asked, headers=once())
    assert answer.status_code == 202, answer.text
    world.drain(doors)
    found: dict[str, Any] = caller.get(f"/v1/deletion-requests/{answer.json()['id']}").json()
    return found


def test_a_concept_that_fell_is_published_with_a_certificate_that_promises_no_forgetting(
    service: Doors, tmp_path: Path
) -> None:
    with client(service) as caller:
        registered(caller, service, tmp_path / "chat")
        done = suppressed(caller, service, STRONG)
        [tried] = attempts(caller, done)
        assert (tried["ending"], tried["accepted"], tried["integrity"]) == ("passed", True, []), tried
        assert (done["state"], done["result"], done["records"]) == ("completed", "suppressed", 0)
        model = caller.get("/v1/models/chat").json()
        assert (model["serving"]["number"], model["serving"]["guarantee"]) == (2, "judged")
        assert (model["serving"]["flagged"], model["deleted_records"]) == (False, 0)

        [certificate] = done["certificates"]
        verdict = verified(caller, certificate["id"])
        assert verdict.failures == []
        assert any("answered with much less confidence" in sentence for sentence in verdict.asserted)
        envelope = caller.get(f"/v1/certificates/{certificate['id']}").json()
        statement = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
        assert statement["request"]["kind"] == "concept_suppression"
        assert "behaviour_not_data" in statement["limitations"]
        [told] = statement["attempts"]
        assert told["card"]["promise"] == "concept_suppression"


def test_a_concept_that_hardly_fell_is_refused_and_the_old_version_stays(service: Doors, tmp_path: Path) -> None:
    with client(service) as caller:
        registered(caller, service, tmp_path / "chat")
        asked = suppressed(caller, service, WEAK)
        [tried] = attempts(caller, asked)
        assert (tried["ending"], tried["accepted"]) == ("failed_under_forgot", False), tried
        assert tried["why_accepted_or_not"] == "the_judge_did_not_pass_it"
        assert (asked["state"], asked["wait_reason"]) == ("needs_attention", "judgement_refused")
        assert asked["certificates"] == []
        model = caller.get("/v1/models/chat").json()
        assert model["serving"]["number"] == 1
        assert model["serving"]["guarantee"] == "as_registered"
        assert model["serving"]["flagged"] is False, "nobody is served against their will: no row is asked about"
        assert logged(caller, "certificate.issued") == []
