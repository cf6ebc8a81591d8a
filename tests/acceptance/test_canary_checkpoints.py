"""Plant a canary among the rows of checkpoints, and in whatever goes wrong with them; it is never said, logged or kept in the clear.

Registered, refused at the front door, failed in a worker, put to the test, unlearned by a method that is refused, retrained,
waived, asked about: every answer of the service, its logs, its database and all its files are searched.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import httpx2
import torch
from safetensors.torch import save_file
from torch import nn

from tests.acceptance.conftest import Running, running
from tests.acceptance.test_canary import dumped, found_in, spellings
from tests.integration import checkpoint_world

IDENTITY = "canary-4c81de@example.org"
RECORD = "canary-visit-9b27f3"
NUMBER = "1.2345678"
"""What the canary's row says in every column, as it is typed; below, as arrays keep it."""
SECRETS = (
    IDENTITY.encode(),
    RECORD.encode(),
    NUMBER.encode(),
    struct.pack("<4f", *4 * [float(NUMBER)]),
    struct.pack("<4d", *4 * [float(NUMBER)]),
    struct.pack("<4f", *4 * [float(NUMBER) / 4]),  # as the contract scales it
)
TRAINING = {"epochs": 2, "learning_rate": 0.01, "batch_size": 64}
METHODS = [
    {"method": "gradient_ascent", "settings": {"epochs": 1, "learning_rate": 1e-5}},
    {"method": "scrub", "settings": {"epochs": 1}},
]


def test_a_canary_in_a_checkpoint_is_never_said_and_found_nowhere(tmp_path: Path) -> None:
    directory, said = tmp_path / "lethe", []
    with running(directory, LETHE_DATA_ROOTS=str(tmp_path)) as service:
        service.api.event_hooks = {"response": [lambda answer: said.append(answer.read())]}
        upload(service)
        registered(service, tmp_path)
        refused_at_the_door(service, tmp_path)
        failed_in_a_worker(service, tmp_path)
        put_to_the_test(service)
        unlearned(service)
        asked_about(service)
        kept = dumped(directory)
        assert not [secret for secret in SECRETS for text in spellings(secret) if text in kept]
        logs = b"".join(path.read_bytes() for path in (directory / "logs").rglob("*") if path.is_file())
        assert b"checkpoint_refused" in logs, "what a worker said of its failure is among what is searched"
        assert b"deletion.accepted" in logs
    assert len(said) > 20, "the service was heard"
    assert not [one for one in said for secret in SECRETS for text in spellings(secret) if text in one]
    assert found_in(directory, SECRETS) == []


def upload(service: Running) -> None:
    learned = checkpoint_world.table(*checkpoint_world.points(1, 200))
    unseen = checkpoint_world.table(*checkpoint_world.points(2, 120), owners="stranger")
    canary = ",".join([*checkpoint_world.FEATURES * [NUMBER], "a", IDENTITY, RECORD])
    for name, content in (("visits", learned + canary.encode() + b"\r\n"), ("unseen", unseen)):
        form = {"name": name, "schema": json.dumps(checkpoint_world.schema().as_json())}
        answer = service.api.post("/v1/datasets:upload", data=form, files={"file": (f"{name}.csv", content)})
        assert answer.status_code == 201, answer.text


def written(directory: Path, **more: torch.Tensor) -> Path:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(checkpoint_world.FEATURES, 8), nn.ReLU(), nn.Linear(8, 5))
    directory.mkdir()
    save_file(dict(network.state_dict()) | more, directory / "model.safetensors")
    return directory


def register(service: Running, name: str, directory: Path, **more: Any) -> httpx2.Response:
    body = {
        "name": name,
        "mode": "approximate",
        "dataset": "visits",
        "evaluation": "unseen",
        "directory": str(directory),
        "architecture": {"kind": "perceptron", "hidden": [8]},
        "policy": {"unlearning": {"oracles": 4, "canaries": 40, "try_unqualified": True, "methods": METHODS}},
    }
    return service.api.post("/v1/models", json=body | more)


def registered(service: Running, directory: Path) -> None:
    """Register one model that can be retrained, and one that cannot, so that the judge's refusal is the end."""
    one = written(directory / "one")
    for name, more in (("willing", {"training": TRAINING}), ("stubborn", {})):
        answer = register(service, name, one, **more)
        assert answer.status_code == 201, answer.text
        service.wait(f"/v1/models/{name}", lambda found: found["state"] == "live")


