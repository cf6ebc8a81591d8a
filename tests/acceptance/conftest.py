"""A whole service, started as a user starts it, with a tiny model in it.

`running` is `lethe serve`, embedded; under `python -m tests` it is `lethe up`: the production processes
on the servers that it started, with a database, a bucket and queues of the test's own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest

from cli.serve import Service, background
from tests.integration import world

RECIPE = {
    "shards": 2,
    "slices": 3,
    "backbone": {"width": 8, "layers": 3, "heads": 2, "patch": 2, "epochs": 1, "batch_size": 8},
    "node": {"rank": 2, "alpha": 4.0, "epochs": 1, "batch_size": 4},
}
PATIENCE = 240.0
"""Generous: a machine that is busy with something else must not fail a test."""


@dataclass
class Running:
    """A running service and what a test says to it."""

    service: Service
    api: httpx2.Client
    predictor: httpx2.Client
    variables: dict[str, str] = field(default_factory=dict)
    """What its environment says besides this process's own."""

    def upload(self, name: str = "pictures", rows: dict[str, Any] | None = None) -> dict[str, Any]:
        schema = world.SCHEMA.as_json()
        form = {"name": name, "schema": json.dumps(schema)}
        answer = self.api.post("/v1/datasets:upload", data=form, files={"file": world.packed(rows or world.columns())})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def build(self, name: str = "classifier", **more: Any) -> dict[str, Any]:
        body = {"name": name, "dataset": "pictures", "recipe": RECIPE, **more}
        answer = self.api.post("/v1/models", json=body)
        assert answer.status_code == 201, answer.text
        return self.wait(f"/v1/models/{name}", lambda model: model["state"] == "live")

    def delete(self, identity: str, key: str) -> dict[str, Any]:
        body = {"subject": {"identities": [{"identity_type": "email", "identity_value": identity}]}}
        for _ in range(200):
            try:
                answer = self.api.post("/v1/deletion-requests", json=body, headers={"Idempotency-Key": key})
            except httpx2.HTTPError:
                time.sleep(0.1)
                continue
            if answer.status_code < 500:
                assert answer.status_code == 202, answer.text
                return dict(answer.json())
            time.sleep(0.1)
        raise AssertionError("the API never took the request")

    def completed(self, request: str) -> dict[str, Any]:
        return self.wait(f"/v1/deletion-requests/{request}", lambda found: found["state"] == "completed")

    def repaired(self, model: str = "classifier") -> dict[str, Any]:
        return self.wait(f"/v1/models/{model}", lambda found: found["serving"]["guarantee"] == "retrain_equivalent")

    def wait(self, path: str, good: Any) -> dict[str, Any]:
        give_up = time.monotonic() + PATIENCE
        found: Any = None
        while time.monotonic() < give_up:
            try:
                found = self.api.get(path).json()
                if "code" not in found and good(found):
                    return dict(found)
            except httpx2.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} never got there: {found}")


@contextmanager
def running(directory: Path, **variables: str) -> Iterator[Running]:
    stack = os.environ.get("LETHE_TEST_STACK") == "production"
    variables |= own_servers() if stack else {}
    with background(directory, 0, 0, command="up" if stack else "serve", **variables) as service:
        headers = {"Authorization": f"Bearer {service.admin_key}"}
        with (
            httpx2.Client(base_url=service.url, headers=headers, timeout=30) as api,
            httpx2.Client(base_url=service.predictor_url, headers=headers, timeout=30) as predictor,
        ):
            yield Running(service, api, predictor, variables)


def own_servers() -> dict[str, str]:
    """Return variables for nobody else's place on the servers of this run; it goes when they go."""
    name = f"acceptance-{uuid4().hex[:8]}"
    given = {
        variable.replace("LETHE_TEST_", "LETHE_", 1): value
        for variable, value in os.environ.items()
        if variable.startswith(("LETHE_TEST_DATABASE", "LETHE_TEST_BROKER", "LETHE_TEST_S3"))
    }
    with psycopg.connect(given["LETHE_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    database = given["LETHE_DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    own = {"LETHE_DATABASE_URL": database, "LETHE_S3_BUCKET": name, "LETHE_QUEUE_PREFIX": f"{name}."}
    return given | own


@pytest.fixture(scope="module")
def service_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "lethe"
