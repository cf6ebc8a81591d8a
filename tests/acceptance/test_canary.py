"""Plant a canary in an identity, a record id, pixels or words; delete it; search everything that is left, backups included."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import LetheError
from core.keys.directory import DirectoryKeyStore
from core.keys.envelope import unseal
from core.object_store.directory import DirectoryObjectStore
from tests.acceptance.conftest import Running, running
from tests.integration import test_language, world
from tests.integration.test_predictor import wait_for
from tests.unit.modelling.tiny_language import WRITERS

IDENTITY = "canary-7f3a9b@example.org"
RECORD = "canary-record-51c2e8"
PIXELS = bytes([201, 17, 242, 99, 5, 187, 64, 250, 33, 128, 77, 211, 9, 160, 144, 91])
PROMPT = "canary question 9d41f7 about somebody"
TEXT = "canary answer e83b02"
SECRETS = (IDENTITY.encode(), RECORD.encode(), PIXELS, PROMPT.encode(), TEXT.encode())


def spellings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")[:-1]]


def found_in(directory: Path, secrets: Sequence[bytes] = SECRETS) -> list[str]:
    """Return the files below a directory that hold any spelling of the canary."""
    wanted = [text for secret in secrets for text in spellings(secret)]
    hits = []
    for path in directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            hits += [str(path) for text in wanted if text in content]
    return hits


def planted() -> dict[str, np.ndarray]:
    rows = world.columns()
    rows["owners"] = np.append(rows["owners"], IDENTITY)
    rows["record_ids"] = np.append(rows["record_ids"], RECORD)
    rows["images"] = np.concatenate([rows["images"], np.frombuffer(PIXELS, np.uint8).reshape(1, 4, 4)])
    rows["labels"] = np.append(rows["labels"], "a")
    rows["public"] = np.append(rows["public"], False)
    return rows


def test_a_deleted_canary_is_found_nowhere_and_nothing_decrypts(tmp_path: Path) -> None:
    def build(service: Running) -> None:
        service.upload(rows=planted())
        service.build()

    delete_and_search(tmp_path, build)


@pytest.mark.parametrize("family", WRITERS)
def test_nor_is_one_that_a_language_model_learned_and_was_asked_about(tmp_path: Path, family: str) -> None:
    models = WRITERS[family](tmp_path / "models" / "tiny").parent
    recipe = {
        "shards": 2,
        "slices": 3,
        "backbone": {"directory": str(models / "tiny"), "tokens": 10},
        "node": {"rank": 2, "alpha": 4.0, "epochs": 1, "batch_size": 4},
    }
    row = {"record_ids": RECORD, "owners": IDENTITY, "prompts": PROMPT, "texts": TEXT}
    question = {"model": "classifier", "inputs": [{"prompt": PROMPT, "text": TEXT}]}

    def build(service: Running) -> None:
        form = {"name": "facts", "schema": json.dumps(test_language.SCHEMA.as_json())}
        content = test_language.facts() + json.dumps(row).encode() + b"\n"
        answer = service.api.post("/v1/datasets:upload", data=form, files={"file": ("facts", content)})
        assert answer.status_code == 201, answer.text
        service.build(dataset="facts", recipe=recipe)
        wait_for(lambda: service.predictor.post("/v1/predict", json=question).status_code == 200)

    delete_and_search(tmp_path, build, LETHE_DATA_ROOTS=str(models))


def delete_and_search(tmp_path: Path, build: Callable[[Running], None], **variables: str) -> None:
    """Let a service learn the canary beside the world's owners, delete it, and search.

    Args:
        tmp_path: where all of it lies.
        build: uploads the rows and waits for a model that learned them.
        variables: more environment.
    """
    directory, backup = tmp_path / "lethe", tmp_path / "backup"
    with running(directory, LETHE_ACTIVATION_CACHE_MEBIBYTES="64", **variables) as service:
        build(service)
        # One directory per owner's block, and the canary is one of them.
        cached = {path.name for path in (directory / "activations").iterdir()}
        assert len(cached) == world.OWNERS + 1
        shutil.copytree(directory / "objects", backup / "objects")
        shutil.copytree(directory / "keys", backup / "keys")
        # The search can find it: with yesterday's keys, yesterday's objects open.
        assert _blocks_open(directory, backup / "objects", DirectoryKeyStore(backup / "keys"))
        request = service.delete(IDENTITY, key="canary")
        assert request["records"] == 1
        service.completed(request["id"])
        service.repaired()
        repeated = service.api.post(
            "/v1/deletion-requests",
            headers={"Idempotency-Key": "canary-2"},
            json={"subject": {"identities": [{"identity_type": "email", "identity_value": IDENTITY, "x": IDENTITY}]}},
        )
        assert repeated.status_code == 422
        assert IDENTITY not in repeated.text
        dump = dumped(directory)
        for secret in SECRETS:
            assert not any(text in dump for text in spellings(secret))
        assert not _blocks_open(directory, backup / "objects", DirectoryKeyStore(directory / "keys"))
        (gone,) = cached - {path.name for path in (directory / "activations").iterdir()}
        assert not DirectoryKeyStore(directory / "keys").exists(gone)
        time.sleep(0.5)
    # Database files and write-ahead log, objects, keys, logs and whatever else lies in the directory.
    assert found_in(directory) == []


def _blocks_open(directory: Path, objects: Path, keys: DirectoryKeyStore) -> bool:
    """Whether a backup's chunks show the canary under these keys; every span of every chunk is tried with every key."""
    from cli import private_postgres
    from core.persistence.datasets import blocks
    from core.settings import Settings

    store = DirectoryObjectStore(objects)
    with private_postgres.doors(Settings(data_directory=directory)) as doors, doors.database.transaction() as session:
        spans = [(row.object_digest, row.start, row.length) for row in session.execute(blocks.select())]
    key_ids = list(keys.list_ids())
    for digest, start, length in spans:
        if not store.exists(digest):
            continue
        sealed = store.get_range(digest, start, length)
        for key_id in key_ids:
            try:
                content = unseal(keys.get(key_id), sealed, context=key_id.encode())
            except LetheError:
                continue
            if any(secret in content for secret in SECRETS):
                return True
    return False


def dumped(directory: Path) -> bytes:
    """Return all that the private PostgreSQL of a running service holds, as SQL."""
    from cli import private_postgres

    _, url = private_postgres.start(directory / "postgres")
    tools = private_postgres._wheel().POSTGRES_VERSIONS[18]
    return subprocess.run([str(tools / "pg_dump"), url], capture_output=True, check=True).stdout


@pytest.mark.parametrize("secret", SECRETS)
def test_the_search_finds_what_is_there(tmp_path: Path, secret: bytes) -> None:
    (tmp_path / "file").write_bytes(b"before" + secret.hex().encode() + b"after")
    assert found_in(tmp_path)
