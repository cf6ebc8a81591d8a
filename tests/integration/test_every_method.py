"""Every method of the menu, asked for through the API on a registered checkpoint of each modality that its card claims.

Whether the judge passes it is not the question here: it runs, is judged, and the request ends with something published or
refused, and a reason. That it acts as intended is shown in unit/unlearning/approximate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.domain.checkpoint import Training
from core.domain.deletion import RequestKind
from core.domain.task import Modality
from core.methods.menu import MENU
from core.methods.policy import RETRAIN
from core.use_cases.doors import Doors
from core.use_cases.judge_attempt import FAILED
from tests.integration import checkpoint_world, world
from tests.integration.callers import client, once, service
from tests.integration.hugging_directories import LLAMA, write_directory
from tests.integration.test_checkpoint_kinds import add_language_model, add_texts
from tests.integration.test_checkpoints import attempts, verified
from tests.servers.given import given_s3

CASES = [(modality, name) for modality in Modality for name, card in MENU.items() if modality in card.modalities]
TRAINING = Training(epochs=8, learning_rate=0.01, batch_size=64)
POLICY = {"try_unqualified": True, "most_cost": 100, "drift_budget": 1, "methods": []}
BRIEF = {"epochs": 1, "proxy_epochs": 1, "forget_epochs": 1}
SETTINGS: Mapping[str, dict[str, Any]] = {
    "selective_synaptic_dampening": {"selection": 1.5, "dampening": 2.0},
    "label_free_synaptic_dampening": {"selection": 1.1, "dampening": 0.5},
}
"""Where the default is too careful to move a weight of so small a network, and a run that moves none is a failure."""
BY_CHANCE = {"not_begun_anew"}
"""Two trainings on the same texts leave matrices of so few entries more alike than the judge lets pass now and then."""


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A service with a checkpoint of each modality, named after it, that may be retrained; no judge is qualified."""
    root = tmp_path_factory.mktemp("every")
    with service(server_url, template, root / "lethe", data_roots=str(root), **given_s3()) as found:
        for modality, target in ((Modality.CLASSIFIER, "label"), (Modality.REGRESSOR, "number")):
            checkpoint_world.add_datasets(found, target, prefix=f"{modality}-")
            directory = checkpoint_world.write(root / modality, checkpoint_world.trained(target, TRAINING))
            checkpoint_world.add_checkpoint(found, directory, training=TRAINING, **named(modality))
        modality = Modality.CAUSAL_LANGUAGE_MODEL
        add_texts(found, prefix=f"{modality}-", count=100)
        add_language_model(found, write_directory(root / modality, LLAMA), **named(modality))
        yield found


def named(modality: Modality) -> dict[str, Any]:
    data = {"dataset": f"{modality}-visits", "evaluation": f"{modality}-unseen"}
    return {"name": modality.value, "policy": POLICY, **data}


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


def test_the_cases_are_the_menu_that_the_api_shows(caller: TestClient) -> None:
    shown = caller.get("/v1/methods", params={"limit": 200}).json()["data"]
    claimed = {(modality, one["name"]) for one in shown for modality in one["modalities"]}
    assert claimed == {(str(modality), name) for modality, name in CASES}


@pytest.mark.parametrize(("modality", "method"), CASES, ids=[f"{method}-{modality}" for modality, method in CASES])
def test_a_method_runs_on_what_it_claims_and_ends_with_a_reason(
    opened: Doors, caller: TestClient, modality: Modality, method: str
) -> None:
    asked = caller.post("/v1/deletion-requests", json=body(modality, method), headers=once())
    assert asked.status_code == 202, asked.text
    before = caller.get(f"/v1/models/{modality}").json()["serving"]["number"]
    world.drain(opened)
    done = caller.get(f"/v1/deletion-requests/{asked.json()['id']}").json()
    tried = attempts(caller, done)
    assert tried[0]["method"] == method, tried
    for one in tried:
        assert one["failure"] is None, one
        assert set(one["integrity"]) <= (BY_CHANCE if one["method"] == RETRAIN else set()), one
        assert one["ending"] is not None, one
        assert one["why_accepted_or_not"] != FAILED
        assert one["cost"]["flops"] > 0
    number = caller.get(f"/v1/models/{modality}").json()["serving"]["number"]
    if done["state"] == "completed":
        assert tried[-1]["accepted"]
        assert number == before + 1
        assert [verified(caller, one["id"]).failures for one in done["certificates"]] == [[]]
    else:
        assert (done["state"], done["wait_reason"]) == ("needs_attention", "judgement_refused")
        assert not any(one["accepted"] for one in tried)
        assert number == before


def body(modality: Modality, method: str) -> dict[str, Any]:
    """Return a request for a method, about somebody whom no other case is about, or about a concept."""
    card = MENU[method]
    known = {one.name for one in fields(card.settings)}
    settings = {name: value for name, value in BRIEF.items() if name in known} | SETTINGS.get(method, {})
    said = {"unlearning": {"method": method, "settings": settings}, "scope": {"models": [modality.value]}}
    if card.kind is RequestKind.CONCEPT_SUPPRESSION:
        return said | {"kind": card.kind, "concept": {"dataset": f"{modality}-hazards"}}
    person = checkpoint_world.person(CASES.index((modality, method)) % 50)
    return said | {"subject": {"identities": [{"identity_type": "email", "identity_value": person}]}}
