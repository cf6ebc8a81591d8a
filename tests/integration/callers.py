"""Callers of the HTTP API: a whole service in this process, and clients with keys of any tenant and scope."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import make_url
from starlette.testclient import TestClient

from api.app import create_app
from core.domain.access import Scope
from core.persistence import tenants
from core.settings import Settings
from core.use_cases.create_api_key import add_api_key
from core.use_cases.doors import DEFAULT_TENANT, Doors, open_doors
from core.use_cases.prepare_service import prepare_service
from tests.integration import world

OTHER_TENANT = "ten_other"
CANARY = "canary.person@example.org"


def sibling(url: str, name: str) -> str:
    """Return the address of another database on the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def service(server_url: str, template: str, directory: Path, **settings: Any) -> Iterator[Doors]:
    """Open a service on a database of its own; for fixtures that live longer than one test."""
    name = f"lethe_test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        url = sibling(server_url, name)
        opened = open_doors(Settings(database_url=url, data_directory=directory, **settings))
        world.settle(opened)
        prepare_service(opened)
        yield opened
        opened.database.close()
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def key(doors: Doors, *scopes: Scope, tenant: str = DEFAULT_TENANT) -> str:
    """Return a fresh API key, of all scopes unless some are named; a tenant that is new is made."""
    doors.keys.get_or_create(f"tenant_{tenant}")
    with doors.database.transaction() as session:
        tenants.ensure_tenant(session, tenant)
        made = add_api_key(session, doors, tenant_id=tenant, name="test", scopes=scopes or tuple(Scope))
    return made.secret


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@contextmanager
def client(doors: Doors, app: FastAPI | None = None) -> Iterator[TestClient]:
    """Return a client with a key for everything."""
    with TestClient(app or create_app(doors), headers=bearer(key(doors))) as opened:
        yield opened


def once() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def subject(*owners: int) -> dict[str, Any]:
    """Return the body of a deletion request about some of the world's owners."""
    identities = [{"identity_type": "email", "identity_value": world.address(owner)} for owner in owners]
    return {"subject": {"identities": identities}}


def post_deletion(caller: TestClient, *owners: int, **body: Any) -> dict[str, Any]:
    answer = caller.post("/v1/deletion-requests", json=subject(*owners) | body, headers=once())
    assert answer.status_code == 202, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def problem(answer: Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem document that an answer must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == "https://lethe.dev/problems/" + code.replace("_", "-")
    assert body["request_id"] == answer.headers["lethe-request-id"]
    assert body["title"]
    assert body["detail"]
    return body