def refused_at_the_door(service: Running, directory: Path) -> None:
    """Name the canary wherever a registration or a request can name something."""
    named = written(directory / "named", **{IDENTITY: torch.zeros(1)})
    library = written(directory / "library")
    (library / "config.json").write_text(json.dumps({"model_type": IDENTITY}))
    (directory / RECORD).mkdir()
    policy = {"unlearning": {"methods": [{"method": IDENTITY}]}}
    refused = [
        register(service, "wrong", named),
        register(service, "wrong", library, architecture={"kind": "hugging_face"}),
        register(service, "wrong", directory / RECORD),
        register(service, "wrong", Path("/") / IDENTITY),
        register(service, "wrong", directory / "one", dataset=IDENTITY),
        register(service, "wrong", directory / "one", policy=policy),
        register(service, "wrong", directory / "one", stages=[{"name": "x", "data": IDENTITY}], training=IDENTITY),
        service.api.post(f"/v1/models/{IDENTITY}:qualify"),
        ask(service, unlearning={"method": IDENTITY}),
        ask(service, unlearning={"method": "scrub", "settings": {IDENTITY: NUMBER}}),
        ask(service, unlearning={"method": "scrub", "settings": {"epochs": NUMBER}}),
        ask(service, kind="concept_suppression", concept={"dataset": IDENTITY}),
    ]
    for answer in refused:
        assert 400 <= answer.status_code < 500, answer.text


def ask(service: Running, **more: Any) -> httpx2.Response:
    subject = {"identities": [{"identity_type": "email", "identity_value": IDENTITY}]}
    body = {} if "kind" in more else {"subject": subject}
    return service.api.post("/v1/deletion-requests", json=body | more, headers={"Idempotency-Key": str(sorted(more))})


def failed_in_a_worker(service: Running, directory: Path) -> None:
    """Register weights that only a worker can find out about."""
    broken = written(directory / "broken", **{"2.bias": torch.full((5,), torch.nan)})
    assert register(service, "broken", broken).status_code == 201
    service.wait("/v1/models/broken", lambda found: found["state"] == "failed")


def put_to_the_test(service: Running) -> None:
    assert service.api.post("/v1/models/willing:qualify").status_code == 202
    service.wait("/v1/models/willing", lambda found: found["qualification"] is not None)
    assert service.api.get("/v1/models/willing/qualification").status_code == 200


def unlearned(service: Running) -> None:
    """Delete the canary: one model falls back to a retrain, the other is refused and then waived."""
    preview = {"subject": {"identities": [{"identity_type": "email", "identity_value": IDENTITY}]}}
    assert service.api.post("/v1/deletion-requests:preview", json=preview).status_code == 200
    request = service.delete(IDENTITY, key="canary")
    path = f"/v1/deletion-requests/{request['id']}"
    service.wait(path, lambda found: found["wait_reason"] == "judgement_refused")
    wrong = service.api.post(f"{path}:waive", json={"model": "stubborn", "reason": IDENTITY})
    assert wrong.status_code == 422
    service.wait("/v1/models/willing", lambda found: found["serving"]["guarantee"] == "retrained")
    waived = service.api.post(f"{path}:waive", json={"model": "stubborn", "reason": "risk_accepted"})
    assert waived.status_code == 200, waived.text
    done = service.completed(request["id"])
    tried = service.api.get(f"{path}/attempts").json()["data"]
    assert {one["method"] for one in tried} == {"gradient_ascent", "scrub", "retrain"}
    # The one that never loaded is certified as such: nothing that ever answered was trained on the row.
    assert {one["guarantee"] for one in done["certificates"]} == {"retrained", "waived", None}
    for one in done["certificates"]:
        assert service.api.get(f"/v1/certificates/{one['id']}").status_code == 200


def asked_about(service: Running) -> None:
    """Read what the service tells of itself, and ask the predictor about what is no row."""
    for path in ("/v1/jobs", "/v1/audit/entries", "/v1/models", "/v1/deletion-requests", "/metrics"):
        assert service.api.get(path).status_code == 200, path
    for inputs in ([{"x0": IDENTITY}], [{IDENTITY: 1.0}], IDENTITY):
        answer = service.predictor.post("/v1/predict", json={"model": "willing", "inputs": inputs})
        assert 400 <= answer.status_code < 500
        assert IDENTITY not in answer.text
